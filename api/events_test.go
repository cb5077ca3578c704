// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"slices"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker/api"
)

func TestChanges(t *testing.T) {
	card, other := &api.Card{ATR: "3B00", Protocol: "T1"}, &api.Card{ATR: "3B01", Protocol: "T1"}
	empty, full := api.ReaderState{ID: "a"}, api.ReaderState{ID: "a", Card: card}
	for name, c := range map[string]struct {
		before, after []api.ReaderState
		want          []string
	}{
		"nothing":         {nil, nil, nil},
		"same":            {[]api.ReaderState{full}, []api.ReaderState{{ID: "a", Card: &api.Card{ATR: "3B00", Protocol: "T1"}}}, nil},
		"first list":      {nil, []api.ReaderState{full, {ID: "b"}}, []string{"reader_added a", "card_in a 3B00", "reader_added b"}},
		"reader gone":     {[]api.ReaderState{full}, nil, []string{"reader_removed a"}},
		"card in":         {[]api.ReaderState{empty}, []api.ReaderState{full}, []string{"card_in a 3B00"}},
		"card out":        {[]api.ReaderState{full}, []api.ReaderState{empty}, []string{"card_out a"}},
		"another card":    {[]api.ReaderState{full}, []api.ReaderState{{ID: "a", Card: other}}, []string{"card_in a 3B01"}},
		"another reader":  {[]api.ReaderState{full}, []api.ReaderState{{ID: "b"}}, []string{"reader_removed a", "reader_added b"}},
		"gone for a wink": {[]api.ReaderState{full}, []api.ReaderState{{ID: "a", Life: 1, Card: card}}, []string{"reader_removed a", "reader_added a", "card_in a 3B00"}},
	} {
		t.Run(name, func(t *testing.T) {
			at := time.Unix(1, 0)
			for _, states := range [][]api.ReaderState{c.before, c.after} {
				for i := range states {
					states[i].Name = "reader " + string(states[i].ID)
				}
			}
			var got []string
			for _, e := range api.Changes(c.before, c.after, at) {
				line := e.Event + " " + string(e.Reader)
				if e.ATR != "" {
					line += " " + e.ATR
				}
				if want := "reader " + string(e.Reader); e.Name != want {
					t.Errorf("%s is of %q, want %q", line, e.Name, want)
				}
				if !e.Time.Equal(at) {
					t.Errorf("%s at %v, want %v", line, e.Time, at)
				}
				got = append(got, line)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("Changes = %q, want %q", got, c.want)
			}
		})
	}
}
