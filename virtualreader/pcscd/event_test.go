// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscd_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/pcscd"
)

func TestStates(t *testing.T) {
	mute := with("mute")
	mute.Card = &cardbroker.Card{}
	f := newFake(t, with("r"), without("empty"), mute)
	p := enter(t, serve(t, pcscd.Config{Source: f}))
	h := p.connect("r")
	got := fmt.Sprintf("%+v", p.states())
	want := fmt.Sprintf("%+v", []seen{
		{"r", 1, 0x34, 1, testCard().ATR, t1},
		{"empty", 1, 0x02, 0, nil, 0},
		{"mute", 1, 0x0C, 0, nil, 0},
	})
	if got != want {
		t.Errorf("readers = %s, want %s", got, want)
	}
	_, _, code := p.tryConnect("mute", shared, either)
	check(t, "Connect to a mute card", code, unresponsive)
	p.disconnect(h, leave)
	if got := p.state("r").protocol; got != 0 {
		t.Errorf("protocol = %d with no connection, want none", got)
	}
}

// TestRemoval: every handle is told, the transaction is gone, and who waited for it is answered.
func TestRemoval(t *testing.T) {
	f, a, b := one(t)
	socket := a.conn.RemoteAddr().String()
	c := enter(t, socket)
	ha, hb := a.connect("r"), b.connect("r")
	before := a.state("r").counter
	check(t, "Begin", a.begin(ha), success)
	b.send(0x07, words(hb, 0))
	c.send(0x04, c.connectBody("r", shared, either))
	c.silent(pause)
	f.called()
	f.events <- without("r")
	check(t, "the Begin that waited", word(b.read(8), 4), removedCard)
	check(t, "the Connect that waited", word(c.read(152), 148), noSmartcard)
	for p, h := range map[*speaker]uint32{a: ha, b: hb} {
		check(t, "Transmit", p.try(h), removedCard)
		check(t, "Status", p.status(h), removedCard)
		check(t, "Begin", p.begin(h), removedCard)
		check(t, "End", p.end(h, leave), removedCard)
		_, code := p.reconnect(h, shared, leave)
		check(t, "Reconnect", code, noSmartcard)
		_, code = p.attribute(h, 0x90303, 264)
		check(t, "GetAttrib", code, removedCard)
	}
	check(t, "Disconnect", b.disconnect(hb, reset), success)
	f.events <- with("r")
	a.awaitCard("r", true)
	check(t, "Transmit with another card", a.try(ha), removedCard)
	protocol, code := a.reconnect(ha, shared, leave)
	if code != success || protocol != t1 {
		t.Errorf("Reconnect = protocol %d, %#x, want T=1", protocol, code)
	}
	check(t, "Transmit", a.try(ha), success)
	f.wantCalls("disconnect 0", "connect", "transmit")
	if got := a.state("r").counter; got != before+2 {
		t.Errorf("event counter = %d, was %d, want 2 more", got, before)
	}
}

// TestReplacedMeanwhile replaces the card while a program connects: what it gets is a connection to the one that is in now. It was told
// that the card was removed when it first used the handle, though nobody had touched that card.
func TestReplacedMeanwhile(t *testing.T) {
	f, a, b := one(t)
	during := func(call func()) {
		t.Helper()
		before := b.state("r").counter
		hold := make(chan chan struct{}, 1)
		f.mu.Lock()
		f.hold = hold
		f.mu.Unlock()
		call()
		goOn := <-hold
		f.events <- without("r")
		f.events <- with("r")
		b.await("another card", func(all []seen) bool { return all[0].counter == before+2 })
		close(goOn)
	}
	during(func() { a.send(0x04, a.connectBody("r", shared, either)) })
	answer := a.read(152)
	h := word(answer, 140)
	check(t, "Connect", word(answer, 148), success)
	check(t, "Begin", a.begin(h), success)
	check(t, "Transmit", a.try(h), success)
	check(t, "End", a.end(h, leave), success)
	f.events <- without("r")
	f.events <- with("r")
	b.await("another card", func(all []seen) bool { return a.status(h) == removedCard })
	during(func() { a.send(0x05, words(h, shared, either, leave, 0, 0)) })
	check(t, "Reconnect", word(a.read(24), 20), success)
	check(t, "Transmit", a.try(h), success)
}

// TestHotPlug: readers come and go; those who wait are told, and a handle to a reader that left is good for nothing.
func TestHotPlug(t *testing.T) {
	f, a, b := one(t)
	h := a.connect("r")
	events := func() uint32 { return word(a.call(0x15, nil, 8), 0) }
	first := events()
	if got := len(parse(b.call(0x13, nil, 16*184))); got != 1 {
		t.Errorf("%d readers, want 1", got)
	}
	f.events <- with("s")
	b.want("event when a reader comes", b.read(8)[4:], success)
	b.await("there are two", func(all []seen) bool { return len(all) == 2 })
	f.events <- gone("r")
	b.await("there is one", func(all []seen) bool { return len(all) == 1 })
	if got := events(); got != first+2 {
		t.Errorf("reader events = %d, were %d, want 2 more", got, first)
	}
	check(t, "Transmit", a.try(h), readerUnavailable)
	check(t, "Status", a.status(h), readerUnavailable)
	_, code := a.reconnect(h, shared, leave)
	check(t, "Reconnect", code, readerUnavailable)
	f.events <- with("r")
	b.await("there are two", func(all []seen) bool { return len(all) == 2 })
	check(t, "Transmit on the reader's namesake", a.try(h), readerUnavailable)
	check(t, "Disconnect", a.disconnect(h, reset), success)
	check(t, "Transmit", a.try(a.connect("r")), success)
}

// TestSameAgain: an event that tells nothing new changes nothing, another card does.
func TestSameAgain(t *testing.T) {
	f, a, b := one(t)
	h := a.connect("r")
	b.call(0x13, nil, 16*184)
	f.events <- with("r")
	b.silent(pause)
	check(t, "Status", a.status(h), success)
	other := with("r")
	other.Card = &cardbroker.Card{ATR: []byte{0x3B, 0}, Protocol: cardbroker.ProtocolT0}
	f.events <- other
	b.want("event", b.read(8)[4:], success)
	check(t, "Status", a.status(h), removedCard)
}

// TestStopWait: of the stop and the event, exactly one is answered, whichever comes first.
func TestStopWait(t *testing.T) {
	f, a, b := one(t)
	b.call(0x13, nil, 16*184)
	b.want("stop", b.call(0x14, nil, 8)[4:], success)
	f.events <- without("r")
	a.awaitCard("r", false)
	b.silent(pause)
	b.send(0x14, nil) // not waiting: no answer
	b.silent(pause)
	for range 300 { // both at once
		b.call(0x13, nil, 16*184)
		f.events <- with("r")
		b.send(0x14, nil)
		f.events <- without("r")
		b.want("the one answer", b.read(8)[4:], success)
		if got := len(parse(b.call(0x12, nil, 16*184))); got != 1 { // nothing else came before this
			t.Fatalf("%d readers, want 1", got)
		}
	}
}

// TestCancel: it comes on a connection of its own and wakes the waiter of its context, and nobody else.
func TestCancel(t *testing.T) {
	_, a, b := one(t)
	socket := a.conn.RemoteAddr().String()
	cancel := func(context uint32) uint32 {
		return word(dial(t, socket).call(0x0D, words(context, 0), 8), 4)
	}
	check(t, "Cancel with no waiter", cancel(a.context), success)
	a.call(0x13, nil, 16*184)
	b.call(0x13, nil, 16*184)
	check(t, "Cancel", cancel(a.context), success)
	check(t, "the wait", word(a.read(8), 4), cancelled)
	b.silent(pause)
	check(t, "Cancel again", cancel(a.context), success)
	a.silent(pause)
	check(t, "Cancel of a context that is none", cancel(12345), invalidHandle)
	a.conn.Close()
	b.want("stop", b.call(0x14, nil, 8)[4:], success)
}

// TestRemovedThenReset: to whom the card was removed it stays removed, whatever others do with the next one.
func TestRemovedThenReset(t *testing.T) {
	f, a, b := one(t)
	ha, hb := a.connect("r"), b.connect("r")
	f.events <- without("r")
	a.awaitCard("r", false)
	f.events <- with("r")
	a.awaitCard("r", true)
	_, code := a.reconnect(ha, shared, reset)
	check(t, "Reconnect with a reset", code, success)
	check(t, "another's Status", b.status(hb), removedCard)
	f.wantCalls("connect", "disconnect 0", "connect", "begin", "end 1")
	check(t, "another's Disconnect with a reset", b.disconnect(hb, reset), success)
	f.wantCalls() // which is not for this card
	check(t, "Transmit", a.try(ha), success)
}

// TestUnplugWhileBusy: a reader that is gone is gone, whatever a card in it says at last.
func TestUnplugWhileBusy(t *testing.T) {
	f, a, b := one(t)
	h := a.connect("r")
	f.block = make(chan struct{})
	f.failNext("transmit", cardbroker.CardRemoved)
	a.send(0x09, words(h, t1, 16, 4, 0, 0, 100, 0), 0, 0xA4, 4, 0)
	<-f.began
	f.events <- gone("r")
	b.await("the reader is gone", func(all []seen) bool { return len(all) == 0 })
	close(f.block)
	check(t, "Transmit", word(a.read(32), 28), removedCard)
	check(t, "Status", a.status(h), readerUnavailable)
	check(t, "Disconnect", a.disconnect(h, leave), success)
}

func TestAttributes(t *testing.T) {
	f, a, _ := one(t)
	h := a.connect("r")
	for id, want := range map[uint32][]byte{
		0x10100:    []byte("cardbroker\x00"),
		0x7FFF0003: []byte("r\x00"),
		0x7FFF0004: []byte("r\x00"),
		0x7FFF0001: words(0),
		0x7FFF0002: words(1),
		0x80201:    words(t1),
		0x7A007:    words(65544),
		0x90300:    {2},
		0x90301:    {1},
		0x90304:    {1},
		0x90303:    testCard().ATR,
	} {
		got, code := a.attribute(h, id, 264)
		if code != success || !bytes.Equal(got, want) {
			t.Errorf("GetAttrib(%#x) = %x, %#x, want %x", id, got, code, want)
		}
	}
	_, code := a.attribute(h, 0x90303, 4)
	check(t, "GetAttrib with too little room", code, insufficientBuffer)
	f.called()
	got, code := a.attribute(h, 0x20110, 264)
	if code != success || string(got) != "value" {
		t.Errorf("GetAttrib of another = %q, %#x, want the reader's", got, code)
	}
	f.wantCalls("attribute 20110")
	answer := a.call(0x10, append(append(words(h, 0x20110), make([]byte, 264)...), words(1, 0)...), 280)
	check(t, "SetAttrib", word(answer, 276), unsupportedFeature)
}
