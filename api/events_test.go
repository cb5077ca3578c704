// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"slices"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
)

func TestChanges(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	piv, eid := &api.Card{ATR: "3B00", Protocol: "T1"}, &api.Card{ATR: "3B01", Protocol: "T0"}
	copied := *piv
	event := func(name string, id cardbroker.ReaderID, atr string) api.ReaderEvent {
		return api.ReaderEvent{Event: name, Reader: id, ATR: atr, Time: at}
	}
	for _, test := range []struct {
		name          string
		before, after []api.ReaderState
		want          []api.ReaderEvent
	}{
		{"nothing", nil, nil, nil},
		{"a reader", nil, []api.ReaderState{{ID: "a"}}, []api.ReaderEvent{event("reader_added", "a", "")}},
		{"a reader with a card", nil, []api.ReaderState{{ID: "a", Card: piv}},
			[]api.ReaderEvent{event("reader_added", "a", ""), event("card_in", "a", "3B00")}},
		{"a reader goes, with its card", []api.ReaderState{{ID: "a", Card: piv}}, nil, []api.ReaderEvent{event("reader_removed", "a", "")}},
		{"a card comes", []api.ReaderState{{ID: "a"}}, []api.ReaderState{{ID: "a", Card: piv}}, []api.ReaderEvent{event("card_in", "a", "3B00")}},
		{"a card goes", []api.ReaderState{{ID: "a", Card: piv}}, []api.ReaderState{{ID: "a"}}, []api.ReaderEvent{event("card_out", "a", "")}},
		{"another card", []api.ReaderState{{ID: "a", Card: piv}}, []api.ReaderState{{ID: "a", Card: eid}}, []api.ReaderEvent{event("card_in", "a", "3B01")}},
		{"the same", []api.ReaderState{{ID: "a", Card: piv}}, []api.ReaderState{{ID: "a", Card: &copied}}, nil},
		{"another order", []api.ReaderState{{ID: "a"}, {ID: "b"}}, []api.ReaderState{{ID: "b"}, {ID: "a"}}, nil},
		{"first what went", []api.ReaderState{{ID: "a"}}, []api.ReaderState{{ID: "b"}},
			[]api.ReaderEvent{event("reader_removed", "a", ""), event("reader_added", "b", "")}},
	} {
		if got := api.Changes(test.before, test.after, at); !slices.Equal(got, test.want) {
			t.Errorf("%s: Changes = %+v, want %+v", test.name, got, test.want)
		}
	}
}

func TestNewCard(t *testing.T) {
	if got := api.NewCard(nil); got != nil {
		t.Errorf("NewCard(nil) = %+v, want nil", got)
	}
	got := api.NewCard(&cardbroker.Card{ATR: []byte{0x3B, 0xAB}, Protocol: cardbroker.ProtocolT1})
	if want := (api.Card{ATR: "3BAB", Protocol: "T1"}); *got != want {
		t.Errorf("NewCard = %+v, want %+v", *got, want)
	}
}

func TestUID(t *testing.T) {
	if got := api.UID(cardbroker.UserID{UID: 1001}); got == nil || *got != 1001 {
		t.Errorf("UID of 1001 = %v", got)
	}
	if got := api.UID(cardbroker.UserID{}); got == nil || *got != 0 {
		t.Errorf("UID of root = %v, want 0", got)
	}
	if got := api.UID(cardbroker.UserID{SID: "S-1-5-18"}); got != nil {
		t.Errorf("UID of a SID = %d, want none", *got)
	}
}
