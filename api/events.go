// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"slices"
	"time"

	"github.com/cardbroker/cardbroker"
)

// ReaderState is what events are told apart by: a reader, and the card in it.
type ReaderState struct {
	ID   cardbroker.ReaderID
	Name string
	Life uint64 // another number: the reader was gone meanwhile, though it looks the same
	Card *Card
}

// States returns what events tell of readers.
func States(readers []RemoteReader) []ReaderState {
	states := make([]ReaderState, len(readers))
	for i, r := range readers {
		states[i] = ReaderState{ID: r.ID, Name: r.Name, Card: r.Card}
	}
	return states
}

// Changes returns the events that lead from one list of readers to another: first what has gone, then what has come.
func Changes(before, after []ReaderState, at time.Time) []ReaderEvent {
	var events []ReaderEvent
	add := func(name string, reader ReaderState, atr string) {
		events = append(events, ReaderEvent{Event: name, Reader: reader.ID, Name: reader.Name, ATR: atr, Time: at})
	}
	for _, old := range before {
		if find(after, old) == nil {
			add(EventReaderRemoved, old, "")
		}
	}
	for _, now := range after {
		old := find(before, now)
		if old == nil {
			add(EventReaderAdded, now, "")
			old = &ReaderState{}
		}
		switch {
		case now.Card == nil && old.Card != nil:
			add(EventCardOut, now, "")
		case now.Card != nil && (old.Card == nil || *old.Card != *now.Card):
			add(EventCardIn, now, now.Card.ATR)
		}
	}
	return events
}

// find returns the state of the same reader in the same life.
func find(states []ReaderState, like ReaderState) *ReaderState {
	i := slices.IndexFunc(states, func(s ReaderState) bool { return s.ID == like.ID && s.Life == like.Life })
	if i < 0 {
		return nil
	}
	return &states[i]
}
