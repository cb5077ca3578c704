// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package contract_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"

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
	for _, method := range []string{"GET", "POST"} {
		b.ask(method, "/v3/modules/none/apps/token/reset-bulk-pin").want(412, cardbroker.ObjectUnknown)
	}
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
	calls := map[string]string{
		"verify-pin": `{"pin":"123456"}`, "change-pin": `{"pin":"123456","newPin":"123456"}`, "reset-pin": `{"puk":"12345678","pin":"123456"}`,
		"sign": sign, "sign_raw": sign, "authenticate": sign,
	}
	for call, text := range calls {
		h.pinSeen(call, text)
	}
	h.clearSeen(calls)
}

// clearSeen sends PINs in clear where policy does not let them through.
func (h *host) clearSeen(calls map[string]string) {
	started, err := softtoken.Start(h.t.Context(), softtoken.Config{})
	h.check(err)
	defer func() { h.check(started.Stop()) }()
	b := &pkiBed{asked: asked{h, "agent", started.Address}, Bed: started}
	for call, text := range calls {
		path := "/v3/modules/card/apps/token/readers/" + string(b.Reader()) + "/" + call
		b.ask("POST", path, append(b.page(), body(text))...).want(412, cardbroker.PINNotEncrypted)
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
	b.unknown(method, path, options...)
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

// unknown asks a route of a reader for a module, and for a reader, that are not there.
func (b *pkiBed) unknown(method, path string, options ...option) {
	b.ask(method, strings.Replace(path, "/card/", "/none/", 1), options...).want(412, cardbroker.ObjectUnknown)
	if !strings.Contains(path, "/slots/") {
		b.ask(method, strings.Replace(path, string(b.Reader()), "0000000000000000", 1), options...).want(412, cardbroker.ReaderUnknown)
	}
}

// pinSeen asks a route that needs a PIN, of which it sends the right one; at a bed of its own, which takes so many PINs a minute.
func (h *host) pinSeen(call, text string) {
	started, err := softtoken.Start(h.t.Context(), softtoken.Config{Policy: config.PINPolicy{Clear: true}})
	h.check(err)
	defer func() { h.check(started.Stop()) }()
	b := &pkiBed{asked: asked{h, "agent", started.Address}, Bed: started}
	path := "/v3/modules/card/apps/token/readers/" + string(b.Reader()) + "/" + call
	send := func(text string) answer { return b.ask("POST", path, append(b.page(), body(text))...) }
	send(text).want(200, "")
	b.unknown("POST", path, append(b.page(), body(text))...)
	wrong := strings.NewReplacer(`"pin":"123456"`, `"pin":"999999"`, `"puk":"12345678"`, `"puk":"99999999"`).Replace(text)
	send(wrong).want(403, cardbroker.PINIncorrect)
	b.Token.Change(func(s *softtoken.State) { s.Left = 3 })
	none := regexp.MustCompile(`"(pin|puk|newPin)":"[0-9]+",?`).ReplaceAllString(text, "")
	send(strings.Replace(none, ",}", "}", 1)).want(409, cardbroker.PINCanceled)
	b.Ask.Store(&knows)
	for reason, status := range map[cardbroker.Reason]int{
		cardbroker.Indeterminate: 409, cardbroker.Unsupported: 501, cardbroker.Unavailable: 503, cardbroker.Timeout: 504,
	} {
		b.Token.FailOn("", cardbroker.Errorf(reason, "as it is told"))
		send(text).want(status, reason)
	}
	busy := error(cardbroker.Errorf(cardbroker.ReaderBusy, "as it is told"))
	b.Busy.Store(&busy)
	send(text).want(409, cardbroker.ReaderBusy)
	b.Busy.Store(nil)
	b.Token.Change(func(s *softtoken.State) { s.Present = false })
	send(text).want(409, cardbroker.CardUnexpected)
	b.Token.Change(func(s *softtoken.State) { s.Present, s.Left, s.Flags = true, 0, s.Flags|token.FlagSOPINLocked })
	send(text).want(423, cardbroker.PINBlocked)
}
