// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/test/pcscbed"
	"github.com/cardbroker/cardbroker/test/tokenbed"
)

// tokenPolicy is policy for signatures without a PIN each, and for a cache that outlives the agent.
const tokenPolicy = "pin: {session: {seconds: 60, uses: 5}}\ncache: {certificates: disk}\n"

type fields = map[string]any

// TestTokens has pages and programs of two users use their own tokens, in SoftHSM and in cards in readers of their own: neither reaches the
// other's. No PIN is in any answer, file or process afterwards.
func TestTokens(t *testing.T) {
	alice, bob := holders(t, tokenPolicy)
	alice.start()
	alice.begin(pcscbed.Card{})
	bob.begin(pcscbed.Card{})
	kept := canaries{}
	for _, u := range []*holder{alice, bob} {
		kept[u.p.Name+"'s card"], kept[u.p.Name+"'s PIN"], kept[u.p.Name+"'s PUK"] = []byte(u.pin), []byte(u.hsm.PIN), []byte(u.hsm.PUK)
		u.modules()
	}
	hers, his := alice.soft(dialogPage), bob.soft(softPage)
	place{alice, "hsm-bob", his.id, softPage}.does("unavailable", "cert-list", nil, nil)
	place{alice, alice.own(), his.id, softPage}.does("reader_unknown", "cert-list", nil, nil)
	place{bob, "opensc", alice.inReader(cardPage).id, cardPage}.does("reader_unknown", "sign", wish("x", bob.pkcs1(alice.pin)), nil)
	for _, u := range []*holder{alice, bob} {
		fresh, last := tokenbed.Digits(8), tokenbed.Digits(8)
		kept[u.p.Name+"'s fresh PIN"], kept[u.p.Name+"'s last PIN"] = []byte(fresh), []byte(last)
		u.usesHSM(u.soft(softPage), fresh, last)
		u.usesCard(u.inReader(cardPage))
		u.loads(u.inReader(program).id, u.pin)
	}
	alice.asked(hers, kept)
	bob.blocked()
	alice.besideBackEnd()
	for _, u := range []*holder{alice, bob} {
		if found := kept.find(u.said); len(found) > 0 {
			t.Errorf("%s was answered %v", u.p.Name, found)
		}
	}
	alice.inProcesses(kept)
	os.Remove(alice.p.Home + "/typed")
	alice.broker.Stop()
	alice.searchFiles(kept)
}

// modules: each user's agent has the modules of policy, of which those of other users are not there for him.
func (u *holder) modules() {
	u.t.Helper()
	var list api.Modules
	u.call(softPage, "", "GET", "/cb/v1/modules?library=true", nil, &list)
	for _, m := range list.Modules {
		foreign := m.Name != "opensc" && m.Name != u.own()
		if (m.State == "running") == foreign || (m.Error == "") == foreign || m.PCSC != (m.Name == "opensc") {
			u.t.Errorf("%s's agent has the module %+v", u.p.Name, m)
		}
	}
}

// usesHSM goes through the calls of a token, and gives it another PIN twice.
func (u *holder) usesHSM(l place, fresh, last string) {
	u.t.Helper()
	var info api.TokenInfo
	l.does("", "info", nil, &info)
	var token api.TokenData
	u.call(softPage, "", "GET", "/cb/v1/modules/"+l.module+"/slots/"+l.id+"/token", nil, &token)
	if info.Info.Label != u.hsm.Label || token.SerialNumber != info.Info.SerialNumber || len(token.Mechanisms) == 0 {
		u.t.Errorf("the token is %+v and %+v", info, token)
	}
	l.signs("by PKCS #1", "sign", wish("by PKCS #1", u.pkcs1(u.hsm.PIN)))
	l.signs("by a JWE", "authenticate", wish("by a JWE", l.jwe(u.hsm.PIN)))
	l.signs("the first", "sign?bulk=true", wish("the first", u.pkcs1(u.hsm.PIN)))
	l.signs("the second", "sign?bulk=true", wish("the second", ""))
	var signature api.TokenSignature
	body := wish("verified", "")
	body["id"] = "01"
	l.does("", "sign?bulk=true", body, &signature)
	var valid api.SignatureValid
	l.does("", "validate", fields{"algorithm": "sha256", "id": "01", "hash": body["data"], "signedHash": signature.Data}, &valid)
	if !valid.Valid {
		u.t.Errorf("the signature %s is not valid", signature.Data)
	}
	l.does("pin_not_encrypted pin_clear", "sign", wish("x", u.hsm.PIN), nil)
	l.does("", "change-pin", fields{"pin": l.jwe(u.hsm.PIN), "newPin": l.jwe(fresh)}, nil)
	l.does("pin_incorrect", "verify-pin", fields{"pin": u.pkcs1(u.hsm.PIN)}, nil)
	u.answers(u.p, "echo "+fresh) // a page may be wrong once: then its user is asked, whatever it sends
	l.does("", "verify-pin", fields{"pin": u.pkcs1(fresh)}, nil)
	os.Remove(u.p.Home + "/answer")
	l.does("", "reset-pin", fields{"puk": u.pkcs1(u.hsm.PUK), "pin": u.pkcs1(last)}, nil)
	l.does("", "verify-pin", fields{"pin": l.jwe(last)}, nil)
	u.hsm.PIN = last
}

// usesCard does the same with the card in the reader.
func (u *holder) usesCard(l place) {
	u.t.Helper()
	var slots api.Slots
	u.call(softPage, "", "GET", "/cb/v1/modules/opensc/slots?present=true", nil, &slots)
	if len(slots.Slots) != 1 || string(slots.Slots[0].Reader) != l.id {
		u.t.Errorf("%s's slots are %+v, want one of the reader %s", u.p.Name, slots, l.id)
	}
	l.does("", "verify-pin", fields{"pin": u.pkcs1(u.pin)}, nil)
	l.signs("by PKCS #1", "sign", wish("by PKCS #1", u.pkcs1(u.pin)))
	l.signs("by a JWE", "authenticate", wish("by a JWE", l.jwe(u.pin)))
	l.does("pin_incorrect", "sign", wish("x", u.pkcs1(tokenbed.Digits(8))), nil)
	u.answers(u.p, "echo "+u.pin) // as above
	l.signs("again", "sign", wish("again", u.pkcs1(u.pin)))
	os.Remove(u.p.Home + "/answer")
}

// asked: the user is asked for his PIN by policy's program; cancelled, wrong and timed out are three outcomes.
func (u *holder) asked(l place, kept canaries) {
	u.t.Helper()
	dialog := func() fields { return fields{"osDialog": true, "pin": nil} }
	with := func(text string, more fields) fields {
		body := wish(text, "")
		for k, v := range more {
			body[k] = v
		}
		return body
	}
	u.answers(u.p, `cat "$HOME/typed"`)
	if err := os.WriteFile(u.p.Home+"/typed", []byte(u.hsm.PIN), 0o644); err != nil {
		u.t.Fatal(err)
	}
	l.signs("by a dialog", "sign", with("by a dialog", dialog()))
	u.answers(u.p, "exit 1")
	l.does("pin_canceled", "sign", with("x", dialog()), nil)
	u.answers(u.p, "sleep 60")
	l.does("timeout", "sign", with("x", fields{"osDialog": true, "timeout": 1}), nil)
	wrong := tokenbed.Digits(8)
	kept["what was wrong"] = []byte(wrong)
	u.answers(u.p, "echo "+wrong)
	l.does("pin_incorrect", "sign", with("x", dialog()), nil)
	os.Remove(u.p.Home + "/answer")
}

// blocked: the last try is the user's alone, and a PIN that is blocked is one for everybody.
func (u *holder) blocked() {
	u.t.Helper()
	page, own := u.inReader(cardPage), u.inReader(program)
	wrong := tokenbed.Digits(8)
	page.does("pin_incorrect", "verify-pin", fields{"pin": u.pkcs1(wrong)}, nil)
	u.answers(u.p, "exit 1")
	page.does("pin_canceled", "verify-pin", fields{"pin": u.pkcs1(wrong)}, nil)
	u.answers(u.p, "echo "+wrong)
	own.does("pin_incorrect", "verify-pin", fields{"pin": u.pkcs1(wrong)}, nil)
	own.does("pin_blocked", "verify-pin", fields{"pin": u.pkcs1(wrong)}, nil)
	os.Remove(u.p.Home + "/answer")
	page.does("pin_blocked", "sign", wish("x", u.pkcs1(u.pin)), nil)
}

// besideBackEnd: a back end that has verified the PIN finds no PIN verified when a page has signed by the same card.
func (u *holder) besideBackEnd() {
	u.t.Helper()
	tunnel := u.tunnelBy(u.offerCard(u.p).Ticket)
	says := func(command, want string) {
		u.t.Helper()
		if got := u.transmit(tunnel, command); !strings.HasPrefix(got, want) {
			u.t.Errorf("the back end's %s is answered %s, want %s", command[:8], got, want)
		}
	}
	says("0020008008"+fmt.Sprintf("%x", u.pin), "9000")
	says("00200080", "9000")
	l := u.inReader(cardPage)
	l.signs("beside a back end", "sign", wish("beside a back end", u.pkcs1(u.pin)))
	says("00200080", "card_reset")
	if _, err := tunnel.Connect(u.Context(), cardbroker.ShareShared); err != nil {
		u.t.Fatal(err)
	}
	says(choosePIV, "61")
	says("00200080", "63c")
	if _, err := tunnel.Connect(u.Context(), cardbroker.ShareExclusive); err != nil {
		u.t.Fatal(err)
	}
	for call, body := range map[string]fields{"sign": wish("x", u.pkcs1(u.pin)), "verify-pin": {"pin": u.pkcs1(u.pin)}} {
		if a := l.does("reader_busy", call, body, nil); !strings.Contains(string(a.Body), "a back end (tenant issuer) holds the reader for itself until ") {
			u.t.Errorf("%s beside a back end that has the reader for itself is answered %s", call, a.Body)
		}
	}
}

// loads: a program sends its PIN to the card itself.
func (u *holder) loads(reader, pin string) {
	u.t.Helper()
	r := remote{u.host, u.p, u.at, reader}
	if got, want := r.sw("", choosePIV, "0020008008"+fmt.Sprintf("%x", pin)), "612D 9000"; got != want {
		u.t.Errorf("remote loading is answered %s, want %s", got, want)
	}
}

// inProcesses looks into what the agent's processes were told, and into what its commands say.
func (u *holder) inProcesses(kept canaries) {
	u.t.Helper()
	for _, pid := range []int{u.ready.PID, u.line.PID, u.process("libsofthsm2.so")} {
		for _, file := range []string{"cmdline", "environ"} {
			content, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
			if found := kept.find(content); err != nil || len(found) > 0 {
				u.t.Errorf("%s of process %d holds %v, %v", file, pid, found, err)
			}
		}
	}
	agent := []string{"--socket", u.socket, "--state", u.p.Home + "/state"}
	for _, args := range [][]string{
		{"agent", "doctor", "--policy", u.policy, "--pcsc-socket", u.bed.Socket()}, {"agent", "status"}, {"agent", "cache"},
	} {
		for _, more := range []string{"--json", "--log-level=debug"} {
			out, err := u.Run(u.p, "cardbroker", append(append(args, agent...), more)...)
			if found := kept.find(append(out.Stdout, out.Stderr...)); err != nil || len(found) > 0 {
				u.t.Errorf("%v says %v, %v", args, found, err)
			}
			if len(out.Stdout) == 0 {
				u.t.Errorf("%v says nothing: %s", args, out.Stderr)
			}
		}
	}
	var d api.Diagnosis
	out, err := u.Run(u.p, "cardbroker", append([]string{"agent", "doctor", "--json", "--policy", u.policy, "--pcsc-socket", u.bed.Socket()}, agent...)...)
	if err != nil || json.Unmarshal(out.Stdout, &d) != nil {
		u.t.Fatalf("the doctor says %s, %v", out.Stderr, err)
	}
	u.finds(d, "module", "ok", "the module opensc is at")
	u.finds(d, "module", "ok", "the module "+u.own()+" is at")
	u.finds(d, "module", "fail", "the module hsm-bob")
	if found := kept.find(u.local(root(), "GET", "/metrics", nil).Body); len(found) > 0 {
		u.t.Errorf("the metrics hold %v", found)
	}
}
