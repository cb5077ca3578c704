// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package rendezvous

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"maps"
	"net"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
)

// state is which hosts have called, and which connections are waited for. One loop writes it.
type state struct {
	hosts   map[string]*host    // by name
	waiting map[string]*waiting // by id
	changed bool                // hosts, since the view was published
}

// host is a call.
type host struct {
	caller
	send func(api.FromRendezvous) error // one message, with a write deadline
	asks *rate.Limiter                  // of messages that ask for a connection
	end  func(why error)

	welcome bool // it was told that it is: from then on it may be asked for connections
	waits   int  // connections that it is asked for
}

// waiting is a connection that a host is to bring.
type waiting struct {
	host   *host // that was asked: no other one may bring it
	answer chan answer
	coming bool // it is being brought
}

// answer is what became of it.
type answer struct {
	conn net.Conn
	err  error
}

func newState() *state {
	return &state{hosts: make(map[string]*host), waiting: make(map[string]*waiting)}
}

// Begin returns the state itself: commands check before they change it, and nothing can fail after them.
func (r *Rendezvous) Begin() *state { return r.state }

// Commit publishes the view and wakes who waits for another one.
func (r *Rendezvous) Commit(_ context.Context, s *state) error {
	if s.changed {
		s.changed = false
		fresh := &view{old: make(chan struct{})}
		for _, name := range slices.Sorted(maps.Keys(s.hosts)) {
			if s.hosts[name].welcome {
				fresh.names = append(fresh.names, name)
			}
		}
		close(r.view.Swap(fresh).old)
	}
	return nil
}

// Deadline: nothing is ever due, connections that are waited for are bounded by who waits.
func (r *Rendezvous) Deadline() time.Time { return time.Time{} }

// Tick is never called.
func (r *Rendezvous) Tick(*state, time.Time) {}

// join adds a call. A host that has called before is gone, though nobody has noticed: the newer call counts. But who only has
// the token does not take a name away from who has a certificate for it.
func (r *Rendezvous) join(ctx context.Context, h *host) error {
	var before *host
	err := r.loop.Do(ctx, func(s *state) error {
		before = s.hosts[h.name]
		switch {
		case before != nil && before.certified && !h.certified:
			return cardbroker.Errorf(cardbroker.Conflict, "a host with a certificate for the name %s has called", h.name)
		case before == nil && len(s.hosts) >= maxHosts:
			return cardbroker.Errorf(cardbroker.Overloaded, "more than %d hosts have called", maxHosts)
		}
		if before != nil {
			s.leave(before)
		}
		s.hosts[h.name] = h
		return nil
	})
	if err == nil && before != nil {
		before.end(cardbroker.Errorf(cardbroker.Conflict, "the host %s has called again", h.name))
	}
	return err
}

// welcome shows a call to who asks for hosts.
func (r *Rendezvous) welcome(ctx context.Context, h *host) error {
	return r.loop.Do(ctx, func(s *state) error {
		h.welcome, s.changed = true, true
		return nil
	})
}

// leave takes a call away.
func (r *Rendezvous) leave(h *host) {
	r.loop.Must(func(s *state) error {
		s.leave(h)
		return nil
	})
}

// leave takes a call away. Who waits for its connections waits no more.
func (s *state) leave(h *host) {
	if s.hosts[h.name] == h {
		delete(s.hosts, h.name)
		s.changed = true
	}
	for id, w := range s.waiting {
		if w.host == h {
			s.settle(id, answer{err: gone(h.name)})
		}
	}
}

func gone(name string) error {
	return cardbroker.Errorf(cardbroker.Unavailable, "the host %s has not called, or has hung up", name)
}

// settle answers who waits for a connection. The caller has seen that somebody does.
func (s *state) settle(id string, a answer) {
	w := s.waiting[id]
	w.answer <- a // capacity 1, and this is the only answer
	w.host.waits--
	delete(s.waiting, id)
}

// expect notes that a host is to bring a connection, under a new id.
func (r *Rendezvous) expect(ctx context.Context, name string) (id string, answers chan answer, asked *host, err error) {
	id, answers = newID(), make(chan answer, 1)
	err = r.loop.Do(ctx, func(s *state) error {
		h := s.hosts[name]
		switch {
		case h == nil || !h.welcome:
			return gone(name)
		case h.waits >= maxWaiting:
			return cardbroker.Errorf(cardbroker.Overloaded, "the host %s is asked for %d connections already", name, maxWaiting)
		}
		h.waits++
		s.waiting[id] = &waiting{host: h, answer: answers}
		asked = h
		return nil
	})
	if err != nil {
		r.forget(id, answers) // it may have been noted all the same
	}
	return id, answers, asked, err
}

// newID returns 32 hexadecimal digits that nobody can guess.
func newID() string {
	var raw [16]byte
	rand.Read(raw[:])
	return hex.EncodeToString(raw[:])
}

// forget ends the wait for a connection and closes one that came too late.
func (r *Rendezvous) forget(id string, answers chan answer) {
	r.loop.Must(func(s *state) error {
		if w := s.waiting[id]; w != nil {
			w.host.waits--
			delete(s.waiting, id)
		}
		return nil
	})
	select {
	case late := <-answers:
		if late.conn != nil {
			late.conn.Close()
		}
	default:
	}
}

// claim says whether this caller is to bring the connection id, and has it be brought once.
func (r *Rendezvous) claim(ctx context.Context, id string, who caller) error {
	return r.loop.Do(ctx, func(s *state) error {
		err := s.check(id, who)
		if err == nil && s.waiting[id].coming {
			err = unwanted()
		}
		if err == nil {
			s.waiting[id].coming = true
		}
		return err
	})
}

// deliver gives a connection to who waits for it. It takes the connection over only if it returns nil.
func (r *Rendezvous) deliver(ctx context.Context, id string, who caller, conn net.Conn) error {
	return r.loop.Do(ctx, func(s *state) error {
		if err := s.check(id, who); err != nil {
			return err
		}
		s.settle(id, answer{conn: conn})
		return nil
	})
}

// check says whether a connection is waited for and this caller may bring it: by the same credential as the call, and where that
// is a certificate, for the same host.
func (s *state) check(id string, who caller) error {
	w := s.waiting[id]
	if w == nil || w.host.certified != who.certified || who.certified && w.host.name != who.name {
		return unwanted()
	}
	return nil
}

func unwanted() error {
	return cardbroker.Errorf(cardbroker.Unauthenticated, "no connection of that id is waited for")
}

// failed tells who waits for a host's connection that it will not come.
func (r *Rendezvous) failed(ctx context.Context, h *host, id string, why error) error {
	return r.loop.Do(ctx, func(s *state) error {
		if w := s.waiting[id]; w != nil && w.host == h {
			s.settle(id, answer{err: why})
		}
		return nil
	})
}
