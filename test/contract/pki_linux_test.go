// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package contract_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/pin"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/token"
	"github.com/cardbroker/cardbroker/test/softtoken"
)

// pkiBed asks the routes of tokens, with a token in memory: what a real agent's say before a handler runs, refusalsSeen sees.
type pkiBed struct {
	asked
	*softtoken.Bed
	pages int
}

// page is a page that has entered no PIN yet: each may enter but a few.
func (b *pkiBed) page() []option {
	b.pages++
	return []option{header("Origin", fmt.Sprintf("https://page%d.example", b.pages)), header("X-CSRF-Token", "t1c-js"), header("Content-Type", "application/json")}
}

// knows is a user who knows his PIN: he is asked after a token has not said what became of one.
var knows = func(q pin.Question) []string {
	return map[pin.Act][]string{
		"": {softtoken.PIN}, pin.Change: {softtoken.PIN, softtoken.PIN}, pin.Unblock: {softtoken.PUK, softtoken.PIN},
	}[q.Act]
}

// pkiSeen brings about every answer of the routes of tokens.
func (h *host) pkiSeen() {
	started, err := softtoken.Start(h.t.Context(), softtoken.Config{Policy: config.PINPolicy{Clear: true}})
	h.check(err)
	defer func() { h.check(started.Stop()) }()
	b := &pkiBed{asked: asked{h, "agent", started.Address}, Bed: started}
	b.Ask.Store(&knows)
	for _, path := range []string{"/atrs", "/cb/v1/modules", "/cb/v1/modules?library=true", "/v3/modules/card/apps/token/reset-bulk-pin"} {
		b.ask("GET", path).want(200, "")
	}
	b.ask("POST", "/v3/modules/card/apps/token/reset-bulk-pin").want(200, "")
	b.ask("GET", "/v3/modules/none/apps/token/reset-bulk-pin").want(412, cardbroker.ObjectUnknown)
	for _, path := range []string{"/ds/transactions", "/logs/push", "/v3/modules/rawprint/apps/print/printer-list"} {
		b.ask("GET", path).want(501, cardbroker.Unsupported)
	}
	b.ask("POST", "/v3/modules/fileexchange/apps/file/create-type", body("{}")).want(501, cardbroker.Unsupported)
	b.ask("PATCH", "/v3/modules/pkcs11/x", body("{}")).want(501, cardbroker.Unsupported)
	b.ask("GET", "/v3/modules/card/apps/token/config").want(403, cardbroker.Forbidden)
	b.ask("POST", "/v3/modules/card/apps/token/config", body(`{"linux":"/x"}`)).want(403, cardbroker.Forbidden)
	b.ask("PATCH", "/v3/modules/card/apps/token/config/reset").want(403, cardbroker.Forbidden)
	b.slotsSeen()
	reader := "/v3/modules/card/apps/token/readers/" + string(b.Reader())
	for _, path := range []string{
		reader + "/info", reader + "/cert-list", reader + "/supported-algorithms", reader + "/root-cert", "/cb/v1/modules/card/slots/" + string(b.Reader()) + "/token",
	} {
		b.readSeen("GET", path)
	}
	digest := sha256.Sum256([]byte("data"))
	hash := base64.StdEncoding.EncodeToString(digest[:])
	b.readSeen("POST", reader+"/validate", body(`{"algorithm":"sha256","hash":"`+hash+`","signedHash":"AAAA"}`))
	sign := `{"algorithm":"sha256","data":"` + hash + `","pin":"123456"}`
	for call, text := range map[string]string{
		"verify-pin": `{"pin":"123456"}`, "change-pin": `{"pin":"123456","newPin":"123456"}`, "reset-pin": `{"puk":"12345678","pin":"123456"}`,
		"sign": sign, "sign_raw": sign, "authenticate": sign,
	} {
		b.pinSeen(reader+"/"+call, text)
	}
}

// slotsSeen lists the slots of a module.
func (b *pkiBed) slotsSeen() {
	path := "/cb/v1/modules/card/slots"
	b.ask("GET", path).want(200, "")
	b.ask("GET", path+"?present=true").want(200, "")
	b.ask("GET", path+"?present=perhaps").want(400, cardbroker.Invalid)
	b.ask("GET", "/cb/v1/modules/none/slots").want(412, cardbroker.ObjectUnknown)
	for reason, status := range map[cardbroker.Reason]int{cardbroker.ReaderBusy: 409, cardbroker.Timeout: 504, cardbroker.Unavailable: 503} {
		b.Token.FailSlots(cardbroker.Errorf(reason, "as it is told"))
		b.ask("GET", path).want(status, reason)
	}
}

// readSeen asks a route that needs no PIN.
func (b *pkiBed) readSeen(method, path string, options ...option) {
	b.ask(method, path, options...).want(200, "")
	for reason, status := range map[cardbroker.Reason]int{
		cardbroker.ReaderBusy: 409, cardbroker.CardRemoved: 409, cardbroker.Unsupported: 501, cardbroker.Unavailable: 503, cardbroker.Timeout: 504,
	} {
		b.Token.FailOn("", cardbroker.Errorf(reason, "as it is told"))
		b.ask(method, path, options...).want(status, reason)
	}
	b.Token.Change(func(s *softtoken.State) { s.Present = false })
	b.ask(method, path, options...).want(409, cardbroker.CardUnexpected)
	b.Remove()
	b.ask(method, path, options...).want(409, cardbroker.CardAbsent)
	b.Token.Change(func(s *softtoken.State) { s.Present = true })
	b.Insert()
}

// pinSeen asks a route that needs a PIN, of which it sends the right one.
func (b *pkiBed) pinSeen(path, text string) {
	post := func() answer { return b.ask("POST", path, append(b.page(), body(text))...) }
	post().want(200, "")
	for reason, status := range map[cardbroker.Reason]int{cardbroker.Indeterminate: 409, cardbroker.Unsupported: 501, cardbroker.Timeout: 504} {
		b.Token.FailOn("", cardbroker.Errorf(reason, "as it is told"))
		post().want(status, reason)
	}
	b.Token.Change(func(s *softtoken.State) { s.Left, s.Flags = 0, s.Flags|token.FlagSOPINLocked })
	post().want(423, cardbroker.PINBlocked)
	b.Token.Change(func(s *softtoken.State) { s.Left, s.Flags = 3, s.Flags&^token.FlagSOPINLocked })
}
