// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package sandbox_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/sandbox"
	"github.com/cardbroker/cardbroker/sandbox/sandboxtest"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// newPatientAgent is an agent that may take its time, with readers that are as impatient as Windows. It is connected.
func newPatientAgent(t *testing.T) (*agent, *sandboxtest.Impatient) {
	t.Helper()
	d := newDeck()
	readers := &sandboxtest.Impatient{Readers: d}
	a := serve(t, d, readers)
	for _, s := range a.streams {
		s.Conn().SetDeadline(time.Time{})
	}
	a.watch()
	a.connect()
	return a, readers
}

// leave ends the agent.
func (a *agent) leave() {
	a.t.Helper()
	a.streams[0].Close()
	if err := a.end(); err != nil {
		a.t.Errorf("Serve() = %v", err)
	}
}

func (a *agent) want(t wire.Type, payload []byte, want wire.Type) {
	a.t.Helper()
	if got, answer := a.ask(1, t, 1, payload); got != want {
		a.t.Fatalf("the answer to %d has the type %d %q, want %d", t, got, answer, want)
	}
}

var echo = []byte{0, 0, 0, 0}

// TestCardIsKeptAwake: a back end that thinks for a minute within its transaction finds the card as it was. Outside of
// transactions nobody touches the card.
func TestCardIsKeptAwake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, readers := newPatientAgent(t)
		quiet := func(when string) {
			t.Helper()
			before := readers.Calls.Load()
			time.Sleep(time.Minute)
			if n := readers.Calls.Load() - before; n != 0 {
				t.Errorf("%s the card was touched %d times, want not at all", when, n)
			}
		}
		quiet("before any transaction")
		a.want(wire.TypeBegin, nil, wire.TypeDone)
		a.want(wire.TypeBegin, nil, wire.TypeDone) // they nest
		before := readers.Calls.Load()
		time.Sleep(time.Minute)
		if n := readers.Calls.Load() - before; n < 23 || n > 24 {
			t.Errorf("in a minute within a transaction the card was touched %d times, want every 2.5 s", n)
		}
		a.want(wire.TypeAPDU, echo, wire.TypeAPDUResponse)
		a.want(wire.TypeEnd, wire.AppendDisposition(nil, cardbroker.LeaveCard), wire.TypeDone)
		time.Sleep(time.Minute)
		a.want(wire.TypeAPDU, echo, wire.TypeAPDUResponse) // still within the outer one
		a.want(wire.TypeEnd, wire.AppendDisposition(nil, cardbroker.LeaveCard), wire.TypeDone)
		quiet("after the transaction")
		a.want(wire.TypeAPDU, echo, wire.TypeAPDUResponse)
		a.want(wire.TypeBegin, nil, wire.TypeDone)
		a.want(wire.TypeDisconnect, wire.AppendDisposition(nil, cardbroker.LeaveCard), wire.TypeDone)
		quiet("after the connection")
		a.leave()
	})
}

// TestImpatience shows the rule itself: what nobody keeps awake is reset.
func TestImpatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		readers := &sandboxtest.Impatient{Readers: newDeck()}
		card, err := readers.Connect("one", cardbroker.ShareShared)
		if err != nil {
			t.Fatal(err)
		}
		card.Begin()
		time.Sleep(4 * time.Second)
		if _, err := card.Transmit(nil, echo); err != nil {
			t.Errorf("Transmit after 4 s = %v", err)
		}
		time.Sleep(6 * time.Second)
		if _, err := card.Transmit(nil, echo); cardbroker.ReasonOf(err) != cardbroker.CardReset {
			t.Errorf("Transmit after 6 s = %v, want card_reset", err)
		}
	})
}

// TestResetWhileKeptAwake: what is found out between two commands is told with the next one, once.
func TestResetWhileKeptAwake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDeck()
		a := serve(t, d, sick{d})
		for _, s := range a.streams {
			s.Conn().SetDeadline(time.Time{})
		}
		a.watch()
		a.connect()
		a.want(wire.TypeBegin, nil, wire.TypeDone)
		time.Sleep(time.Minute)
		a.wantError(1, wire.TypeAPDU, 1, echo, cardbroker.CardReset)
		a.want(wire.TypeAPDU, echo, wire.TypeAPDUResponse)
		a.leave()
	})
}

// sick is readers whose cards, whenever they are looked at, have been reset.
type sick struct{ *deck }

func (s sick) Connect(name string, share cardbroker.ShareMode) (sandbox.Card, error) {
	card, err := s.deck.Connect(name, share)
	return sickCard{card}, err
}

type sickCard struct{ sandbox.Card }

func (sickCard) Attribute(uint32) ([]byte, error) {
	return nil, cardbroker.Errorf(cardbroker.CardReset, "another connection reset the card")
}
