// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package pcscd is a PC/SC server in pure Go: it speaks the socket protocol of pcscd, so that every program linked to
// libpcsclite uses readers that are elsewhere, when the environment variable PCSCLITE_CSOCK_NAME names its socket. Where
// the readers are is behind [Source].
//
// It owns what clients agree on among themselves: who is connected, who is alone, who has a transaction and who waits for
// one, which card was reset or removed. It holds one connection to each card, carries to it transactions and resets, and
// judges nothing that a client sends to a card: that is done behind the source. It never repeats a command.
//
// Each client has a goroutine, which reads its messages and answers them itself: it takes its turn at the state, which is
// memory only, and at a reader, whose card it calls. (A loop that owned the state would cost a call two more changes of
// goroutine, which is what a whole call takes.) When a client waits, for an event or another's transaction, its goroutine
// goes on reading, so that the end of a client is noticed at once, and its reading is interrupted.
package pcscd

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/peer"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/virtualreader/pcscd/line"
)

// Config is what a [Server] needs.
type Config struct {
	Source     Source
	Log        *slog.Logger
	MaxClients int // connections at a time; 0: 256
}

const defaultClients = 256

// Time limits.
const (
	listLimit    = 2 * time.Second // clients wait so long for the source to tell which readers there are
	cleanLimit   = 5 * time.Second // to end what a client has left behind
	acceptPause  = 50 * time.Millisecond
	refusalLimit = time.Second // to tell a client that there are too many
)

// maxRefusals is how many clients at a time are told that there are too many; more are just closed.
const maxRefusals = 64

// Server is a PC/SC server. Make it with [New].
type Server struct {
	cfg    Config
	turn   turn // of the state
	state  *state
	view   atomic.Pointer[view]
	group  *run.Group      // the clients, and what cards need besides; set by Serve
	last   context.Context // ends cleanLimit after the clients' context; likewise
	listed chan struct{}   // closed when the source has told all readers
	users  cardbroker.UserID

	clients, refusals atomic.Int32
	awake             *line.Awake
}

// New returns a server, which does nothing before [Server.Serve].
func New(cfg Config) *Server {
	if cfg.MaxClients == 0 {
		cfg.MaxClients = defaultClients
	}
	s := &Server{cfg: cfg, turn: newTurn(), listed: make(chan struct{}), awake: line.NewAwake(), users: peer.Self()}
	s.state = newState(s)
	s.view.Store(&view{states: make([]byte, fixedStates*stateSize), events: s.state.events})
	return s
}

// Serve serves clients of the listener's socket, which it closes, until ctx ends (nil), or the readers cannot be watched
// or clients not accepted any more. It is called once. Clients that are connected are cut off; a card that is then in use
// is reset where a client held its transaction, and else left as it is.
func (s *Server) Serve(ctx context.Context, listener *net.UnixListener) error {
	last, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	s.last = last
	s.group = run.New(ctx)
	stop := context.AfterFunc(s.group.Context(), func() {
		listener.Close()
		time.AfterFunc(cleanLimit, cancel)
	})
	defer stop()
	s.group.Go("readers", s.watch)
	s.group.Go("accept", func(ctx context.Context) error { return s.accept(ctx, listener) })
	return s.group.Wait()
}

// watch passes on what the source tells.
func (s *Server) watch(ctx context.Context) error {
	listed := false
	return s.cfg.Source.Watch(ctx, func(e Event) {
		if e == (Event{}) {
			if !listed {
				listed = true
				close(s.listed)
			}
			return
		}
		s.do(func(st *state) { st.event(e) })
	})
}

// do changes the state, and returns when that is published. change touches memory only. Who was woken by it has not been
// told before the turn was left; whoever is told in vain just goes on.
func (s *Server) do(change func(*state)) {
	s.turn <- struct{}{} // nobody keeps it for long
	change(s.state)
	woken := s.state.publish()
	s.turn.leave()
	for _, c := range woken {
		c.interrupt()
	}
}

// accept serves each client in a goroutine of its own.
func (s *Server) accept(ctx context.Context, listener *net.UnixListener) error {
	list, cancel := context.WithTimeout(ctx, listLimit)
	select {
	case <-s.listed:
	case <-list.Done():
	}
	cancel()
	for {
		conn, err := listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return cardbroker.Wrapf(err, cardbroker.Unavailable, "the socket for PC/SC clients was closed")
		}
		if err != nil { // such as too many open files: better later than never
			s.cfg.Log.Warn("cannot accept a PC/SC client", "err", err)
			if !run.Pause(ctx, acceptPause) {
				return ctx.Err()
			}
			continue
		}
		switch {
		case s.clients.Load() < int32(s.cfg.MaxClients):
			s.clients.Add(1)
			s.group.Go("client", func(ctx context.Context) error {
				defer s.clients.Add(-1)
				s.attend(ctx, conn)
				return nil
			})
		case s.refusals.Load() < maxRefusals:
			s.refusals.Add(1)
			s.group.Go("refusal", func(ctx context.Context) error {
				defer s.refusals.Add(-1)
				s.refuse(ctx, conn)
				return nil
			})
		default:
			conn.Close()
		}
	}
}

// attend serves a client until it leaves, breaks the protocol or ctx ends.
func (s *Server) attend(ctx context.Context, conn *net.UnixConn) {
	l := s.admit(conn)
	if l == nil {
		return
	}
	defer l.Close()
	stop := context.AfterFunc(ctx, l.Interrupt)
	defer stop()
	c := newClient(s, l)
	err := c.serve(ctx)
	c.leave(s.last)
	if errors.Is(err, errMalformed) || errors.Is(err, errClient) {
		s.cfg.Log.Debug("a PC/SC client was cut off", "err", err)
	}
}

// admit takes a connection over, or closes it: it has to be that of a client of our own user, or root.
func (s *Server) admit(conn *net.UnixConn) *line.Line {
	user, err := peer.LocalUser(conn)
	if err != nil || user != s.users && user != (cardbroker.UserID{}) {
		s.cfg.Log.Warn("a PC/SC client of another user was refused", "user", user.String(), "err", err)
		conn.Close()
		return nil
	}
	l, err := line.New(conn, s.awake)
	if err != nil {
		s.cfg.Log.Warn("cannot serve a PC/SC client", "err", err)
		return nil
	}
	return l
}

// refuse tells a client that there are too many. A Cancel, which is a connection of its own, is served all the same.
func (s *Server) refuse(ctx context.Context, conn *net.UnixConn) {
	l := s.admit(conn)
	if l == nil {
		return
	}
	defer l.Close()
	if l.Limit(time.Now().Add(refusalLimit)) != nil {
		return
	}
	c := newClient(s, l)
	m, err := c.in.next()
	switch {
	case err != nil:
	case m.command == cmdCancel:
		c.handle(ctx, m)
	case m.command == cmdVersion:
		put(m.body, 8, serverTooBusy)
		l.Send(m.body)
	}
}
