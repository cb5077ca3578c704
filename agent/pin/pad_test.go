// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pin_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/pin"
	"github.com/cardbroker/cardbroker/apdu"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/pinpad"
)

// TestDialog: a page that wants its user asked sends no PIN that counts.
func TestDialog(t *testing.T) {
	b := newBed(t, nil)
	b.will(right)
	w := b.wish(shop, b.pkcs1(wrong))
	w.Dialog, w.Which = true, "PIN 80"
	want(t, "a wrong PIN of the page, and the user's", b.keeper.Enter(t.Context(), w), "")
	if q := b.asked.Load(); q == nil || q.Which != "PIN 80" || q.Wrong {
		t.Errorf("he was asked %+v", q)
	}
	b.will(wrong)
	want(t, "his own wrong PIN", b.enter(shop, ""), "pin_incorrect")
	b.will(right)
	want(t, "the next one", b.enter(shop, ""), "")
	if q := b.asked.Load(); !q.Wrong || q.Tries != 2 {
		t.Errorf("after a wrong PIN he was asked %+v, want 2 tries", q)
	}
	want(t, "the last one", b.enter(shop, ""), "")
	if q := b.asked.Load(); q.Wrong {
		t.Errorf("after a right PIN he was asked %+v", q)
	}
}

// TestPad: the PIN is entered at the reader; cancelled, timed out and wrong are three reasons, and there is never a PIN in the agent.
func TestPad(t *testing.T) {
	var notices, open atomic.Int64
	locked := false
	b := newBed(t, func(c *pin.Config) {
		c.Ask = func(context.Context, pin.Question) ([]cardbroker.Secret, error) {
			t.Error("the user is asked by the computer")
			return nil, cardbroker.Errorf(cardbroker.PINCanceled, "")
		}
		c.Policy.Session = config.PINSession{Time: 1 << 40, Uses: 3}
		c.Notice = func(_ context.Context, q pin.Question) (func(), error) {
			if locked {
				return nil, cardbroker.Errorf(cardbroker.PINCanceled, "the session is locked")
			}
			notices.Add(1)
			open.Add(1)
			return func() { open.Add(-1) }, nil
		}
	})
	page := 0 // each is another one: a page may only try so often
	enter := func(text string, dialog bool) error {
		page++
		w := b.wish(cardbroker.Origin(fmt.Sprintf("https://page%d.example", page)), text)
		w.Pad, w.Dialog = true, dialog
		return b.keeper.Enter(t.Context(), w)
	}
	for _, test := range []struct {
		name, pin string
		sw        apdu.StatusWord
		want      string
		left      int
	}{
		{"right", right, 0, "", 3},
		{"cancelled", "", pinpad.Canceled, "pin_canceled", 3},
		{"timed out", "", pinpad.TimedOut, "timeout", 3},
		{"too short", "", pinpad.WrongLength, "invalid", 3},
		{"wrong", wrong, 0, "pin_incorrect", 2},
		{"broken", "", 0x6B80, "card_unexpected", 2},
		{"right again", right, 0, "", 3},
	} {
		b.pad = func() ([]byte, apdu.StatusWord) {
			if open.Load() != 1 {
				t.Errorf("%s: the user was not told to enter his PIN at the reader", test.name)
			}
			return []byte(test.pin), test.sw
		}
		want(t, test.name, enter(b.pkcs1(right), true), test.want)
		if left := b.left(); left != test.left || open.Load() != 0 {
			t.Errorf("%s: %d tries are left, want %d; %d notices are still there", test.name, left, test.left, open.Load())
		}
	}
	asked := notices.Load()
	b.pad = func() ([]byte, apdu.StatusWord) { return []byte(right), 0 }
	want(t, "without a PIN", enter("", false), "")
	page--
	want(t, "once more", enter("", false), "")
	if n := notices.Load() - asked; n != 2 {
		t.Errorf("the user entered his PIN %d times, want 2: what he enters at the reader cannot be kept", n)
	}
	locked = true
	want(t, "while the screen is locked", enter("", false), "pin_canceled")
	b.pad = nil
	locked = false
	want(t, "a reader that has none any more", enter("", false), "unsupported")
}
