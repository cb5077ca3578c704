// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscd_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/cardbroker/cardbroker/virtualreader/pcscd"
)

// Clients of 4:6 ask how many readers there are and then for their states, also when they begin to wait.

// count asks how many places for readers there are.
func (p *speaker) count() int {
	p.t.Helper()
	return int(word(p.call(0x16, nil, 4), 0))
}

// list asks for the readers.
func (p *speaker) list() []seen {
	p.t.Helper()
	return parse(p.call(0x17, nil, p.count()*184))
}

// cancel ends the wait of the speaker's context, over a connection of its own.
func (p *speaker) cancel() {
	p.t.Helper()
	p.want("Cancel", dial(p.t, p.conn.RemoteAddr().String()).call(0x0D, words(p.context, 0), 8)[4:], success)
}

// step serves one reader to a client of 4:6, and to another who says what is published.
func step(t *testing.T) (f *fake, p, other *speaker) {
	t.Helper()
	f = newFake(t, with("r"))
	socket := serve(t, pcscd.Config{Source: f})
	return f, enterAs(t, socket, 6), enter(t, socket)
}

// TestExchange is what libpcsclite 2.5.3 and pcscd 2.5.3 say to each other, byte by byte, while opensc-tool lists readers
// and pcsc_scan waits, but for how many places there are.
func TestExchange(t *testing.T) {
	f := newFake(t, with("r"))
	p := dial(t, serve(t, pcscd.Config{Source: f}))
	state := append([]byte("r"), make([]byte, 16*184-1)...)
	copy(state[128:], words(1, 0x34, 0))
	copy(state[140:], testCard().ATR)
	copy(state[176:], words(5))
	for i, say := range []struct{ send, answer []byte }{
		{words(12, 0x11, 4, 6, 0), words(4, 6, 0)},
		{words(0, 0x13), nil},
		{words(0, 0x16), words(16)},
		{words(0, 0x17), state},
		{words(0, 0x15), words(2, 0)},
		{words(0, 0x14), words(0, 0)},
		{words(0, 0x16), words(16)},
		{words(0, 0x17), state},
		{words(0, 0x13), nil},
		{words(0, 0x16), words(16)},
		{words(0, 0x17), state},
		{words(0, 0x14), words(0, 0)},
		{words(0, 0x13, 0, 0x16), words(16)},
		{words(0, 0x17, 0, 0x15, 0, 0x14), append(append(state, words(2, 0)...), words(0, 0)...)},
	} {
		if _, err := p.conn.Write(say.send); err != nil {
			t.Fatal(err)
		}
		if got := p.read(len(say.answer)); !bytes.Equal(got, say.answer) {
			t.Errorf("answer %d = %x, want %x", i, got, say.answer)
		}
	}
	p.silent(pause)
}

// TestListThenEvent: what changes before the list is part of the list and no event, what changes after it is an event.
func TestListThenEvent(t *testing.T) {
	f, p, other := step(t)
	change := func(card bool) {
		t.Helper()
		e := without("r")
		if card {
			e = with("r")
		}
		f.events <- e
		other.awaitCard("r", card)
	}
	p.send(0x13, nil)
	change(false)
	change(true)
	n := p.count()
	change(false)
	p.silent(pause)
	if got := parse(p.call(0x17, nil, n*184)); len(got) != 1 || got[0].state != 0x02 {
		t.Errorf("readers = %+v, want one without a card", got)
	}
	p.silent(pause)
	change(true)
	p.want("event", p.read(8)[4:], success)
	p.send(0x14, nil) // the event was the answer
	p.silent(pause)
	p.send(0x13, nil)
	change(false)
	p.want("stop before the list", p.call(0x14, nil, 8)[4:], success)
	if got := p.list(); len(got) != 1 || got[0].state != 0x02 {
		t.Errorf("readers = %+v, want one without a card", got)
	}
	p.silent(pause)
}

// TestListThenCancel: a wait that is cancelled before the client has its list ends right after it, or with a stop.
func TestListThenCancel(t *testing.T) {
	f, p, other := step(t)
	p.send(0x13, nil)
	n := p.count() // it waits
	p.cancel()
	p.silent(pause)
	f.events <- without("r") // which is no event for who was cancelled
	other.awaitCard("r", false)
	if got := parse(p.call(0x17, nil, n*184)); len(got) != 1 || got[0].state != 0x02 {
		t.Errorf("readers = %+v, want one without a card", got)
	}
	check(t, "the wait", word(p.read(8), 4), cancelled)
	p.silent(pause)
	p.send(0x13, nil)
	p.count()
	f.events <- with("r") // after a change likewise
	other.awaitCard("r", true)
	p.cancel()
	check(t, "stop", word(p.call(0x14, nil, 8), 4), cancelled)
	p.send(0x13, nil)
	p.list()
	p.cancel()
	check(t, "the wait", word(p.read(8), 4), cancelled)
	p.silent(pause)
}

// TestUncountedReader: one for which the list has no place any more is an event after it, or nobody would look again.
func TestUncountedReader(t *testing.T) {
	f, p, other := step(t)
	for n := range 15 {
		f.events <- with(fmt.Sprint("reader ", n))
	}
	other.await("all places are taken", func(all []seen) bool { return len(all) == 16 })
	p.send(0x13, nil)
	n := p.count()
	f.events <- with("late")
	for other.count() != 17 {
	}
	if got := parse(p.call(0x17, nil, n*184)); len(got) != 16 {
		t.Errorf("%d readers, want the 16 that were counted", len(got))
	}
	p.want("event", p.read(8)[4:], success)
	p.send(0x13, nil)
	if got := p.list(); len(got) != 17 || got[16].name != "late" {
		t.Errorf("readers = %+v, want 17", got)
	}
	p.silent(pause)
	p.want("stop", p.call(0x14, nil, 8)[4:], success)
}

// TestManyReaders: older clients see 16 of them, those of 4:6 all. There are never fewer places than before: libpcsclite
// 2.5.3 fails otherwise in all that the program does from then on.
func TestManyReaders(t *testing.T) {
	f := newFake(t)
	for n := range 40 {
		f.events <- with(fmt.Sprintf("reader %02d", n))
	}
	socket := serve(t, pcscd.Config{Source: f})
	old, p := enter(t, socket), enterAs(t, socket, 6)
	old.await("16 are there", func(all []seen) bool { return len(all) == 16 })
	for p.count() != 40 {
	}
	if all := p.list(); len(all) != 40 || all[39].name != "reader 39" {
		t.Errorf("%d readers, want 40", len(all))
	}
	p.connect("reader 39")
	p.send(0x13, nil)
	p.list()
	f.events <- gone("reader 00")
	p.want("event", p.read(8)[4:], success)
	if got := p.count(); got != 40 {
		t.Errorf("%d places after one left, want 40 still", got)
	}
	if got := p.list(); len(got) != 39 || got[0].name != "reader 01" {
		t.Errorf("%d readers after one left, want 39", len(got))
	}
}

// TestListInTime: whenever changes come, each answer is that to what was asked, each wait ends once, and no change is lost.
func TestListInTime(t *testing.T) {
	f, p, _ := step(t)
	for round := range 500 {
		present := round%2 == 1
		p.send(0x13, nil)
		e := without("r")
		if present {
			e = with("r")
		}
		f.events <- e
		for got := p.list(); got[0].state&4 != 0 != present; got = p.list() {
			p.want("event", p.read(8)[4:], success)
			p.send(0x13, nil)
		}
		p.want("end of the wait", p.call(0x14, nil, 8)[4:], success)
	}
	p.silent(pause)
}
