// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pki_test

import (
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/test/softtoken"
)

// elsewhere has the slot of module "card" be in none of the session's readers.
const elsewhere = "Another Reader 00 00"

// slots asks for the slots of a module.
func (b *bed) slots(module string) []api.Slot {
	b.t.Helper()
	var all api.Slots
	b.want("", "GET", "/cb/v1/modules/"+module+"/slots", nil, &all)
	return all.Slots
}

// TestTokenInNoReader: a token of a module with PC/SC that is in none of the session's readers is used by the id of its slot, as one
// that is no card: there is no reader to be lent, and no card that comes and goes.
func TestTokenInNoReader(t *testing.T) {
	b := startBed(t, softtoken.Config{Reader: elsewhere})
	slots := b.slots("card")
	if len(slots) == 0 || slots[0].Reader != "" || slots[0].Token == nil {
		t.Fatalf("the slots are %+v", slots)
	}
	b.base = "/v3/modules/card/apps/token/readers/" + string(slots[0].ID) + "/"
	b.Lent.Store(1) // whoever wants the reader is refused
	b.want("", "GET", "cert-list", nil, nil)
	b.want("", "POST", "verify-pin", fields{"pin": b.pin(softtoken.PIN)}, nil)
	b.Lent.Store(0)
	b.Remove() // of the session's reader
	b.want("", "GET", "cert-list", nil, nil)
	b.on("card")
	b.want(cardbroker.ObjectUnknown, "GET", "cert-list", nil, nil)
}

// TestExcludedSlots: where policy excludes readers, a module with PC/SC has no slot that is in none of the session's. What the
// library has of an excluded reader would else be served as a token without one.
func TestExcludedSlots(t *testing.T) {
	b := startBed(t, softtoken.Config{Reader: elsewhere, Excludes: true})
	if slots := b.slots("card"); len(slots) != 0 {
		t.Errorf("slots that are in no reader of the session are listed: %+v", slots)
	}
	hidden := cardbroker.NewSlotID(b.Secret, "card", softtoken.Reader, b.slots("soft")[0].Token.SerialNumber)
	for _, id := range []cardbroker.ReaderID{hidden, cardbroker.NewReaderID(b.Secret, softtoken.Reader)} {
		b.base = "/v3/modules/card/apps/token/readers/" + string(id) + "/"
		b.want(cardbroker.ReaderUnknown, "GET", "cert-list", nil, nil)
		b.want(cardbroker.ReaderUnknown, "POST", "verify-pin", fields{"pin": b.pin(softtoken.PIN)}, nil)
	}
	if len(b.slots("soft")) == 0 {
		t.Error("a module without PC/SC has lost its slots")
	}
	open := startBed(t, softtoken.Config{Excludes: true})
	if got := open.slots("card"); len(got) == 0 || got[0].Reader != open.Reader() {
		t.Errorf("the slots in readers of the session are %+v", got)
	}
	open.want("", "GET", "cert-list", nil, nil)
}
