// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cards_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/sandbox"
	"github.com/cardbroker/cardbroker/sandbox/softcard"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// TestMain makes the test program its own sandbox: started with "fake" it serves fake readers.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "fake" {
		syscall.Exit(fake(os.Args[2:])) // at once: the race detector makes os.Exit take a second
	}
	os.Exit(m.Run())
}

// What the fake does with a command is its INS.
const (
	insEcho   = 0x00 // answers the command itself, 9000 behind it
	insHang   = 0x01 // the card is taken out, for those who wait for this; never answers
	insExit   = 0x02 // the process exits with status 7 after a word on standard error
	insSlow   = 0x03 // answers after P1 x 10 ms
	insReset  = 0x04 // CardReset
	insRemove = 0x05 // the card is taken out; the answer comes afterwards
	insUnplug = 0x06 // the reader is taken away
	insBroken = 0x07 // an answer that is too long
	insLate   = 0x08 // as insSlow, but the card is taken out at first, for those who wait for this
)

// fake is the child's main function. Its argument is how it misbehaves from the start.
func fake(args []string) int {
	streams, err := sandbox.Inherit()
	if err == nil {
		err = sandbox.Harden()
	}
	switch {
	case err != nil:
	case len(args) == 0:
		err = sandbox.Serve(context.Background(), streams, &fakeReaders{count: 4, emitted: make(chan sandbox.Event)}, slog.Default())
	case args[0] == "hangs once":
		readers := &fakeReaders{count: 4, emitted: make(chan sandbox.Event), once: args[1]}
		err = sandbox.Serve(context.Background(), streams, readers, slog.Default())
	case args[0] == "many":
		err = sandbox.Serve(context.Background(), streams, &fakeReaders{count: 20, emitted: make(chan sandbox.Event)}, slog.Default())
	case args[0] == "soft":
		err = serveSoft(streams)
	case args[0] == "crash":
		err = fmt.Errorf("no driver\x1b[2J here")
	case args[0] == "garbage":
		_, err = streams[0].Write([]byte("\x00\x00\x00\x18this is no frame, not at all"))
		if err == nil {
			select {} // and it does not end by itself
		}
	case args[0] == "environment":
		err = fmt.Errorf("environment %q, dumpable %v", os.Environ(), dumpable())
	case args[0] == "liar":
		err = lie(streams, args[1])
	case args[0] == "panic":
		panic("the driver is mad")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fake:", err)
		return 3
	}
	return 0
}

// serveSoft serves a software card, with PINs and all.
func serveSoft(streams []net.Conn) error {
	reader, err := softcard.New("", slog.Default())
	if err != nil {
		return err
	}
	return sandbox.Serve(context.Background(), streams, reader, slog.Default())
}

// lie serves one reader, breaking the protocol once in the way that how names.
func lie(streams []net.Conn, how string) error {
	control, first := wire.NewStream(streams[0]), wire.NewStream(streams[1])
	watch, _, err := control.Receive()
	if err != nil {
		return err
	}
	added := wire.ReaderAdd{Stream: 1, Name: "fake 0"}.Append(nil)
	control.Send(wire.Header{Type: wire.TypeReaderAdd, Reader: 1}, added)
	switch how {
	case "stream twice":
		control.Send(wire.Header{Type: wire.TypeReaderAdd, Reader: 2}, wire.ReaderAdd{Stream: 1, Name: "fake 1"}.Append(nil))
	case "name twice":
		control.Send(wire.Header{Type: wire.TypeReaderAdd, Reader: 2}, wire.ReaderAdd{Stream: 2, Name: "fake 0"}.Append(nil))
	case "number twice":
		control.Send(wire.Header{Type: wire.TypeReaderAdd, Reader: 1}, added)
	case "unknown reader":
		control.Send(wire.Header{Type: wire.TypeCardOut, Reader: 7}, nil)
	case "payload of an event":
		control.Send(wire.Header{Type: wire.TypeCardOut, Reader: 1}, []byte{1})
	case "answer to nothing":
		control.Send(wire.Header{Type: wire.TypeDone, Seq: 77}, nil)
	}
	control.Send(wire.Header{Type: wire.TypeDone, Seq: watch.Seq}, nil)
	h, _, err := first.Receive()
	if err != nil {
		return nil
	}
	answer, payload := wire.Header{Type: wire.TypeConnected, Reader: h.Reader, Seq: h.Seq}, wire.CardIn{ATR: fakeCard.ATR}.Append(nil)
	switch how {
	case "number of an answer":
		answer.Seq++
	case "type of an answer":
		answer.Type = wire.TypeLease
	case "payload of an answer":
		payload = payload[:2]
	case "payload of an error":
		answer.Type, payload = wire.TypeError, nil
	case "end of a stream":
		first.Close()
	}
	first.Send(answer, payload)
	select {} // and it does not end by itself
}

// fakeReaders has readers named "fake 0", "fake 1" … with a card each.
type fakeReaders struct {
	count   int
	once    string             // see hangOnce
	emitted chan sandbox.Event // from the cards to Watch
}

var fakeCard = cardbroker.Card{ATR: []byte{0x3B, 0x00}, Protocol: cardbroker.ProtocolT1}

func (f *fakeReaders) Watch(ctx context.Context, emit func(sandbox.Event)) error {
	for n := range f.count {
		emit(sandbox.Event{Reader: fmt.Sprint("fake ", n), Present: true, PINPad: n == 1, Card: &fakeCard})
	}
	emit(sandbox.Event{})
	for {
		select {
		case e := <-f.emitted:
			emit(e)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// connectTakes is how long a direct connection takes.
const connectTakes = 100 * time.Millisecond

// hangOnce never returns to the first who comes, who makes the file.
func hangOnce(file string) {
	if first, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL, 0o600); file != "" && err == nil {
		first.Close()
		select {}
	}
}

func (f *fakeReaders) Connect(name string, share cardbroker.ShareMode) (sandbox.Card, error) {
	if share == cardbroker.ShareDirect {
		time.Sleep(connectTakes)
		hangOnce(f.once)
	}
	return &fakeConnection{readers: f, reader: name}, nil
}

type fakeConnection struct {
	readers *fakeReaders
	reader  string
}

func (c *fakeConnection) Info() cardbroker.Card                   { return fakeCard }
func (c *fakeConnection) Begin() error                            { return nil }
func (c *fakeConnection) End(cardbroker.Disposition) error        { return nil }
func (c *fakeConnection) Disconnect(cardbroker.Disposition) error { return nil }

// Control returns its input, and hangs for code 1.
func (c *fakeConnection) Control(dst []byte, code uint32, input []byte) ([]byte, error) {
	if code == 1 {
		select {}
	}
	return append(dst, input...), nil
}

func (c *fakeConnection) Attribute(id uint32) ([]byte, error) {
	return nil, cardbroker.Errorf(cardbroker.Unsupported, "there is no attribute %d", id)
}

func (c *fakeConnection) Transmit(dst, command []byte) ([]byte, error) {
	switch command[1] {
	case insHang:
		c.readers.emitted <- sandbox.Event{Reader: c.reader, Present: true}
		select {}
	case insExit:
		fmt.Fprintln(os.Stderr, "the vendor's last words")
		syscall.Exit(7)
	case insLate:
		c.readers.emitted <- sandbox.Event{Reader: c.reader, Present: true}
		fallthrough
	case insSlow:
		time.Sleep(time.Duration(command[2]) * 10 * time.Millisecond)
	case insReset:
		return dst, cardbroker.Errorf(cardbroker.CardReset, "somebody reset the card")
	case insRemove:
		c.readers.emitted <- sandbox.Event{Reader: c.reader, Present: true}
	case insUnplug:
		c.readers.emitted <- sandbox.Event{Reader: c.reader}
	case insBroken:
		return append(dst, make([]byte, 70000)...), nil
	}
	return append(append(dst, command...), 0x90, 0x00), nil
}
