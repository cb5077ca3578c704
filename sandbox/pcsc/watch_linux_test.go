// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcsc_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/sandbox"
	"github.com/cardbroker/cardbroker/test/pcscbed"
)

// The ATRs of the software card and of another card.
const (
	softATR  = "3B8E80018073C021C058736F6674636172649F"
	otherATR = "3B80800101"
)

// complete takes the events of a list, whose order is the service's, and returns them.
func (w *watch) complete() map[string]bool {
	w.bed.Helper()
	seen := make(map[string]bool)
	for {
		e := w.next(callLimit)
		if e == "complete" {
			return seen
		}
		seen[e] = true
	}
}

// TestEvents puts cards in and takes them out, and wants each event.
func TestEvents(t *testing.T) {
	b := newBed(t)
	w := b.follow()
	if seen := w.complete(); len(seen) != 2 || !seen["Bed 0 00 00: empty"] || !seen["Bed 0 00 01: empty"] {
		t.Fatalf("the list is %v, want two empty readers", seen)
	}
	b.insert(pcscbed.Card{})
	w.wants(b.name + ": T1 " + softATR)
	b.remove()
	w.wants(b.name + ": empty")
	b.insert(pcscbed.Card{Mute: true})
	w.wants(b.name + ": mute")
	b.Pull(0)
	b.insert(pcscbed.Card{ATR: otherATR})
	w.wants(b.name+": empty", b.name+": T1 "+otherATR)
	b.insertAt(1)
	w.wants("Bed 0 00 01: T1 " + softATR)
	card := b.connect(cardbroker.ShareShared) // wakes the watch up, and is no news
	b.want("Disconnect", card.Disconnect(cardbroker.ResetCard), "")
	b.remove()
	w.wants(b.name + ": empty")
	w.none()
	w.cancel()
	if err := w.end(); cardbroker.ReasonOf(err) != cardbroker.Canceled {
		t.Errorf("Watch() = %v, want its ctx's error", err)
	}
	seen := b.follow().complete()
	if len(seen) != 2 || !seen["Bed 0 00 00: empty"] || !seen["Bed 0 00 01: T1 "+softATR] {
		t.Errorf("the list of a second watch is %v", seen)
	}
}

func (b *bed) insertAt(n int) {
	b.Helper()
	if err := b.Insert(b.ctx, n, pcscbed.Card{}); err != nil {
		b.Fatal(err)
	}
}

// end waits for the end of Watch.
func (w *watch) end() error {
	w.bed.Helper()
	select {
	case err := <-w.ended:
		w.ended <- err
		return err
	case <-time.After(10 * time.Second):
		w.bed.Fatal("Watch() does not end")
		return nil
	}
}

// TestWatchesEnd: no cancel is lost, however early it comes. A lost one would leave the wait without an end.
func TestWatchesEnd(t *testing.T) {
	b := newBed(t)
	for i := range 100 {
		ctx, cancel := context.WithCancel(b.ctx)
		ended := make(chan error, 1)
		complete := make(chan struct{})
		go func() {
			ended <- b.readers.Watch(ctx, func(e sandbox.Event) {
				if e == (sandbox.Event{}) {
					close(complete)
				}
			})
		}()
		if i%2 == 0 {
			<-complete // the wait is about to begin
		}
		cancel()
		select {
		case err := <-ended:
			b.want("Watch()", err, cardbroker.Canceled)
		case <-time.After(10 * time.Second):
			t.Fatalf("watch %d goes on after the end of its ctx", i)
		}
	}
}

func TestSecondWatch(t *testing.T) {
	b := newBed(t)
	b.follow().complete()
	b.want("a second Watch()", b.readers.Watch(b.ctx, func(sandbox.Event) {}), cardbroker.Conflict)
}

// TestServiceRestarts: all readers go with the service and come with the next one.
func TestServiceRestarts(t *testing.T) {
	b := newBed(t)
	b.insert(pcscbed.Card{})
	w := b.follow()
	w.complete()
	for range 2 {
		b.Kill()
		gone := map[string]bool{w.next(callLimit): true, w.next(callLimit): true}
		if !gone["Bed 0 00 00: gone"] || !gone["Bed 0 00 01: gone"] {
			t.Fatalf("after the end of the service: %v, want both readers gone", gone)
		}
		if err := b.StartService(b.ctx); err != nil {
			t.Fatal(err)
		}
		came := map[string]bool{w.next(callLimit): true, w.next(callLimit): true}
		if !came["Bed 0 00 00: empty"] || !came["Bed 0 00 01: empty"] {
			t.Fatalf("after the start of the next service: %v, want both readers", came)
		}
		b.insert(pcscbed.Card{})
		w.wants(b.name + ": T1 " + softATR)
		b.want("Transmit", transmit(b.connect(cardbroker.ShareShared)), "")
	}
	w.none()
}

// TestServiceGone: without a service, everything is Unavailable, soon, and says where it was looked for.
func TestServiceGone(t *testing.T) {
	b := newBed(t)
	w := b.follow()
	w.complete()
	b.Kill()
	start := time.Now()
	check := func(what string, err error) {
		t.Helper()
		b.want(what, err, cardbroker.Unavailable)
		if err != nil && !strings.Contains(err.Error(), b.Socket()) {
			t.Errorf("%s = %v, want the socket's path", what, err)
		}
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("%s took %v, want about 2 s", what, took)
		}
	}
	check("Watch()", w.end())
	start = time.Now()
	_, err := b.readers.Connect(b.name, cardbroker.ShareShared)
	check("Connect", err)
	start = time.Now()
	check("a new Watch()", b.readers.Watch(b.ctx, func(sandbox.Event) {}))
}

// TestServiceOnDemand: a service that is being started is waited for.
func TestServiceOnDemand(t *testing.T) {
	b := newBed(t)
	b.Kill()
	w := b.follow()
	connected := make(chan error, 1)
	go func() {
		_, err := b.readers.Connect(b.name, cardbroker.ShareShared)
		connected <- err
	}()
	if err := b.StartService(b.ctx); err != nil {
		t.Fatal(err)
	}
	w.complete()
	if err := <-connected; cardbroker.ReasonOf(err) != cardbroker.CardAbsent && cardbroker.ReasonOf(err) != cardbroker.ReaderUnknown {
		t.Errorf("Connect during the start = %v, want that there is no card or reader yet", err)
	}
}

// TestWatchBesideTransaction: a reader in another's transaction cannot be asked what it is, which must not keep the list of
// readers waiting.
func TestWatchBesideTransaction(t *testing.T) {
	b := newBed(t)
	b.insert(pcscbed.Card{})
	card := b.connect(cardbroker.ShareShared)
	b.want("Begin", card.Begin(), "")
	start := time.Now()
	if seen := b.follow().complete(); !seen[b.name+": T1 "+softATR] {
		t.Errorf("the list is %v, want the card in it", seen)
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("the list took %v, want about a second", took)
	}
	b.want("End", card.End(cardbroker.LeaveCard), "")
}
