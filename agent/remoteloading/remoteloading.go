// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package remoteloading has the session's own pages and programs send commands to a card: one by one or as lists, each call by
// itself or within a session, which has the reader for itself until it ends. What becomes of PINs is decided here: a web page sends none
// unless machine policy says so; it has the user enter them at a pin pad, the reader's or ours.
//
// Which sessions there are is one loop's. A command does not pass through it: who sends it has the session for himself until it is answered.
// A command is sent once, whatever becomes of it.
package remoteloading

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/loop"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
)

// How long things may take.
const (
	defaultTimeout = 30 * time.Second // of a session, from the end of a call to the next
	maxTimeout     = 10 * time.Minute // the longest that may be asked for, and the longest that a session lasts in all
	callLimit      = time.Minute      // of one call, without what it waits for the user
)

// Card is a card that nobody else reaches until Close: a local program's turn at one (cards.Sandbox.Turn).
type Card interface {
	Info() cardbroker.Card
	Transmit(ctx context.Context, dst, command []byte) ([]byte, time.Duration, error)
	Control(ctx context.Context, dst []byte, code uint32, input []byte) ([]byte, error)
	Close(d cardbroker.Disposition) error
}

// Config is what a loader is made of.
type Config struct {
	Find    func(ctx context.Context, id cardbroker.ReaderID) (cardbroker.Reader, error)
	Free    func(reader string) error                              // ReaderBusy: a back end has it for itself
	Turn    func(ctx context.Context, reader string) (Card, error) // ReaderBusy after 8 s, if others use it so long
	Present func(reader string) *cardbroker.Card                   // another pointer: another card, or put in anew; nil: none
	Watch   func() (changed <-chan struct{}, stop func())          // signals that Present may say something else

	// Enter lets pass who may use cards now: inside ends when he may not any more, with the reason as its cause.
	Enter func(ctx context.Context) (inside context.Context, leave func(), err error)
	// Attended says why no command that carries a PIN is sent at the moment: Forbidden; nil: that is not known.
	Attended func() error
	// Asking is asked before a user is to enter a PIN; ended is told whether he did. PINCanceled: he is not to be asked now.
	Asking func(ctx context.Context, reader string, origin cardbroker.Origin) (ended func(entered bool), err error)
	Asker  cardend.Asker // nil: the user cannot be asked

	PagePINs bool                   // web pages may send commands that carry a PIN
	Record   func(cardbroker.Event) // for the audit log; must not block
}

// Loader serves the calls. Make it with [New]; any number of goroutines may use it while [Loader.Run] runs.
type Loader struct {
	cfg   Config
	loop  *loop.Loop[*state]
	state *state // owned by the loop
	view  atomic.Pointer[[]holder]
	moved chan struct{} // capacity 1: view is new
}

// holder says who has a reader, and until when at the latest.
type holder struct {
	reader string
	origin cardbroker.Origin
	last   time.Time
}

// New returns a loader without sessions.
func New(cfg Config) *Loader {
	l := &Loader{cfg: cfg, loop: loop.New[*state](), moved: make(chan struct{}, 1)}
	l.state = &state{loader: l}
	l.view.Store(&[]holder{})
	return l
}

// Run owns the sessions until ctx ends, and ends them then. It is called once.
func (l *Loader) Run(ctx context.Context) error {
	group := run.New(ctx)
	l.state.group = group
	group.Go("remote loading", func(ctx context.Context) error { return l.loop.Run(ctx, l.state) })
	group.Go("cards of remote loading", l.watch)
	err := group.Wait()
	for _, s := range l.state.sessions { // the loop has ended: nobody else is here
		s.end(errShutdown())
		if !s.busy {
			s.card.Close(cardbroker.ResetCard)
		}
	}
	return err
}

func errShutdown() error { return cardbroker.Errorf(cardbroker.Unavailable, "shutting down") }

// watch ends the sessions of cards that have gone. It watches only while there are any: a watcher keeps the sandbox running.
func (l *Loader) watch(ctx context.Context) error {
	var changed <-chan struct{}
	stop := func() {}
	defer func() { stop() }()
	for {
		if live := len(*l.view.Load()) > 0; live != (changed != nil) {
			stop()
			changed, stop = nil, func() {}
			if live {
				changed, stop = l.cfg.Watch()
			}
		}
		if changed != nil { // also at first: what happened before the watch
			gone := cardbroker.Errorf(cardbroker.CardRemoved, "the card is not there any more, and with it the session has ended")
			l.end(gone, func(s *session) bool { return l.cfg.Present(s.reader) != s.present })
		}
		select {
		case <-l.moved:
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// EndAll ends all sessions: the user has locked his screen, disconnected or logged off.
func (l *Loader) EndAll(why string) {
	l.loop.Must(func(st *state) error {
		st.lapses++
		st.drop(ended(why), func(*session) bool { return true })
		return nil
	})
}

// EndPages ends the sessions of some pages: those whose consent has ended. which touches memory only.
func (l *Loader) EndPages(why string, which func(cardbroker.Origin) bool) {
	l.end(ended(why), func(s *session) bool { return s.origin != "" && which(s.origin) })
}

func (l *Loader) end(why *cardbroker.Error, which func(*session) bool) {
	l.loop.Must(func(st *state) error {
		st.drop(why, which)
		return nil
	})
}

func ended(why string) *cardbroker.Error {
	return cardbroker.Errorf(cardbroker.SessionUnknown, "no active session: %s", why)
}
