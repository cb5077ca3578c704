// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package relay_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/virtualreader/relay"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// spliced is a relay between two ends, both over TLS on loopback.
type spliced struct {
	a, b   *socket.Conn // the outer ends
	cancel context.CancelFunc
	ended  chan result
}

type result struct {
	forth, back relay.Traffic
	err         error
}

func splice(t *testing.T) *spliced {
	t.Helper()
	m := socket.NewMaker(wire.Subprotocol)
	legs := make(chan *socket.Conn, 2)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := m.Upgrade(w, r); err == nil {
			legs <- c
		}
	}))
	t.Cleanup(server.Close)
	dial := func() *socket.Conn {
		conf := server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		c, _, err := m.Dial(t.Context(), socket.Dial{URL: "wss" + server.URL[5:], TLS: conf})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	s := &spliced{ended: make(chan result, 1)}
	s.a = dial()
	a := <-legs
	s.b = dial()
	b := <-legs
	ctx, cancel := context.WithCancel(t.Context())
	s.cancel = cancel
	go func() {
		forth, back, err := relay.Splice(ctx, a, b)
		s.ended <- result{forth, back, err}
	}()
	t.Cleanup(cancel)
	return s
}

func TestSpliceBothWays(t *testing.T) {
	s := splice(t)
	var wg sync.WaitGroup
	const frames = 100
	for _, way := range [][2]*socket.Conn{{s.a, s.b}, {s.b, s.a}} {
		wg.Go(func() {
			for i := range frames {
				way[0].Write(bytes.Repeat([]byte{byte(i)}, i*40))
			}
		})
		wg.Go(func() {
			for i := range frames {
				if m, err := way[1].Next(); err != nil || !bytes.Equal(m, bytes.Repeat([]byte{byte(i)}, i*40)) {
					t.Errorf("message %d arrived as %d bytes, %v", i, len(m), err)
					return
				}
			}
		})
	}
	wg.Wait()
	s.a.Shutdown(nil)
	if _, err := s.b.Next(); err != io.EOF {
		t.Errorf("the other end's Next = %v, want %v", err, io.EOF)
	}
	want := relay.Traffic{Frames: frames, Bytes: 40 * frames * (frames - 1) / 2}
	if r := <-s.ended; r.err != nil || r.forth != want || r.back != want {
		t.Errorf("Splice = %+v, want %+v both ways and no error", r, want)
	}
}

// TestSplicePassesOnTheReason ends a tunnel at one end, and looks at what the other hears.
func TestSplicePassesOnTheReason(t *testing.T) {
	tests := []struct {
		name string
		end  func(s *spliced)
		want cardbroker.Reason // what the other end hears; "": io.EOF
		err  cardbroker.Reason // what Splice returns
	}{
		{"regularly", func(s *spliced) { s.a.Shutdown(nil) }, "", ""},
		{"refused", func(s *spliced) { s.a.Shutdown(cardbroker.Errorf(cardbroker.Forbidden, "no")) }, cardbroker.Forbidden, cardbroker.Forbidden},
		{"overloaded", func(s *spliced) { s.a.Shutdown(cardbroker.Errorf(cardbroker.Overloaded, "full")) }, cardbroker.Overloaded, cardbroker.Overloaded},
		{"cut", func(s *spliced) { s.a.Close() }, "", ""},
		{"stopped", func(s *spliced) { s.cancel() }, cardbroker.Canceled, cardbroker.Canceled},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := splice(t)
			test.end(s)
			_, err := s.b.Next()
			if test.want == "" && err != io.EOF || test.want != "" && cardbroker.ReasonOf(err) != test.want {
				t.Errorf("the other end hears %v, want %q", err, test.want)
			}
			if r := <-s.ended; cardbroker.ReasonOf(r.err) != test.err {
				t.Errorf("Splice = %v, want %q", r.err, test.err)
			}
		})
	}
}

// leg is one that does as the test says.
type leg struct {
	next     chan []byte
	write    func([]byte) error
	shutdown chan struct{}
	once     sync.Once
	closed   bool
	last     error // what Next says at the end
	why      error // of Shutdown
}

func newLeg() *leg {
	return &leg{next: make(chan []byte, 1), shutdown: make(chan struct{}), write: func([]byte) error { return nil }, last: errors.New("shut down")}
}

func (l *leg) Next() ([]byte, error) {
	select {
	case m := <-l.next:
		return m, nil
	case <-l.shutdown:
		return nil, l.last
	}
}

func (l *leg) Write(m []byte) error { return l.write(m) }
func (l *leg) Shutdown(why error)   { l.once.Do(func() { l.why = why; close(l.shutdown) }) }
func (l *leg) Close() error         { l.closed = true; return nil }

// TestSpliceEndsWithASlowLeg covers a leg that takes no messages: its write deadline ends both.
func TestSpliceEndsWithASlowLeg(t *testing.T) {
	slow := cardbroker.Errorf(cardbroker.Timeout, "slow")
	a, b := newLeg(), newLeg()
	b.write = func([]byte) error { return slow }
	a.next <- []byte("x")
	if _, _, err := relay.Splice(t.Context(), a, b); err != slow || !a.closed || !b.closed {
		t.Errorf("Splice = %v, closed %v and %v, want %v and both", err, a.closed, b.closed, slow)
	}
}

// TestSpliceHearsTheLastWord has a leg that ends in order while a message for it is under way: that it does not take that one is
// not why the tunnel ended.
func TestSpliceHearsTheLastWord(t *testing.T) {
	a, b := newLeg(), newLeg()
	b.write = func([]byte) error { return cardbroker.Errorf(cardbroker.Unavailable, "the connection is closing") }
	b.last = io.EOF
	a.next <- []byte("x")
	if _, _, err := relay.Splice(t.Context(), a, b); err != nil || a.why != io.EOF || !a.closed || !b.closed {
		t.Errorf("Splice = %v, the other leg was told %v, want a regular end", err, a.why)
	}
}

// TestSpliceOfTwoSlowLegs ends when neither takes a message.
func TestSpliceOfTwoSlowLegs(t *testing.T) {
	slow := cardbroker.Errorf(cardbroker.Timeout, "slow")
	a, b := newLeg(), newLeg()
	both := make(chan struct{}, 2)
	write := func([]byte) error {
		both <- struct{}{}
		for len(both) < 2 {
			runtime.Gosched()
		}
		return slow
	}
	a.write, b.write = write, write
	a.next <- []byte("x")
	b.next <- []byte("x")
	if _, _, err := relay.Splice(t.Context(), a, b); err != slow || !a.closed || !b.closed {
		t.Errorf("Splice = %v, want %v", err, slow)
	}
}

// TestSpliceLeavesNothing counts goroutines after tunnels that ended in every way.
func TestSpliceLeavesNothing(t *testing.T) {
	settled := testenv.Leaks(t)
	for range 20 {
		a, b := newLeg(), newLeg()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		a.next <- []byte("x")
		relay.Splice(ctx, a, b)
		cancel()
	}
	settled()
}
