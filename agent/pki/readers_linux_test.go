// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pki_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/pin"
	"github.com/cardbroker/cardbroker/agent/pki"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/token"
	"github.com/cardbroker/cardbroker/test/softtoken"
)

// TestNamesAlike: a slot is in the reader of the longest name that fits, and in none where the description has no room for what tells two
// of them apart: a PIN for the one would be tried at the card in the other.
func TestNamesAlike(t *testing.T) {
	long := strings.Repeat("Reader of a long name ", 3)[:64]
	readers := []cardbroker.Reader{{Name: "Reader 00"}, {Name: "Reader 00 01"}, {Name: long + " 00 00"}, {Name: long + " 01 00"}}
	slots := []token.Slot{
		{ID: 1, Description: "Reader 00 01", Token: &token.Token{}}, {ID: 2, Description: "Reader 00"},
		{ID: 3, Description: long, Token: &token.Token{}}, {ID: 4, Description: long},
	}
	for i, want := range []uint{2, 1} {
		if got, err := pki.SlotIn(slots, readers[i].Name, readers); got != want || err != nil {
			t.Errorf("the slot of %q is %d, %v, want %d", readers[i].Name, got, err, want)
		}
	}
	for _, r := range readers[2:] {
		if got, err := pki.SlotIn(slots, r.Name, readers); cardbroker.ReasonOf(err) != cardbroker.ObjectUnknown {
			t.Errorf("the slot of %q is %d, %v", r.Name, got, err)
		}
		if got, err := pki.SlotIn(slots[2:], r.Name, []cardbroker.Reader{r}); got != 3 || err != nil {
			t.Errorf("the slot of %q, alone, is %d, %v", r.Name, got, err)
		}
	}
	one := strings.Repeat("x", 63)
	if got := pki.ReaderIn(token.Slot{Description: one}, []cardbroker.Reader{{Name: one}, {Name: one + " 00"}}); got != "" {
		t.Errorf("a slot of either of two readers is in %q", got)
	}
	for i, want := range []string{"Reader 00 01", "Reader 00", "", ""} {
		if got := pki.ReaderIn(slots[i], readers); got != want {
			t.Errorf("slot %d is in %q, want %q", slots[i].ID, got, want)
		}
	}
}

// pins is a module that has a card stand for two tokens, one for each of its PINs, and tells of the first one once only.
type pins struct {
	*softtoken.Token
	told atomic.Bool
}

func (p *pins) Slots(ctx context.Context, name string, present bool) ([]token.Slot, error) {
	slots, err := p.Token.Slots(ctx, name, present)
	if err == nil && p.told.Swap(true) {
		slots[0].Token.Label = "signature"
	}
	return slots, err
}

// TestOtherPIN: what the user was asked for as one PIN of a card is not tried as another one of it.
func TestOtherPIN(t *testing.T) {
	module := &pins{Token: softtoken.New()}
	b := startBed(t, softtoken.Config{Tokens: module, Modules: []config.Module{{Name: "card", PCSC: true}}})
	answer := func(pin.Question) []string { return []string{"000000"} }
	b.Ask.Store(&answer)
	b.want(cardbroker.CardRemoved, "POST", "verify-pin", fields{"osDialog": true}, nil)
	if asked := module.Asked(); len(asked) > 0 {
		t.Errorf("the token was asked %+v", asked)
	}
}
