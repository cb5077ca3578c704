// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscd_test

import (
	"testing"
	"time"

	"github.com/cardbroker/cardbroker/virtualreader/pcscd"
)

func TestVersion(t *testing.T) {
	socket := serve(t, pcscd.Config{Source: newFake(t)})
	for _, test := range []struct{ major, minor, wantMinor, want uint32 }{
		{4, 4, 4, success},
		{4, 5, 5, success},
		{4, 6, 6, success},
		{4, 9, 6, success}, // it steps down
		{4, 3, 6, serviceStopped},
		{3, 4, 6, serviceStopped},
		{5, 0, 6, serviceStopped},
		{4, ^uint32(0), 6, serviceStopped},
	} {
		answer := dial(t, socket).call(0x11, words(test.major, test.minor, 0), 12)
		if word(answer, 0) != 4 || word(answer, 4) != test.wantMinor || word(answer, 8) != test.want {
			t.Errorf("version %d:%d = %d:%d, %#x, want 4:%d, %#x", test.major, test.minor, word(answer, 0), word(answer, 4), word(answer, 8), test.wantMinor, test.want)
		}
	}
}

func TestContexts(t *testing.T) {
	_, a, b := one(t)
	answer := a.call(0x01, words(9, 0, 0), 12)
	check(t, "Establish with a wrong scope", word(answer, 8), invalidValue)
	first := a.context
	answer = a.call(0x01, words(0, 0, 0), 12) // as libpcsclite does when it has a context of that number
	if again := word(answer, 4); word(answer, 8) != success || again == first || again == 0 {
		t.Errorf("second Establish = %#x after %#x, want another", again, first)
	}
	_, _, code := a.tryConnect("r", shared, either)
	check(t, "Connect with the old context", code, invalidValue)
	a.context = word(answer, 4)
	check(t, "Release of another's context", word(a.call(0x02, words(b.context, 0), 8), 4), invalidValue)
	check(t, "Release", word(a.call(0x02, words(a.context, 0), 8), 4), success)
	check(t, "Release again", word(a.call(0x02, words(a.context, 0), 8), 4), invalidHandle)
	_, _, code = a.tryConnect("r", shared, either)
	check(t, "Connect without a context", code, invalidHandle)
}

// TestHandleOfAnother: handles belong to their connection; whoever uses another's is cut off, and does no harm.
func TestHandleOfAnother(t *testing.T) {
	_, a, b := one(t)
	h := a.connect("r")
	b.send(0x06, words(h, reset, 0))
	b.closed()
	check(t, "Transmit", a.try(h), success)
	check(t, "Release", word(a.call(0x02, words(a.context, 0), 8), 4), success)
	a.send(0x0B, words(h, 0))
	a.closed()
}

// TestTalkWhileWaiting: no client says anything before it has its answer.
func TestTalkWhileWaiting(t *testing.T) {
	_, a, b := one(t)
	ha, hb := a.connect("r"), b.connect("r")
	check(t, "Begin", a.begin(ha), success)
	b.send(0x07, words(hb, 0))
	b.send(0x0B, words(hb, 0))
	b.closed()
	check(t, "End", a.end(ha, leave), success)
}

func TestMalformed(t *testing.T) {
	f := newFake(t, with("r"))
	socket := serve(t, pcscd.Config{Source: f})
	for name, message := range map[string][]byte{
		"unknown command":            words(0, 0x99),
		"command 0":                  words(0, 0),
		"list readers, as of old":    words(0, 0x03),
		"wrong size":                 append(words(11, 0x01), make([]byte, 11)...),
		"huge size":                  words(1<<31, 0x01),
		"too much to transmit":       append(words(32, 0x09), words(1, t1, 8, 65549, 0, 0, 100, 0)...),
		"very much to transmit":      append(words(32, 0x09), words(1, t1, 8, 1<<31, 0, 0, 100, 0)...),
		"too much to control":        append(words(24, 0x0A), words(1, 1, 65549, 10, 0, 0)...),
		"all readers, uncounted":     words(0, 0x17),
		"attribute that is too long": append(append(words(280, 0x0F, 1, 1), make([]byte, 264)...), words(265, 0)...),
		"text":                       []byte("GET / HTTP/1.1\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			p := enter(t, socket)
			if _, err := p.conn.Write(message); err != nil {
				t.Fatal(err)
			}
			p.closed()
		})
	}
	p := enter(t, socket)
	h := p.connect("r")
	p.send(0x0F, append(append(words(h, 1), make([]byte, 264)...), words(265, 0)...))
	p.closed()
}

// TestBytewise: a message that comes byte by byte is a message.
func TestBytewise(t *testing.T) {
	_, a, _ := one(t)
	h := a.connect("r")
	message := append(words(32, 0x09, h, t1, 16, 5, 0, 0, 100, 0), 0, 0xA4, 4, 0, 0)
	for _, b := range message {
		if _, err := a.conn.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	check(t, "Transmit", word(a.read(32), 28), success)
	a.read(7)
}

// TestSilentClients: those who send half a message, or nothing, cost nobody else anything.
func TestSilentClients(t *testing.T) {
	_, a, b := one(t)
	socket := a.conn.RemoteAddr().String()
	for range 20 {
		dial(t, socket)
		dial(t, socket).conn.Write([]byte{1, 2, 3})
	}
	h := b.connect("r")
	b.conn.Write(words(32, 0x09, h)) // half a command
	check(t, "Transmit", a.try(a.connect("r")), success)
}

// TestClientThatDoesNotRead is cut off, and what it has is others' again.
func TestClientThatDoesNotRead(t *testing.T) {
	_, a, b := one(t)
	ha := a.connect("r")
	check(t, "Begin", a.begin(ha), success)
	hb := uint32(0)
	b.send(0x04, b.connectBody("r", shared, either))
	go func() {
		for { // answers of 2,944 bytes fill the socket
			if _, err := a.conn.Write(words(0, 0x12)); err != nil {
				return
			}
		}
	}()
	answer := b.read(152)
	check(t, "Connect that waited for its transaction", word(answer, 148), success)
	hb = word(answer, 140)
	check(t, "Transmit", b.try(hb), success)
}

func TestTooManyClients(t *testing.T) {
	f := newFake(t, with("r"))
	socket := serve(t, pcscd.Config{Source: f, MaxClients: 2})
	a, b := enter(t, socket), enter(t, socket)
	check(t, "the third's version", word(dial(t, socket).call(0x11, words(4, 4, 0), 12), 8), tooBusy)
	a.call(0x13, nil, 16*184)
	check(t, "Cancel all the same", word(dial(t, socket).call(0x0D, words(a.context, 0), 8), 4), success)
	check(t, "the wait", word(a.read(8), 4), cancelled)
	b.conn.Close()
	for start := time.Now(); word(dial(t, socket).call(0x11, words(4, 4, 0), 12), 8) != success; {
		if time.Since(start) > waitLimit {
			t.Fatal("the place of one that left is not free")
		}
	}
	silent := dial(t, socket)
	silent.closed() // one too many that says nothing
}
