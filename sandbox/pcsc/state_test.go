// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build cgo || windows

package pcsc

import (
	"fmt"
	"slices"
	"testing"

	"github.com/ebfe/scard"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/sandbox"
)

// TestStates has a reader go through states as a service tells them, one after the other, and wants what is told of each.
func TestStates(t *testing.T) {
	const (
		empty   = scard.StateEmpty | scard.StateChanged
		present = scard.StatePresent | scard.StateChanged
		mute    = present | scard.StateMute
	)
	one, other := []byte{0x3B, 0x00}, []byte{0x3B, 0x80, 0x01, 0x81}
	count := func(n int) scard.StateFlag { return scard.StateFlag(n << 16) }
	steps := []struct {
		name  string
		state scard.StateFlag
		atr   []byte
		want  []string
	}{
		{"not known yet", scard.StateUnknown | scard.StateChanged, nil, nil},
		{"empty", empty, nil, []string{"out"}},
		{"empty, a card came and went", empty | count(2), nil, nil},
		{"a card", present | count(3), one, []string{"in 3B00 T0"}},
		{"in use", present | scard.StateInuse | count(3), one, nil},
		{"the same again, put in anew", present | count(5), one, []string{"out", "in 3B00 T0"}},
		{"another one", present | count(7), other, []string{"out", "in 3B800181 T1"}},
		{"another ATR of the same", present | count(7), one, []string{"in 3B00 T0"}},
		{"mute, with an old ATR", mute | count(7), one, []string{"in  "}},
		{"mute still", mute | scard.StateInuse | count(7), one, nil},
		{"not powered yet", present | count(9), nil, []string{"out", "in  "}},
		{"the counter begins anew", present | count(0), other, []string{"out", "in 3B800181 T1"}},
		{"not available", scard.StateUnavailable | scard.StateChanged, nil, nil},
		{"back", present | count(0), other, nil},
		{"out", empty | count(1), nil, []string{"out"}},
		{"nothing said", scard.StateChanged, nil, nil},
	}
	var told []string
	w := &watcher{readers: New(nil), emit: func(e sandbox.Event) {
		text := "out"
		if e.Card != nil {
			text = fmt.Sprintf("in %X %v", e.Card.ATR, e.Card.Protocol)
		}
		told = append(told, text)
	}}
	r := &watched{name: "reader"}
	w.watched = []*watched{r}
	pnp := scard.ReaderState{Reader: plugAndPlay, EventState: 1<<16 | scard.StateChanged}
	for _, step := range steps {
		told = nil
		seat := r.seat
		if err := w.apply([]scard.ReaderState{{Reader: r.name, EventState: step.state, Atr: step.atr}, pnp}); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(told, step.want) {
			t.Errorf("%s: told %q, want %q", step.name, told, step.want)
		}
		if out := slices.Contains(told, "out"); (r.seat != seat) != out {
			t.Errorf("%s: seat %v after %v, want another one only if a card went", step.name, r.seat, seat)
		}
		if r.state&scard.StateChanged != 0 || r.state == scard.StateUnaware || r.state>>16 != step.state>>16 {
			t.Errorf("%s: fed back %x, want %x without its mark", step.name, r.state, step.state)
		}
	}
	if w.pnp != 1<<16 {
		t.Errorf("fed back %x for the pseudo reader, want its count", w.pnp)
	}
	pnp.EventState |= scard.StateUnknown
	if err := w.apply([]scard.ReaderState{{Reader: r.name, EventState: empty}, pnp}); cardbroker.ReasonOf(err) != cardbroker.Unsupported {
		t.Errorf("apply() without a pseudo reader = %v, want Unsupported: the wait would return at once, for ever", err)
	}
}

// TestRoom: with the pseudo reader there are never more than 16 to wait for, and who is watched stays.
func TestRoom(t *testing.T) {
	var told []string
	w := &watcher{readers: New(nil), emit: func(e sandbox.Event) { told = append(told, e.Reader) }}
	for i := range maxReaders {
		w.watched = append(w.watched, &watched{name: fmt.Sprint("reader ", i), told: i > 0})
	}
	names := []string{"new", "reader 3", ""}
	w.add(names)
	if n := len(w.states()); n != 16 {
		t.Errorf("%d states to wait for, want 16", n)
	}
	w.remove([]string{"reader 3"})
	if len(told) != maxReaders-2 || slices.Contains(told, "reader 0") || slices.Contains(told, "reader 3") {
		t.Errorf("told that %q are gone, want all but one that is there and one that was never told", told)
	}
	if n := len(w.states()); n != 2 {
		t.Errorf("%d states to wait for, want 2", n)
	}
}
