// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/test/pcscbed"
	"github.com/cardbroker/cardbroker/test/sealed"
	"github.com/cardbroker/cardbroker/test/stage"
	"github.com/cardbroker/cardbroker/test/tokenbed"
)

// holder is a user who has a card in a reader of his own PC/SC service, for OpenSC's module, and a SoftHSM of his own, for the module that
// is called "hsm-" and his name. The policy is the host's, and names the modules of all.
type holder struct {
	*host
	p       *stage.Person
	pin     string // the card's, made at random
	hsm     *tokenbed.HSM
	bed     *pcscbed.Bed
	card    pcscbed.Card
	service *stage.Service
	line    stage.Ready
	at      string // his agent
	said    []byte // all that it has answered
}

// Pages that policy lets in. Each may try ten PINs a minute.
const (
	softPage   = "https://soft.example"
	cardPage   = "https://card.example"
	dialogPage = "https://dialog.example"
	program    = "" // no page
)

// anyReason is what an answer may have that is asked for until it is good.
const anyReason = "any"

// holders sets the stage, with policy for the modules of both users. Their agents are started by begin.
func holders(t *testing.T, policy string) (alice, bob *holder) {
	t.Helper()
	if err := tokenbed.Supported(); err != nil {
		testenv.Skip(t, err.Error())
	}
	h, a, b := newAttack(t)
	h.verbose = true
	h.setPolicy("passthrough")
	text := "consent: {allow: [" + softPage + ", " + cardPage + ", " + dialogPage + "]}\n" + policy + "modules:\n  opensc: {}\n"
	var both []*holder
	for _, p := range []*stage.Person{a, b} {
		u := &holder{host: h, p: p, pin: tokenbed.Digits(8)}
		u.newHSM()
		text += "  hsm-" + p.Name + ": " + u.hsm.Module() + "\n"
		both = append(both, u)
	}
	if err := os.WriteFile(h.Path("policy.d", "c.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return both[0], both[1]
}

// newHSM makes the user's SoftHSM.
func (u *holder) newHSM() {
	u.t.Helper()
	dir := filepath.Join(u.p.Home, "hsm")
	err := os.Mkdir(dir, 0o700)
	if err == nil {
		u.hsm, err = tokenbed.NewHSM(u.Context(), dir)
	}
	if err == nil {
		err = tokenbed.Give(dir, int(u.p.Cred.Uid), int(u.p.Cred.Gid))
	}
	if err != nil {
		u.t.Fatal(err)
	}
}

// begin puts the user's card into his reader, and starts his agent.
func (u *holder) begin(card pcscbed.Card) {
	u.t.Helper()
	u.bed, u.card = u.newBed(u.p, u.p.Name+"-bed"), card
	u.card.File = u.pinCard(u.p, u.pin)
	u.insertCard()
	u.logOn()
}

func (u *holder) insertCard() {
	u.t.Helper()
	if err := u.bed.Insert(u.Context(), 0, u.card); err != nil {
		u.t.Fatal(err)
	}
}

// logOn starts the user's agent and waits for his card.
func (u *holder) logOn() {
	u.t.Helper()
	u.service, u.line = u.runAgent(u.p, "--pcsc-socket", u.bed.Socket())
	u.at = fmt.Sprintf("127.0.0.1:%d", u.line.Port)
	u.until("a card", func() bool { return len(u.cards(u.p)) == 1 })
}

// call asks the user's agent, as a page does or as a program. An answer that is good is decoded into v.
func (u *holder) call(page, want, method, path string, body map[string]any, v any) answer {
	u.t.Helper()
	text := ""
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			u.t.Fatal(err)
		}
		text = string(encoded)
	}
	headers := []string{"Content-Type: application/json"}
	if page != program {
		headers = append(headers, "Origin: "+page, "X-CSRF-Token: x")
	}
	a := u.ask(u.p, "tcp4", u.at, request(method, u.at, path, text, headers...))
	u.said = append(u.said, a.Body...)
	if want != anyReason && a.reason() != want {
		u.t.Errorf("%s: %s %s is answered %d %s, want %q", u.p.Name, method, path, a.Status, a.Body, want)
	}
	if v != nil && want == "" {
		var envelope struct{ Data json.RawMessage }
		json.Unmarshal(a.Body, &envelope)
		if envelope.Data == nil {
			envelope.Data = a.Body
		}
		if err := json.Unmarshal(envelope.Data, v); err != nil {
			u.t.Errorf("%s: %s %s is answered %s: %v", u.p.Name, method, path, a.Body, err)
		}
	}
	return a
}

// own is the name of the module of the user's SoftHSM.
func (u *holder) own() string { return "hsm-" + u.p.Name }

// place is a token of the user's: its module and the id that it has in paths.
type place struct {
	*holder
	module, id string
	page       string // that asks it
}

// soft returns his SoftHSM's token.
func (u *holder) soft(page string) place {
	u.t.Helper()
	var slots api.Slots
	u.call(page, "", "GET", "/cb/v1/modules/"+u.own()+"/slots?present=true", nil, &slots)
	for _, s := range slots.Slots {
		if s.Token != nil && s.Token.Label == u.hsm.Label {
			return place{u, u.own(), string(s.ID), page}
		}
	}
	u.t.Fatalf("%s has the slots %+v", u.p.Name, slots)
	return place{}
}

// inReader returns his card.
func (u *holder) inReader(page string) place {
	u.t.Helper()
	var readers []api.CardReader
	u.call(page, "", "GET", "/v3/readers?cardInserted=true", nil, &readers)
	if len(readers) != 1 {
		u.t.Fatalf("%s has the readers %+v", u.p.Name, readers)
	}
	return place{u, "opensc", string(readers[0].ID), page}
}

// does makes one of the calls of a token, with the reason that it is refused for; "": it is not.
func (l place) does(want, call string, body map[string]any, v any) answer {
	l.t.Helper()
	method := "POST"
	if body == nil {
		method = "GET"
	}
	return l.call(l.page, want, method, "/v3/modules/"+l.module+"/apps/token/readers/"+l.id+"/"+call, body, v)
}

// pkcs1 encrypts a PIN as existing clients do.
func (u *holder) pkcs1(pin string) string {
	u.t.Helper()
	blob, err := sealed.PKCS1(u.deviceKey(u.p, u.at), []byte(pin))
	if err != nil {
		u.t.Fatal(err)
	}
	return blob
}

// jwe encrypts a PIN for the token as our SDK does.
func (l place) jwe(pin string) string {
	l.t.Helper()
	var keys api.DeviceKeys
	var c api.PINChallenge
	l.call(program, "", "GET", "/cb/v1/device-key", nil, &keys)
	l.call(l.page, "", "POST", "/cb/v1/pin-challenges", map[string]any{}, &c)
	text, err := sealed.JWE(keys.Keys[0], sealed.NewHeader(keys.Keys[0], l.id, c.Nonce), []byte(pin))
	if err != nil {
		l.t.Fatal(err)
	}
	return text
}

// wish is the body of a request for a signature of a text; pin empty: without one.
func wish(text, pin string) map[string]any {
	digest := sha256.Sum256([]byte(text))
	body := map[string]any{"algorithm": "sha256", "data": base64.StdEncoding.EncodeToString(digest[:])}
	if pin != "" {
		body["pin"] = pin
	}
	return body
}

// signs has the token sign a text, and verifies that by a certificate of its list.
func (l place) signs(text, call string, body map[string]any) {
	l.t.Helper()
	var signature api.TokenSignature
	l.does("", call, body, &signature)
	raw, _ := base64.StdEncoding.DecodeString(signature.Data)
	var all map[string]api.TokenCertificates
	l.does("", "cert-list", nil, &all)
	for _, list := range all {
		for _, c := range list.Certificates {
			der, _ := base64.StdEncoding.DecodeString(c.Certificate)
			parsed, err := x509.ParseCertificate(der)
			if err != nil {
				continue
			}
			digest := sha256.Sum256([]byte(text))
			switch key := parsed.PublicKey.(type) {
			case *rsa.PublicKey:
				if rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], raw) == nil {
					return
				}
			case *ecdsa.PublicKey:
				half := len(raw) / 2
				if ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(raw[:half]), new(big.Int).SetBytes(raw[half:])) {
					return
				}
			}
		}
	}
	l.t.Errorf("%s: no certificate of %s is that of the signature %x", l.p.Name, l.module, raw)
}

// process returns the process of a module of the user's, whose library's path ends so.
func (u *holder) process(library string) (found int) {
	u.t.Helper()
	u.until("a process of "+library, func() bool {
		found = u.look(library)
		return found > 0
	})
	return found
}

// look is process, at once; 0: there is none.
func (u *holder) look(library string) int {
	u.t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		u.t.Fatal(err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		info, _ := os.ReadFile("/proc/" + e.Name() + "/stat")
		command, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		_, rest, _ := strings.Cut(string(info), ") ")
		if fields := strings.Fields(rest); len(fields) > 1 && fields[1] == fmt.Sprint(u.line.PID) && strings.Contains(string(command), library) {
			return pid
		}
	}
	return 0
}
