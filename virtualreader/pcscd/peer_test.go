// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscd_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// Codes and modes, as C programs know them.
const (
	success            = 0
	cancelled          = 0x80100002
	invalidHandle      = 0x80100003
	invalidParameter   = 0x80100004
	insufficientBuffer = 0x80100008
	unknownReader      = 0x80100009
	timedOut           = 0x8010000A
	sharingViolation   = 0x8010000B
	noSmartcard        = 0x8010000C
	protoMismatch      = 0x8010000F
	invalidValue       = 0x80100011
	commError          = 0x80100013
	notTransacted      = 0x80100016
	readerUnavailable  = 0x80100017
	serviceStopped     = 0x8010001E
	unsupportedFeature = 0x8010001F
	tooBusy            = 0x80100031
	unresponsive       = 0x80100066
	resetCard          = 0x80100068
	removedCard        = 0x80100069
	securityViolation  = 0x8010006A

	exclusive, shared, direct = 1, 2, 3
	t0, t1, either, raw       = 1, 2, 3, 4
	leave, reset, unpower     = 0, 1, 2
)

// speaker is a client that speaks the protocol byte by byte, as libpcsclite does.
type speaker struct {
	t       testing.TB
	conn    net.Conn
	context uint32
}

// dial connects.
func dial(t testing.TB, socket string) *speaker {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &speaker{t: t, conn: conn}
}

// enter connects, agrees on version 4:4 and establishes a context.
func enter(t testing.TB, socket string) *speaker {
	t.Helper()
	return enterAs(t, socket, 4)
}

// enterAs is enter with another minor version.
func enterAs(t testing.TB, socket string, minor uint32) *speaker {
	t.Helper()
	p := dial(t, socket)
	answer := p.call(0x11, words(4, minor, 0), 12)
	p.want("version", answer[8:], success)
	p.want("minor version", answer[4:], minor)
	answer = p.call(0x01, words(2, 0, 0), 12)
	p.want("establish", answer[8:], success)
	p.context = word(answer, 4)
	return p
}

func words(values ...uint32) []byte {
	var b []byte
	for _, v := range values {
		b = binary.NativeEndian.AppendUint32(b, v)
	}
	return b
}

func word(b []byte, at int) uint32 { return binary.NativeEndian.Uint32(b[at:]) }

// want checks a code.
func (p *speaker) want(what string, answer []byte, code uint32) {
	p.t.Helper()
	if got := word(answer, 0); got != code {
		p.t.Errorf("%s = %#x, want %#x", what, got, code)
	}
}

// send sends a message and what follows it.
func (p *speaker) send(command uint32, body []byte, data ...byte) {
	p.t.Helper()
	message := append(append(words(uint32(len(body)), command), body...), data...)
	if _, err := p.conn.Write(message); err != nil {
		p.t.Fatalf("cannot send command %#x: %v", command, err)
	}
}

// read reads n bytes.
func (p *speaker) read(n int) []byte {
	p.t.Helper()
	b := make([]byte, n)
	p.conn.SetReadDeadline(time.Now().Add(waitLimit))
	if _, err := io.ReadFull(p.conn, b); err != nil {
		p.t.Fatalf("no answer of %d bytes: %v", n, err)
	}
	return b
}

func (p *speaker) call(command uint32, body []byte, n int) []byte {
	p.t.Helper()
	p.send(command, body)
	return p.read(n)
}

// silent checks that nothing comes for a while.
func (p *speaker) silent(d time.Duration) {
	p.t.Helper()
	p.conn.SetReadDeadline(time.Now().Add(d))
	n, err := p.conn.Read(make([]byte, 1))
	if n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		p.t.Errorf("got %d bytes, %v, want nothing yet", n, err)
	}
}

// closed checks that the server closes the connection.
func (p *speaker) closed() {
	p.t.Helper()
	p.conn.SetReadDeadline(time.Now().Add(waitLimit))
	if n, err := p.conn.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		p.t.Errorf("got %d bytes, %v, want the end of the connection", n, err)
	}
}

// connectBody is the body of a Connect.
func (p *speaker) connectBody(reader string, share, protocols uint32) []byte {
	name := append([]byte(reader), make([]byte, 128-len(reader))...)
	return append(append(words(p.context), name...), words(share, protocols, 0, 0, 0)...)
}

// tryConnect connects and returns the handle, the protocol and the code.
func (p *speaker) tryConnect(reader string, share, protocols uint32) (handle, protocol, code uint32) {
	p.t.Helper()
	answer := p.call(0x04, p.connectBody(reader, share, protocols), 152)
	return word(answer, 140), word(answer, 144), word(answer, 148)
}

// connect connects shared.
func (p *speaker) connect(reader string) uint32 {
	p.t.Helper()
	handle, protocol, code := p.tryConnect(reader, shared, either)
	if code != success || protocol != t1 {
		p.t.Fatalf("Connect(%q) = protocol %d, %#x, want T=1", reader, protocol, code)
	}
	return handle
}

func (p *speaker) reconnect(handle, share, init uint32) (protocol, code uint32) {
	p.t.Helper()
	answer := p.call(0x05, words(handle, share, either, init, 0, 0), 24)
	return word(answer, 16), word(answer, 20)
}

func (p *speaker) disconnect(handle, disposition uint32) uint32 {
	p.t.Helper()
	return word(p.call(0x06, words(handle, disposition, 0), 12), 8)
}

func (p *speaker) begin(handle uint32) uint32 {
	p.t.Helper()
	return word(p.call(0x07, words(handle, 0), 8), 4)
}

func (p *speaker) end(handle, disposition uint32) uint32 {
	p.t.Helper()
	return word(p.call(0x08, words(handle, disposition, 0), 12), 8)
}

func (p *speaker) status(handle uint32) uint32 {
	p.t.Helper()
	return word(p.call(0x0B, words(handle, 0), 8), 4)
}

// transmit sends a command with room for an answer.
func (p *speaker) transmit(handle uint32, command []byte, room uint32) ([]byte, uint32) {
	p.t.Helper()
	p.send(0x09, words(handle, t1, 16, uint32(len(command)), 0, 0, room, 0), command...)
	answer := p.read(32)
	if code := word(answer, 28); code != success {
		return nil, code
	}
	return p.read(int(word(answer, 24))), success
}

// try sends a short command and returns the code.
func (p *speaker) try(handle uint32) uint32 {
	p.t.Helper()
	_, code := p.transmit(handle, []byte{0, 0xA4, 4, 0}, 65548)
	return code
}

// control sends a request to the reader.
func (p *speaker) control(handle, code uint32, data []byte, room uint32) ([]byte, uint32) {
	p.t.Helper()
	p.send(0x0A, words(handle, code, uint32(len(data)), room, 0, 0), data...)
	answer := p.read(24)
	if code := word(answer, 20); code != success {
		return nil, code
	}
	return p.read(int(word(answer, 16))), success
}

// attribute gets an attribute.
func (p *speaker) attribute(handle, id, room uint32) ([]byte, uint32) {
	p.t.Helper()
	answer := p.call(0x0F, append(append(words(handle, id), make([]byte, 264)...), words(room, 0)...), 280)
	if code := word(answer, 276); code != success {
		return nil, code
	}
	return answer[8 : 8+word(answer, 272)], success
}

// seen is what a client sees of a reader.
type seen struct {
	name           string
	counter, state uint32
	sharing        int32
	atr            []byte
	protocol       uint32
}

// parse reads READER_STATEs, without empty places.
func parse(b []byte) []seen {
	var all []seen
	for ; len(b) >= 184; b = b[184:] {
		name, _, _ := strings.Cut(string(b[:128]), "\x00")
		if name != "" {
			all = append(all, seen{name, word(b, 128), word(b, 132), int32(word(b, 136)), b[140 : 140+word(b, 176)], word(b, 180)})
		}
	}
	return all
}

// states asks for the readers.
func (p *speaker) states() []seen {
	p.t.Helper()
	return parse(p.call(0x12, nil, 16*184))
}

// state returns what is seen of a reader.
func (p *speaker) state(reader string) seen {
	p.t.Helper()
	for _, s := range p.states() {
		if s.name == reader {
			return s
		}
	}
	return seen{}
}

// await waits for an event, with a registration each time, until the readers are as wanted.
func (p *speaker) await(what string, done func([]seen) bool) {
	p.t.Helper()
	for !done(parse(p.call(0x13, nil, 16*184))) {
		p.want("event while waiting until "+what, p.read(8)[4:], success)
	}
	p.want("end of the wait until "+what, p.call(0x14, nil, 8)[4:], success)
}

// awaitCard waits until a reader has a card, or has none.
func (p *speaker) awaitCard(reader string, present bool) {
	p.t.Helper()
	p.await("the card is there or not", func(all []seen) bool {
		for _, s := range all {
			if s.name == reader {
				return s.state&4 != 0 == present
			}
		}
		return false
	})
}
