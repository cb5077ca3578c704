// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package remoteloading_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/remoteloading"
)

// TestShapes has each call made as existing clients make it, without a session.
func TestShapes(t *testing.T) {
	b := newBed(t, nil)
	long := strings.Repeat("AB", 300)
	for _, test := range []struct{ reader, action, body, want string }{
		{plain, "card-present", "{}", "true"},
		{plain, "card-present", "", "true"},
		{empty, "card-present", "{}", "false"},
		{plain, "atr", "{}", `"3BAB"`},
		{empty, "atr", "{}", "card_absent: …"},
		{"none", "atr", "{}", "reader_unknown: …"},
		{plain, "close-session", "{}", `""`},
		{plain, "ccid-features", "{}", `""`},
		{padded, "ccid-features", "{}", `"VERIFY_PIN_DIRECT,GET_TLV_PROPERTIES"`},
		{plain, "command", `{"command":"0010000002beef"}`, `{"sw":"9000","tx":"0010000002BEEF","rx":"BEEF"}`},
		{plain, "command", `{"command":"00100000"}`, `{"sw":"9000","tx":"00100000"}`},
		{plain, "command", `{"command":"00140000"}`, `{"sw":"6102","tx":"00140000"}`}, // who wants the rest asks for it
		{plain, "commands", `{"commands":["00140000","00C0000002"]}`, `[{"sw":"6102","tx":"00140000"},{"sw":"9000","tx":"00C0000002","rx":"BEEF"}]`},
		{plain, "commands", `{"commands":["002000000431323335","001000000101"]}`, `[{"sw":"63C2","tx":"002000000431323335"},{"sw":"9000","tx":"001000000101","rx":"01"}]`},
		{plain, "apdu", `{"apdu":{"cla":"00","ins":"10","p1":"01","p2":"02","data":"beef","le":"00"}}`, `{"sw":"9000","tx":"0010010202BEEF00","rx":"BEEF00"}`},
		{plain, "apdu", `{"apdu":{"cla":"00","ins":"10","p1":"00","p2":"00","le":"0000"}}`, `{"sw":"9000","tx":"00100000000000","rx":"0000"}`},
		{plain, "apdu", `{"apdu":{"cla":"00","ins":"10","p1":"00","p2":"00","data":"` + long + `"}}`, `{"sw":"9000","tx":"0010000000012C` + long + `","rx":"012C` + long + `"}`},
		{plain, "apdu", `{"apdu":{"cla":"00","ins":"10","p1":"00","p2":"00","data":null,"le":""},"sessionId":""}`, `{"sw":"9000","tx":"00100000"}`},
		{plain, "apdus", `{"apdus":[{"cla":"00","ins":"10","p1":"00","p2":"00","data":"01"},{"cla":"00","ins":"12","p1":"00","p2":"00"}]}`,
			`[{"sw":"9000","tx":"001000000101","rx":"01"},{"sw":"9000","tx":"00120000","rx":"02"}]`},
		{padded, "ccid", `{"feature":"VERIFY_PIN_DIRECT","command":"` + verifyStructure("00200080") + `"}`, `{"sw":"9000","tx":"` + verifyStructure("00200080") + `"}`},
		{padded, "ccid", `{"feature":"GET_TLV_PROPERTIES","command":""}`, `{"sw":"9000","tx":"","rx":"0B023412"}`},
		{padded, "ccid", `{"feature":"MODIFY_PIN_DIRECT","command":"00"}`, "unsupported: …"},
		{plain, "ccid", `{"feature":"VERIFY_PIN_DIRECT","command":"00"}`, "unsupported: …"},
		{plain, "ccid", `{"feature":"ESCAPE","command":"00"}`, "invalid: feature: …"},
	} {
		want(t, test.action+" "+test.body[:min(len(test.body), 80)], b.post("", test.reader, test.action, test.body), test.want)
	}
}

// TestMalformed: what is wrong is named by its place, and nothing of it is sent.
func TestMalformed(t *testing.T) {
	b := newBed(t, nil)
	session := b.open("", plain)
	for body, wanted := range map[string]string{
		`commands {"commands":["00120000","00"],` + session + `}`:                                      "invalid: commands[1]: …",
		`commands {"commands":["00120000","001G0000"],` + session + `}`:                                "invalid: commands[1]: want hexadecimal…",
		`commands {"commands":["00120000","001000000"],` + session + `}`:                               "invalid: commands[1]: want hexadecimal…",
		`commands {"commands":[7],` + session + `}`:                                                    "invalid: commands[0]: want hexadecimal…",
		`commands {"commands":[],` + session + `}`:                                                     "invalid: commands: 0 commands, want 1 to 256",
		`commands {"commands":["00120000"` + strings.Repeat(`,"00120000"`, 256) + `],` + session + `}`: "invalid: commands: 257 commands…",
		`commands {` + session + `}`:                                                                   "invalid: commands: 0…",
		`command {"command":"00120000","session":"x"}`:                                                 `invalid: the body…`,
		`command {}`: "invalid: command: …",
		`command `:   "invalid: the body is empty…",
		`apdu {"apdu":{"cla":"00","ins":"12","p1":"0","p2":"00"},` + session + `}`:                    "invalid: apdu: p1: …",
		`apdu {"apdu":{"ins":"12","p1":"00","p2":"00"},` + session + `}`:                              "invalid: apdu: cla: 0 bytes…",
		`apdus {"apdus":[{"cla":"00","ins":"12","p1":"00","p2":"00","le":"000000"}],` + session + `}`: "invalid: apdus[0]: le: 3 bytes…",
		`apdus {"apdus":[{"cla":"00","ins":"12","p1":"00","p2":"00","le":1}],` + session + `}`:        "invalid: apdus[0]: le: want hexadecimal…",
		`open-session {"timeout":0}`:                          "invalid: timeout: 0, want 1 to 600 seconds",
		`open-session {"timeout":601}`:                        "invalid: timeout: 601…",
		`open-session {"timeout":"30"}`:                       "invalid: …",
		`ccid {"feature":"VERIFY_PIN_DIRECT","command":"zz"}`: "invalid: command: want…",
	} {
		action, text, _ := strings.Cut(body, " ")
		want(t, body[:min(len(body), 90)], b.post("", plain, action, text), wanted)
	}
	want(t, "the first command of the session", b.post("", plain, "command", `{"command":"00120000",`+session+`}`), `{"sw":"9000","tx":"00120000","rx":"01"}`)
}

// TestSession: a session keeps the card as it is, a call without one leaves nothing on it; the session is its page's at its reader alone.
func TestSession(t *testing.T) {
	b := newBed(t, nil)
	count := func(origin, reader, session string) string {
		return b.post(origin, reader, "command", strings.Replace(`{"command":"00120000",`+session+`}`, ",}", "}", 1))
	}
	answer := func(n int) string { return fmt.Sprintf(`{"sw":"9000","tx":"00120000","rx":"%02X"}`, n) }
	want(t, "by itself", count(shop, plain, ""), answer(1))
	want(t, "again", count(shop, plain, ""), answer(1))
	session := b.open(shop, plain)
	for n := range 3 {
		want(t, "in the session", count(shop, plain, session), answer(n+1))
	}
	for what, got := range map[string]string{
		"another page": count(forum, plain, session), "a program": count("", plain, session), "another reader": count(shop, padded, session),
		"another id": count(shop, plain, `"sessionId":"`+strings.Repeat("A", 43)+`"`), "an id that is none": count(shop, plain, `"sessionId":"x"`),
	} {
		want(t, what, got, "session_unknown: invalid sessionID…")
	}
	want(t, "card-present", b.post(shop, plain, "card-present", "{"+session+"}"), "true")
	want(t, "atr", b.post(shop, plain, "atr", "{"+session+"}"), `"3BAB"`)
	want(t, "atr of another page's", b.post(forum, plain, "atr", "{"+session+"}"), "session_unknown: …")
	want(t, "close-session of another page's", b.post(forum, plain, "close-session", "{"+session+"}"), "session_unknown: …")
	want(t, "close-session", b.post(shop, plain, "close-session", "{"+session+"}"), strings.TrimPrefix(session, `"sessionId":`))
	want(t, "after it", count(shop, plain, session), "session_unknown: …")
	want(t, "close-session again", b.post(shop, plain, "close-session", "{"+session+"}"), "session_unknown: …")
	want(t, "by itself, after it", count(shop, plain, ""), answer(1))
	want(t, "the log", b.events(), "remote_loading_opened "+shop+"; remote_loading_ended "+shop+" no active session: it was closed")
}

// TestWait: who wants a reader that a session has waits for it, and is told who has it if that takes too long; a page is not told of another.
func TestWait(t *testing.T) {
	b := newBed(t, func(b *bed, cfg *remoteloading.Config) {
		turn := cfg.Turn
		cfg.Turn = func(ctx context.Context, reader string) (remoteloading.Card, error) {
			if b.impatient.Load() {
				return nil, cardbroker.Errorf(cardbroker.ReaderBusy, "as after 8 s")
			}
			return turn(ctx, reader)
		}
	})
	session := b.open(shop, plain)
	said := make(chan string)
	go func() { said <- b.post(forum, plain, "command", `{"command":"00120000"}`) }()
	for b.turns.Load() < 2 { // until it waits
		want(t, "in the session", b.post(shop, plain, "command", `{"command":"001000000101",`+session+`}`), `{"sw":"9000"…`)
	}
	b.post(shop, plain, "close-session", "{"+session+"}")
	want(t, "who has waited", <-said, `{"sw":"9000","tx":"00120000","rx":"01"}`)

	b.open(shop, plain)
	b.impatient.Store(true)
	want(t, "a program", b.post("", plain, "command", `{"command":"00120000"}`), "reader_busy: a session of https://shop.example has the reader, until …")
	want(t, "another page", b.post(forum, plain, "command", `{"command":"00120000"}`), "reader_busy: a session of another page or program of the user's has…")
	want(t, "the page itself", b.post(shop, plain, "open-session", `{}`), "reader_busy: a session of this page has…")
	want(t, "at another reader", b.post(shop, padded, "open-session", `{}`), "reader_busy: as after 8 s")
}

// TestEnds has sessions end in all ways. What runs then may have run and is not sent again; the owner is told why once.
func TestEnds(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(b *bed, session string) // of shop's
		want string                       // of the next call
		why  string                       // in the log
	}{
		{"consent", func(b *bed, _ string) {
			b.loader.EndPages("the consent has ended", func(o cardbroker.Origin) bool { return o == shop })
		}, "session_unknown: no active session: the consent has ended", "the consent has ended"},
		{"lock", func(b *bed, _ string) { b.loader.EndAll("the session is locked") },
			"session_unknown: no active session: the session is locked", "the session is locked"},
		{"removal", func(b *bed, session string) {
			b.post(shop, plain, "command", `{"command":"001A0000",`+session+`}`)
			b.until(func() bool { return b.present(plain) == nil && !b.loader.Has(plain) })
		}, "card_removed: …", "the card is not there any more"},
		{"reset by others", func(b *bed, session string) {
			want(t, "the command", b.post(shop, plain, "command", `{"command":"001C0000",`+session+`}`), "card_reset: command: …")
		}, "session_unknown: invalid…", "the connection to the card was lost"},
		{"death of the sandbox", func(b *bed, session string) {
			want(t, "the command", b.post(shop, plain, "commands", `{"commands":["00120000","00180000","00120000"],`+session+`}`), "indeterminate: commands[1]: …")
			b.post(shop, plain, "atr", "{"+session+"}") // whichever was first: the command's end, or that of the reader
		}, "session_unknown: invalid…", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBed(t, nil)
			session := b.open(shop, plain)
			test.end(b, session)
			if test.name == "removal" {
				want(t, "card-present by itself", b.post(shop, plain, "card-present", "{}"), "false")
			}
			want(t, "the next call", b.post(shop, plain, "command", `{"command":"00120000",`+session+`}`), test.want)
			want(t, "the one after it", b.post(shop, plain, "command", `{"command":"00120000",`+session+`}`), "session_unknown: invalid…")
			if log := b.events(); !strings.Contains(log, "remote_loading_ended "+shop) || !strings.Contains(log, test.why) {
				t.Errorf("the log has %q, want %q", log, test.why)
			}
			if test.name != "removal" {
				want(t, "a new session", b.post(shop, plain, "command", `{"command":"00120000",`+b.open(shop, plain)+`}`), `{"sw":"9000","tx":"00120000","rx":"01"}`)
			}
		})
	}
}

// TestEndWhileBusy ends a session whose command the card does not answer, and leaves one whose asker goes.
func TestEndWhileBusy(t *testing.T) {
	hang := func(b *bed, ctx context.Context, session string) <-chan string {
		said := make(chan string, 1)
		go func() { said <- b.postWithin(ctx, shop, plain, "command", `{"command":"00160000",`+session+`}`) }()
		b.until(func() bool { return b.present(empty) != nil })
		return said
	}
	t.Run("lock", func(t *testing.T) {
		b := newBed(t, nil)
		session := b.open(shop, plain)
		said := hang(b, t.Context(), session)
		want(t, "a second call", b.post(shop, plain, "command", `{"command":"00120000",`+session+`}`), "reader_busy: another call…")
		b.loader.EndAll("the session is locked")
		want(t, "the command", <-said, "indeterminate: command: the command may have run: the session has ended…")
		want(t, "the next call", b.post(shop, plain, "command", `{"command":"00120000",`+session+`}`), "session_unknown: …")
	})
	t.Run("asker", func(t *testing.T) {
		b := newBed(t, nil)
		session := b.open(shop, plain)
		ctx, cancel := context.WithCancel(t.Context())
		said := hang(b, ctx, session)
		cancel()
		<-said
		b.until(func() bool { return !b.loader.Has(plain) })
		want(t, "the next call", b.post(shop, plain, "command", `{"command":"00120000",`+session+`}`), "session_unknown: …")
	})
}

// TestAway: who is away uses no card, and a session that was about to be opened is not.
func TestAway(t *testing.T) {
	b := newBed(t, func(b *bed, cfg *remoteloading.Config) {
		turn := cfg.Turn
		cfg.Turn = func(ctx context.Context, reader string) (remoteloading.Card, error) {
			if reader == padded {
				b.loader.EndAll("the session is locked")
			}
			return turn(ctx, reader)
		}
	})
	want(t, "open-session during a lock", b.post(shop, padded, "open-session", "{}"), "session_unknown: …")
	b.away = cardbroker.Errorf(cardbroker.Forbidden, "the session is disconnected")
	for action, body := range map[string]string{"open-session": "{}", "command": `{"command":"00120000"}`, "ccid-features": "{}"} {
		want(t, action, b.post(shop, plain, action, body), "forbidden: the session is disconnected")
	}
}
