// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package remoteloading_test

import (
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/remoteloading"
)

// attacks are ways to send a PIN; each is the body of a call that a program may make, and a page may not.
func attacks() []string {
	return []string{
		`command {"command":"002000800431323334"}`,
		`command {"command":"012000800431323334"}`,                                    // on a channel
		`command {"command":"0C2000800431323334"}`,                                    // secure messaging, as it says
		`command {"command":"802000800431323334"}`,                                    // proprietary
		`command {"command":"102000800431323334"}`,                                    // of a chain
		`command {"command":"0020008000000431323334"}`,                                // extended
		`command {"command":"002100800431323334"}`,                                    // with BER-TLV data
		`command {"command":"00240080083132333435363738"}`,                            // CHANGE REFERENCE DATA
		`command {"command":"002C0080083132333435363738"}`,                            // RESET RETRY COUNTER
		`command {"command":"00C20000080020008004313233"}`,                            // ENVELOPE; it need not be well-formed inside
		`command {"command":"FF2000800431323334"}`,                                    // the reader's own
		`command {"command":"FF00000009002000800431323334"}`,                          // what some readers pass on
		`commands {"commands":["00120000","002000800431323334"]}`,                     // not the first
		`commands {"commands":["10CB3FFF0431323334","00200080"]}`,                     // within a chain
		`apdu {"apdu":{"cla":"00","ins":"20","p1":"00","p2":"80","data":"31323334"}}`, //
		`apdus {"apdus":[{"cla":"00","ins":"2c","p1":"03","p2":"80","data":"31323334"}]}`,
	}
}

// TestPagesSendNoPIN: whatever a page does to send one, the card sees nothing of the whole call; the log says so, without the PIN.
func TestPagesSendNoPIN(t *testing.T) {
	b := newBed(t, nil)
	session := b.open(shop, plain)
	refused := 0
	for _, attack := range attacks() {
		action, body, _ := strings.Cut(attack, " ")
		refused++
		for _, text := range []string{body, strings.TrimSuffix(body, "}") + "," + session + "}"} {
			said := b.post(shop, plain, action, text)
			want(t, attack, said, "forbidden page_pin: "+action+"…")
			if strings.Contains(said, "3132") || strings.Contains(said, "1234") {
				t.Errorf("%s: the refusal shows the PIN: %s", attack, said)
			}
		}
	}
	want(t, "a chain", b.post(shop, plain, "command", `{"command":"10CB3FFF0431323334",`+session+`}`), `{"sw":"9000"…`)
	want(t, "its end in a call of its own", b.post(shop, plain, "command", `{"command":"00200080",`+session+`}`), "forbidden page_pin: …")
	want(t, "what the card has seen", b.post(shop, plain, "command", `{"command":"00120000",`+session+`}`), `{"sw":"9000","tx":"00120000","rx":"02"}`)
	log := b.events()
	if n := strings.Count(log, "apdu_refused "+shop+"forbidden"); n == 0 || n > 3 || strings.Contains(log, "3132") {
		t.Errorf("the log has %d refusals: %s", n, log)
	}
	if refused < 14 {
		t.Errorf("%d attacks", refused)
	}
}

// TestProgramsAndPolicy: programs of the user, and pages where policy says so, send what they like.
func TestProgramsAndPolicy(t *testing.T) {
	programs := newBed(t, nil)
	pages := newBed(t, func(_ *bed, cfg *remoteloading.Config) { cfg.PagePINs = true })
	for _, attack := range attacks() {
		if action, body, _ := strings.Cut(attack, " "); !strings.Contains(attack, `"00200080"]`) {
			for who, said := range map[string]string{"a program": programs.post("", plain, action, body), "a page": pages.post(shop, plain, action, body)} {
				if !strings.Contains(said, `"sw":"`) {
					t.Errorf("%s: %s is answered %s", who, attack, said)
				}
			}
		}
	}
}

// TestPINPad: a reader's own pin pad is used; where there is none the user is asked. A page has it do nothing but compare or change a PIN.
func TestPINPad(t *testing.T) {
	b := newBed(t, func(b *bed, cfg *remoteloading.Config) {
		cfg.Asker = b
		b.asked = func() (string, error) { return "1234", nil }
	})
	verify := func(origin, reader, command string) string {
		return b.post(origin, reader, "ccid", `{"feature":"VERIFY_PIN_DIRECT","command":"`+verifyStructure(command)+`"}`)
	}
	tx := `","tx":"` + verifyStructure("00200080") + `"}`
	want(t, "the features of no pin pad", b.post(shop, plain, "ccid-features", "{}"), `"VERIFY_PIN_DIRECT,MODIFY_PIN_DIRECT,GET_TLV_PROPERTIES"`)
	want(t, "the features of a pin pad", b.post(shop, padded, "ccid-features", "{}"), `"VERIFY_PIN_DIRECT,GET_TLV_PROPERTIES"`)
	want(t, "properties", b.post(shop, plain, "ccid", `{"feature":"GET_TLV_PROPERTIES","command":""}`), `{"sw":"9000","tx":"","rx":"0102…`)
	want(t, "by the user", verify(shop, plain, "00200080"), `{"sw":"9000`+tx)
	want(t, "at the pin pad", verify(shop, padded, "00200080"), `{"sw":"9000`+tx)
	want(t, "the log", b.events(), "pin_verified "+shop+" from the user; pin_verified "+shop+" at the reader's pin pad")
	for _, reader := range []string{plain, padded} {
		want(t, "a command that shows the PIN", verify(shop, reader, "00D60000"), "forbidden firewall: …")
		want(t, "another class", verify(shop, reader, "80200080"), "forbidden firewall: …")
	}
	want(t, "a program at the pin pad", verify("", padded, "80200080"), `{"sw":"9000"…`)
	want(t, "no structure", b.post(shop, plain, "ccid", `{"feature":"VERIFY_PIN_DIRECT","command":"0020"}`), "invalid: …")
	b.events()

	for _, test := range []struct {
		said string
		err  error
		want string
		log  string
	}{
		{"4321", nil, `{"sw":"63C2`, "pin_refused " + shop + "pin_incorrect from the user"},
		{"", cardbroker.Errorf(cardbroker.PINCanceled, "no"), `{"sw":"6401`, "pin_refused " + shop + "pin_canceled from the user"},
		{"", cardbroker.Errorf(cardbroker.Timeout, "late"), `{"sw":"6400`, "pin_refused " + shop + "timeout from the user"},
		{"123", nil, `{"sw":"6403`, "pin_refused " + shop + "card_unexpected from the user"},
		{"", cardbroker.Errorf(cardbroker.ReaderBusy, "asked already"), "reader_busy: …", "pin_refused " + shop + "reader_busy from the user"},
	} {
		b.asked = func() (string, error) { return test.said, test.err }
		wanted := test.want
		if strings.HasPrefix(wanted, "{") {
			wanted += tx
		}
		want(t, "a user who says "+test.said, verify(shop, plain, "00200080"), wanted)
		want(t, "the log", b.events(), test.log)
	}
	want(t, "a PIN after the link of a chain", func() string {
		session := b.open(shop, plain)
		b.post(shop, plain, "command", `{"command":"10DB3FFF0131",`+session+`}`)
		return b.post(shop, plain, "ccid", `{"feature":"VERIFY_PIN_DIRECT","command":"`+verifyStructure("00200080")+`",`+session+`}`)
	}(), "forbidden page_pin: …")
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.asks) != 8 { // the refused ones ask nobody
		t.Errorf("the user was asked %d times: %v", len(b.asks), b.asks)
	}
}
