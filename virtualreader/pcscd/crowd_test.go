// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscd_test

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker/virtualreader/pcscd"
)

// TestCrowd has many clients use a reader at the same time, in every way, while the card comes and goes: each gets an
// answer to what it asked, and nobody gets another's.
func TestCrowd(t *testing.T) {
	f := newFake(t, with("r"), with("s"))
	socket := serve(t, pcscd.Config{Source: f})
	stop := time.Now().Add(2 * time.Second)
	var all sync.WaitGroup
	for n := range 80 {
		p := enter(t, socket)
		all.Go(func() {
			for time.Now().Before(stop) {
				p.live(byte(n))
			}
		})
	}
	waiter := enter(t, socket)
	all.Go(func() {
		for time.Now().Before(stop) {
			waiter.call(0x13, nil, 16*184)
			dial(t, socket).call(0x0D, words(waiter.context, 0), 8)
			waiter.read(8)
		}
	})
	for time.Now().Before(stop) {
		f.events <- without("r")
		f.events <- with("r")
		f.events <- with("s")
		f.events <- gone("s")
		waitFor(5 * time.Millisecond)
	}
	all.Wait()
	for start := time.Now(); len(f.openCards()) > 0; {
		if time.Since(start) > waitLimit {
			t.Fatalf("cards of %q are open", f.openCards())
		}
		enter(t, socket).conn.Close()
	}
}

func waitFor(d time.Duration) { <-time.After(d) }

// holder says who has the transaction, as the clients see it.
type holder struct {
	mu sync.Mutex
	of byte
}

func (h *holder) set(from, to byte) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	was := h.of
	h.of = to
	return was == from
}

// live is a moment in the life of a client: connected, perhaps in a transaction, with a few commands.
func (p *speaker) live(n byte) {
	reader := []string{"r", "r", "s"}[rand.IntN(3)]
	h, _, code := p.tryConnect(reader, []uint32{shared, shared, shared, exclusive, direct}[rand.IntN(5)], either)
	if code != success {
		return
	}
	if rand.IntN(2) == 0 {
		p.begin(h)
	}
	for range rand.IntN(4) {
		command := []byte{0, n, byte(rand.Uint32()), 0, 1, n}
		answer, code := p.transmit(h, command, 300)
		if code == success && !bytes.Equal(answer, append(command, 0x90, 0x00)) {
			p.t.Errorf("the answer to %x = %x", command, answer)
		}
	}
	switch rand.IntN(6) {
	case 0:
		p.reconnect(h, shared, uint32(rand.IntN(3)))
	case 1:
		p.end(h, uint32(rand.IntN(3)))
	case 2:
		p.status(h)
	case 3:
		p.attribute(h, 0x90303, 264)
	}
	if code := p.disconnect(h, uint32(rand.IntN(3))); code != success {
		p.disconnect(h, leave)
	}
}

// TestOneAtATime: within its transaction a client is alone with the card.
func TestOneAtATime(t *testing.T) {
	f := newFake(t, with("r"))
	socket := serve(t, pcscd.Config{Source: f})
	var owner holder
	var all sync.WaitGroup
	for n := range 8 {
		p := enter(t, socket)
		h := p.connect("r")
		all.Go(func() {
			for range 20 {
				for p.begin(h) == sharingViolation {
				}
				if !owner.set(0, byte(n+1)) {
					t.Error("two clients have the transaction")
				}
				check(t, "Transmit", p.try(h), success)
				if !owner.set(byte(n+1), 0) {
					t.Error("two clients have the transaction")
				}
				check(t, "End", p.end(h, leave), success)
			}
		})
	}
	all.Wait()
}
