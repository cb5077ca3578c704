// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscd_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/pcscd"
)

// fake is a source of readers that tests plug, fill and break. It checks that no two calls on a card overlap.
type fake struct {
	t      testing.TB
	events chan pcscd.Event

	mu    sync.Mutex
	calls []string         // on cards, in order
	fail  map[string]error // by call: what it returns, once
	block chan struct{}    // if not nil, Transmit waits for it, and tells began
	began chan struct{}
	hold  chan chan struct{} // if not nil, the next Connect sends what it waits for
	using map[string]bool    // by reader
	open  []string           // the readers of connected cards
}

func newFake(t testing.TB, events ...pcscd.Event) *fake {
	f := &fake{t: t, events: make(chan pcscd.Event, 100), fail: make(map[string]error), using: make(map[string]bool), began: make(chan struct{}, 100)}
	for _, e := range events {
		f.events <- e
	}
	f.events <- pcscd.Event{}
	return f
}

func (f *fake) Watch(ctx context.Context, emit func(pcscd.Event)) error {
	for {
		select {
		case e := <-f.events:
			emit(e)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// failNext makes the next call of that name fail.
func (f *fake) failNext(call string, reason cardbroker.Reason) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail[call] = cardbroker.Errorf(reason, "as the test wants")
}

// called returns the calls since the last time.
func (f *fake) called() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls := f.calls
	f.calls = nil
	return calls
}

// openCards returns the readers of cards that are connected.
func (f *fake) openCards() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.open)
}

func (f *fake) wantCalls(want ...string) {
	f.t.Helper()
	if got := f.called(); !slices.Equal(got, want) {
		f.t.Errorf("calls upstream = %q, want %q", got, want)
	}
}

// enter notes a call.
func (f *fake) enter(reader, call string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.using[reader] {
		f.t.Errorf("%s while another call on %s runs", call, reader)
	}
	f.using[reader] = true
	f.calls = append(f.calls, call)
	err := f.fail[call]
	delete(f.fail, call)
	return err
}

func (f *fake) leave(reader string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.using[reader] = false
}

func (f *fake) Connect(_ context.Context, reader string, share cardbroker.ShareMode) (pcscd.Card, error) {
	defer f.leave(reader)
	call := "connect"
	if share == cardbroker.ShareDirect {
		call = "connect direct"
	}
	if err := f.enter(reader, call); err != nil {
		return nil, err
	}
	f.mu.Lock()
	hold := f.hold
	f.hold = nil
	f.mu.Unlock()
	if hold != nil {
		goOn := make(chan struct{})
		hold <- goOn
		<-goOn
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open = append(f.open, reader)
	return &fakeCard{fake: f, reader: reader, direct: share == cardbroker.ShareDirect}, nil
}

// fakeCard answers a command with its own bytes and 9000.
type fakeCard struct {
	fake   *fake
	reader string
	direct bool
	gone   bool
}

func (c *fakeCard) Info() cardbroker.Card {
	if c.direct {
		return cardbroker.Card{}
	}
	return testCard()
}

func (c *fakeCard) do(call string) error {
	defer c.fake.leave(c.reader)
	err := c.fake.enter(c.reader, call)
	if c.gone {
		c.fake.t.Errorf("%s after Disconnect", call)
	}
	return err
}

func (c *fakeCard) Begin(context.Context) error { return c.do("begin") }
func (c *fakeCard) End(_ context.Context, d cardbroker.Disposition) error {
	return c.do(fmt.Sprint("end ", d))
}

func (c *fakeCard) Disconnect(_ context.Context, d cardbroker.Disposition) error {
	err := c.do(fmt.Sprint("disconnect ", d))
	c.gone = true
	c.fake.mu.Lock()
	defer c.fake.mu.Unlock()
	c.fake.open = slices.Delete(c.fake.open, slices.Index(c.fake.open, c.reader), slices.Index(c.fake.open, c.reader)+1)
	return err
}

func (c *fakeCard) Transmit(ctx context.Context, dst, command []byte) ([]byte, error) {
	err := c.fake.enter(c.reader, "transmit")
	defer c.fake.leave(c.reader)
	c.fake.mu.Lock()
	block := c.fake.block
	c.fake.mu.Unlock()
	if block != nil {
		c.fake.began <- struct{}{}
		select {
		case <-block:
		case <-ctx.Done():
			return dst, ctx.Err()
		}
	}
	if err != nil {
		return dst, err
	}
	return append(append(dst, command...), 0x90, 0x00), nil
}

func (c *fakeCard) Control(_ context.Context, dst []byte, code uint32, in []byte) ([]byte, error) {
	if err := c.do(fmt.Sprintf("control %x", code)); err != nil {
		return dst, err
	}
	return append(dst, in...), nil
}

func (c *fakeCard) Attribute(_ context.Context, id uint32) ([]byte, error) {
	return []byte("value"), c.do(fmt.Sprintf("attribute %x", id))
}

// testCard is the card of fakes, T=1.
func testCard() cardbroker.Card {
	return cardbroker.Card{ATR: []byte{0x3B, 0x80, 0x80, 0x01, 0x01}, Protocol: cardbroker.ProtocolT1}
}

// with is the event of a reader with a card, without of one that has none, gone of one that is not there.
func with(reader string) pcscd.Event {
	card := testCard()
	return pcscd.Event{Reader: reader, Present: true, Card: &card}
}
func without(reader string) pcscd.Event { return pcscd.Event{Reader: reader, Present: true} }
func gone(reader string) pcscd.Event    { return pcscd.Event{Reader: reader} }
