// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcsc_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/sandbox"
	"github.com/cardbroker/cardbroker/sandbox/pcsc"
	"github.com/cardbroker/cardbroker/test/pcscbed"
)

// socketVariable says where the beds of this process are, one after the other: libpcsclite reads it once.
const socketVariable = "PCSCLITE_CSOCK_NAME"

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == watchArgument {
		watchAlone()
	}
	dir, err := os.MkdirTemp("", "pcsc")
	if err == nil {
		err = os.Setenv(socketVariable, filepath.Join(dir, "bed", "user", "pcscd", "pcscd.comm"))
	}
	if err == nil && pcscbed.Supported() == nil {
		err = pcscbed.BuildCard(context.Background(), filepath.Join(dir, "vcard"))
	}
	if err != nil {
		panic(err)
	}
	status := m.Run()
	os.RemoveAll(dir)
	os.Exit(status)
}

// bed is a service for one test, and what the test needs of it.
type bed struct {
	testing.TB
	*pcscbed.Bed
	ctx     context.Context
	readers *pcsc.Readers
	name    string // of reader 0
}

// needCgo skips the test where this program was built without cgo.
func needCgo(t testing.TB) {
	t.Helper()
	_, err := pcsc.New(slog.New(slog.DiscardHandler)).Connect("", cardbroker.ShareShared)
	if cardbroker.ReasonOf(err) == cardbroker.Unavailable {
		testenv.Skip(t, "needs cgo")
	}
}

// newBed starts a service with two readers.
func newBed(t testing.TB) *bed {
	t.Helper()
	needCgo(t)
	if err := pcscbed.Supported(); err != nil {
		testenv.Skip(t, err.Error())
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	dir := filepath.Dir(filepath.Dir(filepath.Dir(os.Getenv(socketVariable))))
	b, err := pcscbed.Start(ctx, pcscbed.Config{Dir: dir, Readers: 2, Card: filepath.Join(filepath.Dir(dir), "vcard")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Stop(); err != nil {
			t.Errorf("Stop() = %v", err)
		}
	})
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	return &bed{TB: t, Bed: b, ctx: ctx, readers: pcsc.New(log), name: b.Readers()[0]}
}

func (b *bed) insert(card pcscbed.Card) {
	b.Helper()
	if err := b.Insert(b.ctx, 0, card); err != nil {
		b.Fatal(err)
	}
}

func (b *bed) remove() {
	b.Helper()
	if err := b.Remove(b.ctx, 0); err != nil {
		b.Fatal(err)
	}
}

// connect connects for the time of the test.
func (b *bed) connect(share cardbroker.ShareMode) sandbox.Card {
	b.Helper()
	card, err := b.readers.Connect(b.name, share)
	if err != nil {
		b.Fatalf("Connect(%d) = %v", share, err)
	}
	b.Cleanup(func() { card.Disconnect(cardbroker.LeaveCard) })
	return card
}

func (b *bed) want(what string, err error, reason cardbroker.Reason) {
	b.Helper()
	if got := cardbroker.ReasonOf(err); got != reason {
		b.Errorf("%s = %v, want the reason %q", what, err, reason)
	}
}

// transmit sends a command that every card answers.
func transmit(card sandbox.Card) error {
	_, err := card.Transmit(nil, []byte{0x00, 0xA4, 0x04, 0x00, 0x00})
	return err
}

// delay is a command that the software card answers after so many milliseconds.
func delay(ms int) []byte { return []byte{0x80, 0xEF, byte(ms >> 8), byte(ms)} }

// follow watches for the time of the test, until the list is complete.
func (b *bed) follow() *watch {
	b.Helper()
	ctx, cancel := context.WithCancel(b.ctx)
	w := &watch{bed: b, events: make(chan sandbox.Event, 100), ended: make(chan error, 1), cancel: cancel}
	go func() { w.ended <- b.readers.Watch(ctx, func(e sandbox.Event) { w.events <- e }) }()
	b.Cleanup(func() {
		cancel()
		select {
		case <-w.ended:
		case <-time.After(10 * time.Second):
			b.Error("Watch() goes on after the end of its ctx")
		}
	})
	return w
}

// watch is a running Watch.
type watch struct {
	bed    *bed
	events chan sandbox.Event
	ended  chan error // its result; taken by whoever waits for the end
	cancel context.CancelFunc
}

// next returns the next event as text, and fails the test where none comes within limit.
func (w *watch) next(limit time.Duration) string {
	w.bed.Helper()
	select {
	case e := <-w.events:
		return describe(e)
	case err := <-w.ended:
		w.ended <- err
		w.bed.Fatalf("Watch() = %v, want an event", err)
	case <-time.After(limit):
		w.bed.Fatalf("no event within %v", limit)
	}
	return ""
}

// wants fails unless these are the next events. make bench measures how soon they come; here the machine may be busy with others.
func (w *watch) wants(want ...string) {
	w.bed.Helper()
	for _, text := range want {
		if got := w.next(callLimit); got != text {
			w.bed.Fatalf("the next event is %q, want %q", got, text)
		}
	}
}

// none fails if there is an event.
func (w *watch) none() {
	w.bed.Helper()
	select {
	case e := <-w.events:
		w.bed.Errorf("an event %q, want none", describe(e))
	default:
	}
}

// describe returns "name: state", or "complete".
func describe(e sandbox.Event) string {
	switch {
	case e == sandbox.Event{}:
		return "complete"
	case !e.Present:
		return e.Reader + ": gone"
	case e.Card == nil:
		return e.Reader + ": empty"
	case len(e.Card.ATR) == 0:
		return e.Reader + ": mute"
	}
	return fmt.Sprintf("%s: %s %X", e.Reader, e.Card.Protocol, e.Card.ATR)
}
