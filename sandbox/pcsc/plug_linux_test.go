// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcsc_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/pinpad"
	"github.com/cardbroker/cardbroker/sandbox/pcsc"
	"github.com/cardbroker/cardbroker/virtualreader/pcscd"
)

// Virtual readers of vpcd stay where they are. Those of our own server can be plugged in and out, and have functions.

// plugs are readers that a test plugs. Those that are named for it are PIN pads, or slow.
type plugs struct {
	events chan pcscd.Event
	begun  chan struct{} // told by each command to a slow reader
	block  chan struct{} // ends it
}

func (p *plugs) Watch(ctx context.Context, emit func(pcscd.Event)) error {
	for {
		select {
		case e := <-p.events:
			emit(e)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (p *plugs) Connect(_ context.Context, reader string, share cardbroker.ShareMode) (pcscd.Card, error) {
	return &plugged{plugs: p, reader: reader, direct: share == cardbroker.ShareDirect}, nil
}

// plug plugs a reader in, with a card in it.
func (p *plugs) plug(reader string) {
	p.events <- pcscd.Event{Reader: reader, Present: true, Card: &cardbroker.Card{ATR: []byte("\x3B\x80\x80\x01\x01"), Protocol: cardbroker.ProtocolT1}}
}

func (p *plugs) unplug(reader string) { p.events <- pcscd.Event{Reader: reader} }

// plugged is a connection to a reader.
type plugged struct {
	*plugs
	reader string
	direct bool
}

func (c *plugged) Info() cardbroker.Card {
	if c.direct {
		return cardbroker.Card{}
	}
	return cardbroker.Card{ATR: []byte("\x3B\x80\x80\x01\x01"), Protocol: cardbroker.ProtocolT1}
}

func (c *plugged) Transmit(ctx context.Context, dst, _ []byte) ([]byte, error) {
	if c.reader == "slow" {
		c.begun <- struct{}{}
		select {
		case <-c.block:
		case <-ctx.Done():
			return dst, ctx.Err()
		}
	}
	return append(dst, 0x90, 0x00), nil
}

func (*plugged) Begin(context.Context) error                              { return nil }
func (*plugged) End(context.Context, cardbroker.Disposition) error        { return nil }
func (*plugged) Disconnect(context.Context, cardbroker.Disposition) error { return nil }

func (c *plugged) Control(_ context.Context, dst []byte, code uint32, _ []byte) ([]byte, error) {
	if code != pinpad.GetFeatureRequest || !strings.HasPrefix(c.reader, "pad") {
		return dst, cardbroker.Errorf(cardbroker.Unsupported, "no such function")
	}
	return pinpad.Features{{Tag: pinpad.VerifyPINDirect, Code: 0x42330006}}.Append(dst), nil
}

func (*plugged) Attribute(context.Context, uint32) ([]byte, error) {
	return nil, cardbroker.Errorf(cardbroker.Unsupported, "no such attribute")
}

// newPlugs starts our server, with these readers.
func newPlugs(t *testing.T, readers ...string) (*bed, *plugs) {
	t.Helper()
	needCgo(t)
	socket := os.Getenv(socketVariable)
	if err := os.MkdirAll(filepath.Dir(socket), 0o700); err != nil {
		t.Fatal(err)
	}
	listener, err := pcscd.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	p := &plugs{events: make(chan pcscd.Event, 1000), begun: make(chan struct{}, 1), block: make(chan struct{})}
	for _, reader := range readers {
		p.plug(reader)
	}
	p.events <- pcscd.Event{}
	server := pcscd.New(pcscd.Config{Source: p, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve() = %v", err)
		}
		os.RemoveAll(filepath.Dir(filepath.Dir(filepath.Dir(socket))))
	})
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	return &bed{TB: t, ctx: ctx, readers: pcsc.New(log)}, p
}

// soon is when a reader that came or went is told at the latest, also if it did so right before a wait.
const soon = time.Second

// soon fails unless these are the next events.
func (w *watch) soon(want ...string) {
	w.bed.Helper()
	for _, text := range want {
		if got := w.next(soon); got != text {
			w.bed.Fatalf("the next event is %q, want %q", got, text)
		}
	}
}

// TestPlug plugs readers in and out while they are watched.
func TestPlug(t *testing.T) {
	b, p := newPlugs(t)
	w := b.follow()
	w.wants("complete")
	p.plug("one")
	w.soon("one: T1 " + otherATR)
	p.plug("pad")
	select {
	case e := <-w.events:
		if !e.PINPad || e.Reader != "pad" {
			t.Errorf("the event is %+v, want a PIN pad", e)
		}
	case <-time.After(soon):
		t.Fatal("no event of a PIN pad")
	}
	p.unplug("one")
	w.soon("one: gone")
	p.unplug("pad")
	p.plug("other") // as many as before
	seen := map[string]bool{w.next(soon): true, w.next(soon): true}
	if !seen["pad: gone"] || !seen["other: T1 "+otherATR] {
		t.Errorf("the events are %v, want that one reader went and another came", seen)
	}
	w.none()
}

// TestPlugStorm plugs faster than anybody can look: what counts is what is there in the end, and that is told soon. What
// was missed is noticed by the looks after the last change.
func TestPlugStorm(t *testing.T) {
	b, p := newPlugs(t)
	w := b.follow()
	w.wants("complete")
	for i := range 40 {
		for range i {
			p.unplug("one")
			p.plug("one")
		}
		p.unplug("one")
		last := fmt.Sprint("last ", i)
		p.plug(last)
		for w.next(soon) != last+": T1 "+otherATR {
		}
		p.unplug(last)
		for w.next(soon) != last+": gone" {
		}
	}
}

// TestManyReaders: a service with as many readers as it can have is watched, as far as there is room; who did not fit is
// seen when there is.
func TestManyReaders(t *testing.T) {
	var names []string
	for i := range 16 {
		names = append(names, fmt.Sprintf("reader %02d", i))
	}
	b, p := newPlugs(t, names...)
	w := b.follow()
	seen := w.complete()
	if len(seen) != 15 {
		t.Fatalf("the list has %d readers, want 15", len(seen))
	}
	missing := ""
	for _, name := range names {
		if !seen[name+": T1 "+otherATR] {
			missing = name
		}
	}
	gone := names[3]
	if gone == missing {
		gone = names[4]
	}
	p.unplug(gone)
	w.soon(gone+": gone", missing+": T1 "+otherATR)
}

// TestUnplugged: a reader that goes takes its connections with it.
func TestUnplugged(t *testing.T) {
	b, p := newPlugs(t, "one")
	b.name = "one"
	w := b.follow()
	w.complete()
	card, direct := b.connect(cardbroker.ShareShared), b.connect(cardbroker.ShareDirect)
	b.want("Begin", card.Begin(), "")
	p.unplug("one")
	w.soon("one: gone")
	b.want("Transmit", transmit(card), cardbroker.CardRemoved)
	b.want("End", card.End(cardbroker.LeaveCard), cardbroker.CardRemoved)
	_, err := direct.Control(nil, pinpad.GetFeatureRequest, nil)
	b.want("Control", err, cardbroker.CardRemoved)
	_, err = b.readers.Connect("one", cardbroker.ShareShared)
	b.want("Connect", err, cardbroker.ReaderUnknown)
	p.plug("one")
	w.soon("one: T1 " + otherATR)
	b.want("Transmit of the old connection", transmit(card), cardbroker.CardRemoved)
	b.want("Disconnect of the old connection", card.Disconnect(cardbroker.ResetCard), "")
	b.works()
}

// TestUnpluggedDuringTransmit: the card may have run the command.
func TestUnpluggedDuringTransmit(t *testing.T) {
	b, p := newPlugs(t, "slow")
	b.name = "slow"
	w := b.follow()
	w.complete()
	card := b.connect(cardbroker.ShareShared)
	ended := b.begin(func() error { return transmit(card) })
	<-p.begun
	p.unplug("slow")
	w.soon("slow: gone")
	close(p.block)
	if err := b.wait("Transmit", ended); err != nil { // our server lets the card answer; others may not
		b.want("Transmit", err, cardbroker.Indeterminate)
	}
	b.want("the next Transmit", transmit(card), cardbroker.CardRemoved)
}

// TestPINPad calls a function of a reader.
func TestPINPad(t *testing.T) {
	b, _ := newPlugs(t, "pad")
	b.name = "pad"
	for _, share := range []cardbroker.ShareMode{cardbroker.ShareDirect, cardbroker.ShareShared} {
		got, err := b.connect(share).Control([]byte("before"), pinpad.GetFeatureRequest, nil)
		if want := "before\x06\x04\x42\x33\x00\x06"; err != nil || string(got) != want {
			t.Errorf("Control(GetFeatureRequest) in share mode %d = %q, %v, want %q", share, got, err, want)
		}
	}
}
