// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package remote_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/cardtest"
	"github.com/cardbroker/cardbroker/virtualreader/pcscd"
	"github.com/cardbroker/cardbroker/virtualreader/remote"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// waitLimit is how long anything may take that a test waits for.
const waitLimit = 10 * time.Second

var command = []byte{0x00, 0xA4, 0x04, 0x00}

// holder is the user's end of one tunnel, with the only reader.
type holder struct {
	*cardtest.Reader
	name   string
	silent bool // it never tells which card is in
	leases *cardend.Leases
}

// Open opens the reader, whatever it is called.
func (h *holder) Open(ctx context.Context, _ string, share cardbroker.ShareMode) (cardend.Card, error) {
	return h.Reader.Open(ctx, cardtest.ReaderName, share)
}

// tunnels opens a tunnel to each holder.
func tunnels(t *testing.T, lease time.Duration, holders ...*holder) (list []*virtualreader.Tunnel) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	maker := socket.NewMaker(wire.Subprotocol)
	for _, h := range holders {
		h.leases = cardend.NewLeases()
		running.Go(func() { h.leases.Run(ctx) })
		server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, err := maker.Upgrade(w, r)
			if err != nil {
				return
			}
			running.Go(func() {
				tunnel := h.Tunnel("alpha")
				tunnel.Reader = h.name
				if h.silent {
					tunnel.Changed, tunnel.Present = nil, nil
				}
				cardend.New(h, h.leases).Serve(ctx, conn, tunnel)
			})
		}))
		t.Cleanup(server.Close)
		client, err := virtualreader.New(virtualreader.Config{
			Brokers: []string{"wss" + strings.TrimPrefix(server.URL, "https")}, TLS: server.Client().Transport.(*http.Transport).TLSClientConfig,
		})
		if err != nil {
			t.Fatal(err)
		}
		tunnel, err := client.Open(t.Context(), virtualreader.TicketReader, "", virtualreader.Options{Lease: lease})
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, tunnel)
	}
	t.Cleanup(func() { // before the servers
		for _, tunnel := range list {
			tunnel.Close()
		}
		cancel()
		running.Wait()
	})
	return list
}

func named(names ...string) (list []*holder) {
	for _, name := range names {
		list = append(list, &holder{Reader: cardtest.NewReader(), name: name})
	}
	return list
}

// revoke ends the holder's lease as its user would.
func (h *holder) revoke(t *testing.T) {
	t.Helper()
	if err := h.leases.Revoke(t.Context(), h.leases.List()[0].Tunnel, "the user has ended it"); err != nil {
		t.Fatal(err)
	}
}

// watch is a running Watch.
type watch struct {
	t      *testing.T
	events chan string
	ended  chan error
	ready  chan struct{}
}

// follow watches the readers behind the tunnels until the test ends.
func follow(t *testing.T, log *slog.Logger, list ...*virtualreader.Tunnel) (*remote.Readers, *watch) {
	t.Helper()
	w := &watch{t: t, events: make(chan string, 100), ended: make(chan error, 1), ready: make(chan struct{}, 2)}
	readers := remote.New(list, func() { w.ready <- struct{}{} }, log)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { w.ended <- readers.Watch(ctx, func(e pcscd.Event) { w.events <- describe(e) }) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return readers, w
}

// describe returns "name: state", or "complete".
func describe(e pcscd.Event) string {
	switch {
	case e == pcscd.Event{}:
		return "complete"
	case !e.Present:
		return e.Reader + ": gone"
	case e.Card == nil:
		return e.Reader + ": empty"
	}
	return fmt.Sprintf("%s: %s %X", e.Reader, e.Card.Protocol, e.Card.ATR)
}

// wants fails unless these are the next events, in any order.
func (w *watch) wants(want ...string) {
	w.t.Helper()
	var got []string
	for range want {
		select {
		case e := <-w.events:
			got = append(got, e)
		case <-time.After(waitLimit):
			w.t.Fatalf("events = %q, want %q", got, want)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		w.t.Fatalf("events = %q, want %q", got, want)
	}
}

func (w *watch) end() error {
	w.t.Helper()
	select {
	case err := <-w.ended:
		return err
	case <-time.After(waitLimit):
		w.t.Fatal("Watch does not end")
		return nil
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

const in = ": T1 3B80800101"

func TestNames(t *testing.T) {
	long := strings.Repeat("é", 63) + "x" // of 127 bytes
	readers := remote.New(tunnels(t, 0, named("R", "R", "R (2)", "R", long, long)...), func() {}, discard())
	want := []string{"R", "R (2)", "R (2) (2)", "R (3)", long, strings.Repeat("é", 61) + " (2)"}
	if got := readers.Names(); !slices.Equal(got, want) {
		t.Errorf("Names() = %q, want %q", got, want)
	}
	for _, name := range readers.Names() {
		if len(name) > 127 {
			t.Errorf("a name has %d bytes: %q", len(name), name)
		}
	}
}

// TestWatch follows two readers of one name to the end of their tunnels.
func TestWatch(t *testing.T) {
	holders := named("R", "R")
	holders[1].Remove()
	_, w := follow(t, discard(), tunnels(t, 0, holders...)...)
	w.wants("R: empty", "R (2): empty", "R"+in, "R (2): empty", "complete")
	<-w.ready
	holders[0].Remove()
	w.wants("R: empty")
	holders[1].Insert()
	w.wants("R (2)" + in)
	holders[1].Replace()
	w.wants("R (2): empty")
	w.wants("R (2)" + in)
	holders[1].Nudge()
	holders[0].Insert()
	w.wants("R" + in)
	holders[0].revoke(t)
	w.wants("R: gone")
	holders[1].Remove()
	w.wants("R (2): empty")
	holders[1].revoke(t)
	w.wants("R (2): gone")
	err := w.end()
	if cardbroker.ReasonOf(err) != cardbroker.Forbidden || strings.Count(err.Error(), "the user has ended it") != 2 || !strings.Contains(err.Error(), `"R (2)"`) {
		t.Errorf("Watch = %v, want %s of both readers", err, cardbroker.Forbidden)
	}
	if len(w.ready) > 0 {
		t.Error("ready was called twice")
	}
}

// TestSilentHolder has one holder that never tells of its card: the others' list does not wait for it for long.
func TestSilentHolder(t *testing.T) {
	holders := named("R", "S")
	holders[1].silent = true
	readers, w := follow(t, discard(), tunnels(t, 0, holders...)...)
	w.wants("R: empty", "S: empty", "R"+in)
	w.wants("complete")
	<-w.ready
	if _, err := readers.Connect(t.Context(), "S", cardbroker.ShareShared); err != nil {
		t.Errorf("Connect to the silent holder's reader = %v", err)
	}
}

// TestLeaseIsKept has leases of four seconds, which leave two to each renewal, outlive that, until the user ends one; what is not renewed any more is told.
func TestLeaseIsKept(t *testing.T) {
	holders := named("R")
	var log bytes.Buffer
	_, w := follow(t, slog.New(slog.NewTextHandler(&log, nil)), tunnels(t, 4*time.Second, holders...)...)
	first := holders[0].leases.List()[0]
	late := time.After(waitLimit)
	for first.Expires.Add(4 * time.Second).After(holders[0].leases.List()[0].Expires) {
		select {
		case <-holders[0].leases.Changed():
		case <-late:
			t.Fatalf("the lease is %+v, which was %+v, want that it was renewed twice", holders[0].leases.List(), first)
		}
	}
	if now := holders[0].leases.List()[0]; now.Tunnel != first.Tunnel || now.Since != first.Since {
		t.Errorf("the lease is %+v, want the same as %+v", now, first)
	}
	holders[0].revoke(t)
	if err := w.end(); cardbroker.ReasonOf(err) != cardbroker.Forbidden {
		t.Errorf("Watch = %v, want %s", err, cardbroker.Forbidden)
	}
	if log.Len() > 0 {
		t.Errorf("the log says %s, want nothing", log.String())
	}
}

// connect connects to the only reader.
func connect(t *testing.T, readers *remote.Readers) pcscd.Card {
	t.Helper()
	card, err := readers.Connect(t.Context(), readers.Names()[0], cardbroker.ShareShared)
	if err != nil {
		t.Fatal(err)
	}
	return card
}

// transmit sends the command and wants a reason, "" for an answer.
func transmit(t *testing.T, card pcscd.Card, want cardbroker.Reason) {
	t.Helper()
	got, err := card.Transmit(t.Context(), []byte{0xEE}, command)
	if cardbroker.ReasonOf(err) != want {
		t.Errorf("Transmit = %v, want %q", err, want)
	}
	if whole := append([]byte{0xEE}, append(command, 0x90, 0x00)...); err == nil && !bytes.Equal(got, whole) || err != nil && !bytes.Equal(got, []byte{0xEE}) {
		t.Errorf("Transmit = %X, %v", got, err)
	}
}

// TestCardIsLost: a reset is told once, a removal ends the connection, and a command whose fate is not known is never sent
// again.
func TestCardIsLost(t *testing.T) {
	h := named("R")[0]
	readers, _ := follow(t, discard(), tunnels(t, 0, h)...)
	card := connect(t, readers)
	if info := card.Info(); string(info.ATR) != cardtest.ATR || info.Protocol != cardbroker.ProtocolT1 {
		t.Errorf("Info() = %+v", info)
	}
	transmit(t, card, "")
	h.Reset()
	transmit(t, card, cardbroker.CardReset)
	transmit(t, card, "")
	h.Reset()
	if err := card.Begin(t.Context()); cardbroker.ReasonOf(err) != cardbroker.CardReset {
		t.Errorf("Begin = %v, want %s", err, cardbroker.CardReset)
	}
	if err := card.Begin(t.Context()); err != nil {
		t.Errorf("Begin again = %v", err)
	}
	before := h.Executed()
	h.Lose()
	transmit(t, card, cardbroker.Indeterminate)
	if n := h.Executed() - before; n != 1 {
		t.Errorf("the card has seen the command %d times, want once", n)
	}
	transmit(t, card, "")
	if n := h.Connections(); n != 1 {
		t.Errorf("%d connections are open, want 1", n)
	}
	h.Remove()
	transmit(t, card, cardbroker.CardRemoved)
	if _, err := readers.Connect(t.Context(), "R", cardbroker.ShareShared); cardbroker.ReasonOf(err) != cardbroker.CardAbsent {
		t.Errorf("Connect without a card = %v, want %s", err, cardbroker.CardAbsent)
	}
	h.Insert()
	card = connect(t, readers)
	transmit(t, card, "")
	if err := card.Disconnect(t.Context(), cardbroker.LeaveCard); err != nil {
		t.Errorf("Disconnect = %v", err)
	}
	if _, err := readers.Connect(t.Context(), "S", cardbroker.ShareShared); cardbroker.ReasonOf(err) != cardbroker.ReaderUnknown {
		t.Errorf("Connect to another reader = %v, want %s", err, cardbroker.ReaderUnknown)
	}
}

// TestEventsBeforeConnect: what happened to the card before it was connected to has been passed on when Connect returns.
func TestEventsBeforeConnect(t *testing.T) {
	h := named("R")[0]
	readers, w := follow(t, discard(), tunnels(t, 0, h)...)
	card := fmt.Sprintf("R: T1 %X", cardtest.ATR)
	w.wants("R: empty", card, "complete")
	for range 50 {
		h.Replace()
		connect(t, readers)
		if n := len(w.events); n != 2 {
			t.Fatalf("%d events when Connect returns, want that the card was taken out, and in", n)
		}
		w.wants("R: empty", card)
	}
}

// TestResetWhileTheCardIsGone: a card that was reset and then removed before anybody asked is removed.
func TestResetWhileTheCardIsGone(t *testing.T) {
	h := named("R")[0]
	readers, _ := follow(t, discard(), tunnels(t, 0, h)...)
	card := connect(t, readers)
	h.Lose()
	gate := h.Hold()
	ended := make(chan error, 1)
	var running sync.WaitGroup
	running.Go(func() { _, err := card.Transmit(t.Context(), nil, command); ended <- err })
	release := <-gate
	h.Reset()
	close(release)
	if err := <-ended; cardbroker.ReasonOf(err) != cardbroker.CardReset {
		t.Errorf("Transmit = %v, want %s", err, cardbroker.CardReset)
	}
	running.Wait()
	transmit(t, card, cardbroker.Indeterminate) // Lose is still due
	transmit(t, card, "")
}

// TestTunnelIsOver: every use fails with why, at once.
func TestTunnelIsOver(t *testing.T) {
	h := named("R")[0]
	list := tunnels(t, 0, h)
	readers, _ := follow(t, discard(), list...)
	card := connect(t, readers)
	h.revoke(t)
	for range list[0].Events() {
	}
	_, err := readers.Connect(t.Context(), "R", cardbroker.ShareShared)
	for what, err := range map[string]error{"Connect": err, "Begin": card.Begin(t.Context()), "Disconnect": card.Disconnect(t.Context(), cardbroker.ResetCard)} {
		if cardbroker.ReasonOf(err) != cardbroker.Forbidden {
			t.Errorf("%s = %v, want %s", what, err, cardbroker.Forbidden)
		}
	}
	transmit(t, card, cardbroker.Forbidden)
}
