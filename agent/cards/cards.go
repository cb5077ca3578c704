// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package cards is the agent's end of the sandbox: it starts the child process that reaches the cards, knows its readers,
// carries commands to them, and kills and replaces a child that hangs or dies. The child may end at any moment and costs
// nobody more than the command that ran.
//
// Nothing here judges who may use a card, and nothing here loads a card library. The state belongs to one loop
// ([Sandbox.Run]); a command does not pass through it: the goroutine that sends a command also reads its answer.
package cards

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/child"
	"github.com/cardbroker/cardbroker/internal/loop"
	"github.com/cardbroker/cardbroker/internal/run"
)

// Config says which sandbox to run, and how long it may take.
type Config struct {
	Program   string        // path of cardsandbox; it and its directories writable by root and our own user only
	Args      []string      // what cardsandbox serves: "pcsc", "softcard", or "softcard" and a file
	Env       []string      // its whole environment, NAME=value each
	Idle      time.Duration // the child is stopped this long after its last use; 0: 60 s
	CallLimit time.Duration // a call that takes longer gets the child killed; 0: 120 s

	// Holder names the back end that holds the reader of that name, such as "a back end (tenant issuer)", and says until when,
	// such as "14:05". It touches memory only. nil: nobody can say.
	Holder func(reader string) (who, until string)

	// Release has other programs of the agent's let go of all cards, for a back end that wants one for itself. nil: there are none.
	Release func() error

	// Hidden says of which readers nobody is to know, by name: they are not there. It touches memory only. nil: of none.
	Hidden func(reader string) bool

	Log *slog.Logger // nil: nothing is logged
}

// Sandbox is the supervisor of one child process. The child is started when somebody needs it. All methods but Run may
// be called by anybody while Run runs; before that they wait, after it they answer Unavailable.
type Sandbox struct {
	cfg   Config
	loop  *loop.Loop[*state]
	view  atomic.Pointer[view]
	epoch atomic.Uint64 // the last that was given out
}

// view is what others may see of the state. It and all it points to is never changed.
type view struct {
	readers []cardbroker.Reader
	status  child.Status
}

// New returns a sandbox whose child is not started yet.
func New(cfg Config) *Sandbox {
	if cfg.Idle == 0 {
		cfg.Idle = time.Minute
	}
	if cfg.CallLimit == 0 {
		cfg.CallLimit = 2 * time.Minute
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Sandbox{cfg: cfg, loop: loop.New[*state]()}
	s.view.Store(&view{})
	s.epoch.Store(uint64(time.Now().UnixMicro())) // above those that earlier agents gave out
	return s
}

// Run owns the state and the child until ctx ends; then the child is ended and waited for. It is called once.
func (s *Sandbox) Run(ctx context.Context) error {
	group := run.New(ctx)
	st := newState(s, group)
	group.Go("sandbox", func(ctx context.Context) error { return s.loop.Run(ctx, st) })
	err := group.Wait()
	st.close() // the loop has ended: this is the only goroutine left
	return err
}

// Readers returns the session's readers, by name, and starts the child for that if none runs. The result is not to be
// changed. Errors: Unavailable (no child, and why), Timeout, Canceled.
func (s *Sandbox) Readers(ctx context.Context) ([]cardbroker.Reader, error) {
	var shown []cardbroker.Reader
	err := s.whenReady(ctx, func(st *state) error {
		shown = st.shown
		return nil
	})
	return shown, err
}

// Watch subscribes to changes of the readers: changed receives after each, several may be one signal, and [Sandbox.Snapshot]
// says what is there now. A subscriber keeps the child running. stop ends the subscription and may be called twice.
func (s *Sandbox) Watch() (changed <-chan struct{}, stop func()) {
	signal := make(chan struct{}, 1)
	s.tell(func(st *state) { st.watch(signal, true) })
	return signal, func() { s.tell(func(st *state) { st.watch(signal, false) }) }
}

// Forbid has every use of the readers answered with why from now on, and ends the child: what runs there ends with it. nil
// allows them again.
func (s *Sandbox) Forbid(why error) error {
	return s.tell(func(st *state) { st.life.Forbid(why) })
}

// Renew ends the child, and what runs there with it: the next one begins anew with the card service and lists the readers
// that are there now. Card epochs from now on are higher. Subscribers see the old readers go and the new ones come.
func (s *Sandbox) Renew() error { return s.tell((*state).renew) }

// Snapshot returns the readers as last seen, by name, and waits for nobody: none while no child runs. The result is not
// to be changed.
func (s *Sandbox) Snapshot() []cardbroker.Reader { return s.view.Load().readers }

// Present returns the card in the reader of that name as last seen, and waits for nobody; nil: there is none.
func (s *Sandbox) Present(reader string) *cardbroker.Card {
	for _, r := range s.Snapshot() {
		if r.Name == reader {
			return r.Card
		}
	}
	return nil
}

// Status returns the counters and waits for nobody.
func (s *Sandbox) Status() child.Status { return s.view.Load().status }

// Epoch returns the number of the latest card epoch of any reader, see [Card.Epoch].
func (s *Sandbox) Epoch() uint64 { return s.epoch.Load() }

// Open connects a back end to the card in the reader of that name, and starts the child for that if none runs. A reader is
// open once at a time; in shared mode local programs have their turns in between ([Sandbox.Turn]). Errors: ReaderUnknown,
// ReaderBusy, CardAbsent, CardMute, Unavailable, Timeout, Canceled.
func (s *Sandbox) Open(ctx context.Context, reader string, share cardbroker.ShareMode) (*Card, error) {
	return s.again(func() (*Card, error) { return s.open(ctx, s.newCard(reader, backEnd, share)) })
}

// again opens a card once more if the child turns out to have ended, which nobody had noticed: it asks the next child.
func (s *Sandbox) again(open func() (*Card, error)) (*Card, error) {
	c, err := open()
	if errors.Is(err, errEnded) {
		return open()
	}
	return c, err
}

func (s *Sandbox) newCard(reader string, p party, share cardbroker.ShareMode) *Card {
	return &Card{sandbox: s, reader: reader, party: p, share: share, calls: make(chan struct{}, 1)}
}

// open claims the reader for a Card and connects it.
func (s *Sandbox) open(ctx context.Context, c *Card) (*Card, error) {
	if err := s.whenReady(ctx, func(st *state) error { return st.claim(c) }); err != nil {
		return nil, err
	}
	err := c.connect(ctx)
	switch reason := cardbroker.ReasonOf(err); {
	case err == nil:
		return c, nil
	case c.connected && (reason == cardbroker.Timeout || reason == cardbroker.Canceled): // the connection may still come
		c.disconnect(cardbroker.LeaveCard)
	default:
		c.giveUp()
	}
	return nil, err
}

// whenReady has do run in the loop as soon as the child has told its readers.
func (s *Sandbox) whenReady(ctx context.Context, do func(*state) error) error {
	return child.Await(ctx, func() (again <-chan error, err error) {
		err = s.loop.Do(context.Background(), func(st *state) error {
			if again, err = st.life.WhenReady(); err != nil || again != nil {
				return err
			}
			return do(st)
		})
		return again, err
	})
}

// tell changes the state. It fails only when the loop has ended.
func (s *Sandbox) tell(change func(*state)) error {
	return s.loop.Must(func(st *state) error {
		change(st)
		return nil
	})
}
