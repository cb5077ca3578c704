// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pin_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/pin"
	"github.com/cardbroker/cardbroker/internal/config"
)

// keeps is a policy that keeps PINs for a minute and three uses.
func keeps(c *pin.Config) { c.Policy.Session = config.PINSession{Time: time.Minute, Uses: 3} }

// TestSession: a PIN that was right is there for the same page, a number of times.
func TestSession(t *testing.T) {
	b := newBed(t, keeps)
	want(t, "before", b.enter(shop, ""), "pin_canceled")
	want(t, "the PIN", b.enter(shop, right), "")
	b.names()
	for range 3 {
		want(t, "a use", b.enter(shop, ""), "")
	}
	want(t, "one too many", b.enter(shop, ""), "pin_canceled")
	wantNames(t, b.names(), "pin_verified", "pin_verified", "pin_verified", "pin_session_ended", "pin_refused")
}

// TestSessionOfTheUsersOwn: what he entered himself is kept as well.
func TestSessionOfTheUsersOwn(t *testing.T) {
	b := newBed(t, keeps)
	b.will(right)
	want(t, "the user", b.enter(shop, ""), "")
	b.answer.Store(nil)
	want(t, "a use", b.enter(shop, ""), "")
}

// TestNoSession: without policy, and for programs, nothing is kept.
func TestNoSession(t *testing.T) {
	b := newBed(t, nil)
	want(t, "the PIN", b.enter(shop, right), "")
	want(t, "a use", b.enter(shop, ""), "pin_canceled")
	b = newBed(t, keeps)
	want(t, "a program's PIN", b.enter("", right), "")
	want(t, "a use", b.enter("", ""), "pin_canceled")
}

// TestLock: while the user is not at his screen no PIN is taken; one that is on its way when he locks it reaches no card, and is not kept if it has.
func TestLock(t *testing.T) {
	for free, want := range [...]struct{ says, names string }{
		{"forbidden", "pin_refused"}, // locked before the PIN came
		{"forbidden", "pin_refused"}, // before the card saw it
		{"", "pin_verified"},         // before it was kept
		{"", "pin_session_begun pin_verified"},
	} {
		var asked atomic.Int32
		b := newBed(t, func(c *pin.Config) {
			keeps(c)
			c.Attended = func() error {
				if int(asked.Add(1)) <= free {
					return nil
				}
				return cardbroker.Errorf(cardbroker.Forbidden, "the session is locked")
			}
		})
		if got := string(cardbroker.ReasonOf(b.enter(shop, wrong))); free < 2 && got != "forbidden" {
			t.Errorf("%d: a wrong PIN is answered %q", free, got)
		}
		if left := b.left(); (left == 3) != (free < 2) {
			t.Errorf("%d: %d tries are left", free, left)
		}
		asked.Store(0)
		b.names()
		if got := string(cardbroker.ReasonOf(b.enter(shop, right))); got != want.says {
			t.Errorf("%d: the PIN is answered %q, want %q", free, got, want.says)
		}
		if got := strings.Trim(fmt.Sprint(b.names()), "[]"); got != want.names {
			t.Errorf("%d: recorded are %s, want %s", free, got, want.names)
		}
	}
}

// TestSessionEnds: whatever ends a session ends it for good.
func TestSessionEnds(t *testing.T) {
	const other = cardbroker.Origin("https://other.example")
	for name, end := range map[string]func(b *bed){
		"the card is another": (*bed).insert,
		"the card is gone": func(b *bed) {
			b.present.Store(nil)
			b.signal()
		},
		"the screen is locked":   func(b *bed) { b.keeper.EndAll("locked") },
		"a back end takes it":    func(b *bed) { b.keeper.EndReader("cardbroker Software Reader 00 00", "a lease") },
		"consent is revoked":     func(b *bed) { b.keeper.EndPages("revoked", func(o cardbroker.Origin) bool { return o == shop }) },
		"a wrong PIN":            func(b *bed) { want(b.t, "a wrong PIN", b.enter(shop, wrong), "pin_incorrect") },
		"a wrong PIN of another": func(b *bed) { want(b.t, "a wrong PIN", b.enter(other, wrong), "pin_incorrect") },
		"a wrong PIN of the user's": func(b *bed) {
			b.will(wrong)
			want(b.t, "a wrong PIN", b.enter(other, ""), "pin_incorrect")
			b.answer.Store(nil)
		},
		"another PIN of the card's": func(b *bed) { b.verify, _ = pin.NewVerify(0x81, pin.EncodingPIV, pivAID) },
		"another application":       func(b *bed) { b.verify, _ = pin.NewVerify(0x80, pin.EncodingPIV, nil) },
		"another encoding":          func(b *bed) { b.verify, _ = pin.NewVerify(0x80, pin.EncodingASCII, pivAID) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, keeps)
			want(t, "the PIN", b.enter(shop, right), "")
			want(t, "a use", b.enter(shop, ""), "")
			end(b)
			sent := b.sent.Load()
			want(t, "a use afterwards", b.enter(shop, ""), "pin_canceled")
			if b.sent.Load() != sent {
				t.Error("the PIN went to a card")
			}
		})
	}
}

// TestSessionNotOfOthers: what ends the sessions of others leaves this one.
func TestSessionNotOfOthers(t *testing.T) {
	b := newBed(t, keeps)
	want(t, "the PIN", b.enter(shop, right), "")
	b.keeper.EndReader("Another Reader", "a lease")
	b.keeper.EndPages("revoked", func(o cardbroker.Origin) bool { return o == evil })
	b.signal() // of another reader
	want(t, "a use", b.enter(shop, ""), "")
}

// TestSessionTime: it ends by its time, whether anybody asks or not; so does a challenge.
func TestSessionTime(t *testing.T) {
	theKeys()
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, keeps)
		want(t, "the PIN", b.enter(shop, right), "")
		nonce := b.nonce(shop)
		b.names()
		time.Sleep(59 * time.Second)
		synctest.Wait()
		wantNames(t, b.names())
		time.Sleep(time.Second)
		synctest.Wait()
		wantNames(t, b.names(), "pin_session_ended")
		want(t, "a use", b.enter(shop, ""), "pin_canceled")
		text := b.jweOf(nonce)
		want(t, "a challenge that has expired", b.keeper.Enter(t.Context(), b.wish(shop, text)), "forbidden pin_challenge")
	})
}

// TestSessionDuringCardSwap: the card is taken out while its PIN is on the way: another of its kind does not get it, as far as the
// service has told.
func TestSessionDuringCardSwap(t *testing.T) {
	b := newBed(t, keeps)
	want(t, "the PIN", b.enter(shop, right), "")
	b.counted = func(c *card) {
		c.before = func(command []byte) {
			if command[1] == 0xA4 {
				b.present.Store(&cardbroker.Card{ATR: []byte("\x3B\x81\x80\x01\x02\x02")})
			}
		}
	}
	sent := b.sent.Load()
	want(t, "a use", b.enter(shop, ""), "card_removed")
	if b.sent.Load() != sent {
		t.Error("the PIN went to another card")
	}
}

// TestManySessions: there is an end to them.
func TestManySessions(t *testing.T) {
	b := newBed(t, keeps)
	for i := range 20 {
		want(t, "a PIN", b.enter(cardbroker.Origin(fmt.Sprintf("https://shop%d.example", i)), right), "")
	}
	begun := 0
	for _, name := range b.names() {
		if name == cardbroker.EventPINSessionBegun {
			begun++
		}
	}
	if begun != 16 {
		t.Errorf("%d PINs are kept, want 16", begun)
	}
}

// TestChallenges: a page has eight of them, all have 64, and each is good once, for its own page.
func TestChallenges(t *testing.T) {
	b := newBed(t, nil)
	first := b.nonce(shop)
	second := b.nonce(shop)
	for range 7 {
		b.nonce(shop)
	}
	want(t, "one that made room", b.keeper.Enter(t.Context(), b.wish(shop, b.jweOf(first))), "forbidden pin_challenge")
	want(t, "one that did not", b.keeper.Enter(t.Context(), b.wish(shop, b.jweOf(second))), "")
	n := 7
	for ; n < 100; n++ {
		if _, err := b.keeper.Challenge(t.Context(), cardbroker.Origin(fmt.Sprintf("https://shop%d.example", n))); err != nil {
			want(t, "a challenge", err, "rate_limited pin_rate")
			break
		}
	}
	if n != 64 {
		t.Errorf("%d challenges are open, want 64", n)
	}
}

// TestSessionRate: a page that was let begin a session is let use it up at once; others may enter but a few PINs a minute.
func TestSessionRate(t *testing.T) {
	b := newBed(t, func(c *pin.Config) { c.Policy.Session = config.PINSession{Time: time.Hour, Uses: 50} })
	if err := b.enter(shop, right); err != nil {
		t.Fatal(err)
	}
	for n := range 50 {
		if err := b.enter(shop, ""); err != nil {
			t.Fatalf("use %d: %v", n, err)
		}
	}
	for n := range 11 {
		err := b.enter(evil, right)
		if limited := cardbroker.RuleOf(err) == cardbroker.RulePINRate; limited != (n == 10) {
			t.Errorf("PIN %d of a page: %v", n, err)
		}
	}
}
