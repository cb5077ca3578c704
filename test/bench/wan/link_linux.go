// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package wan

import (
	"context"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/test/bench/bare"
)

// Link is a way to an address that takes its time. Who connects to it meets what TCP does over such a way: the handshake takes a
// round trip, then all bytes half of one, in order and as many as there are.
type Link struct {
	Address string // where it begins, on loopback
	RTT     time.Duration
	Netem   bool // the kernel delays; else this process does

	mu    sync.Mutex
	conns map[net.Conn]struct{} // both ends of what is open
}

// NewLink makes a link to target, which ends with the group.
func NewLink(group *run.Group, target string, rtt time.Duration) (*Link, error) {
	l := &Link{RTT: rtt, conns: make(map[net.Conn]struct{})}
	dial := func(ctx context.Context) (net.Conn, error) { return bare.Dial(ctx, target) }
	if rtt > 0 {
		if space, err := newSpace(group, target, "netem", "delay", (rtt / 2).String(), "limit", "100000"); err == nil {
			l.Netem, dial = true, space.dial
		}
	}
	var err error
	l.Address, err = bare.ListenTCP(group, func(near net.Conn) { l.join(group, near, dial) })
	return l, err
}

// How says where the delay comes from, for people.
func (l *Link) How() string {
	switch {
	case l.RTT == 0:
		return "none"
	case l.Netem:
		return "netem"
	}
	return "injected"
}

// join passes on what comes, both ways, until either end is closed.
func (l *Link) join(group *run.Group, near net.Conn, dial func(context.Context) (net.Conn, error)) {
	half, begins := l.RTT/2, time.Now().Add(l.RTT) // by then the handshake would be over
	if l.Netem {
		half, begins = 0, time.Time{}
	}
	far, err := dial(group.Context())
	if err != nil {
		return
	}
	l.keep(near, far)
	defer l.drop(near, far)
	back := run.New(group.Context())
	back.Go("back", func(context.Context) error { carry(near, far, half, begins); return nil })
	carry(far, near, half, begins)
	back.Wait()
}

func (l *Link) keep(conns ...net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, conn := range conns {
		l.conns[conn] = struct{}{}
	}
}

func (l *Link) drop(conns ...net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, conn := range conns {
		delete(l.conns, conn)
		conn.Close()
	}
}

// Cut closes what is open, at both ends at once. New connections can be made.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for conn := range l.conns {
		conn.Close()
	}
	clear(l.conns)
}

// A chunk is what came at once, and when it is to arrive.
type chunk struct {
	data []byte
	due  time.Time
}

const (
	underWay  = 4096     // chunks: more than a card's commands and answers ever are
	chunkSize = 16 << 10 // bytes at most
)

// carry copies bytes, each to arrive so long after it came, or after the beginning if that was later. It closes both when either
// fails; what is under way then is lost.
func carry(to, from net.Conn, delay time.Duration, begins time.Time) {
	defer to.Close()
	defer from.Close()
	chunks := make(chan chunk, underWay)
	reader := run.New(context.Background())
	reader.Go("read", func(context.Context) error {
		defer close(chunks)
		for {
			data := make([]byte, chunkSize)
			n, err := from.Read(data)
			if err != nil {
				return nil
			}
			came := time.Now()
			if came.Before(begins) {
				came = begins
			}
			chunks <- chunk{data[:n], came.Add(delay)}
		}
	})
	for c := range chunks {
		await(c.due)
		if _, err := to.Write(c.data); err != nil {
			from.Close()
			for range chunks { // until the reader has left
			}
			break
		}
	}
	reader.Wait()
}

// await returns at a time, or some 50 µs later. A timer of Go's may be a millisecond late, which is much of what is measured here.
func await(due time.Time) {
	for wait := time.Until(due); wait > 0; wait = time.Until(due) {
		rest := unix.NsecToTimespec(int64(wait))
		unix.Nanosleep(&rest, nil) // a signal ends it early
	}
}

// Pinger is a message to an echo over a link, with nothing around it.
type Pinger struct {
	conn    net.Conn
	message [pingSize]byte
}

const pingSize = 300 // bytes

// NewPinger connects to an echo that is so far away.
func NewPinger(group *run.Group, rtt time.Duration) (*Pinger, error) {
	echo, err := bare.ListenTCP(group, func(conn net.Conn) { io.Copy(conn, conn) })
	if err != nil {
		return nil, err
	}
	l, err := NewLink(group, echo, rtt)
	if err != nil {
		return nil, err
	}
	conn, err := bare.Dial(group.Context(), l.Address)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(group.Context(), func() { conn.Close() })
	p := &Pinger{conn: conn}
	_, err = p.Trips(1) // which waits for the handshake
	return p, err
}

// Trips returns how long the message takes to go there and back so often.
func (p *Pinger) Trips(count int) (time.Duration, error) {
	start := time.Now()
	for range count {
		if _, err := p.conn.Write(p.message[:]); err != nil {
			return 0, err
		}
		if _, err := io.ReadFull(p.conn, p.message[:]); err != nil {
			return 0, err
		}
	}
	return time.Since(start), nil
}

// Least returns the shortest of some trips.
func (p *Pinger) Least() (time.Duration, error) {
	least, err := p.Trips(1)
	for range 20 {
		if err != nil {
			return 0, err
		}
		var took time.Duration
		took, err = p.Trips(1)
		least = min(least, took)
	}
	return least, err
}
