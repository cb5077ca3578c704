// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build cgo || windows

package pcsc

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ebfe/scard"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/sandbox"
)

var _ sandbox.Readers = (*Readers)(nil)

// Readers are the readers of PC/SC.
type Readers struct {
	log      *slog.Logger
	watching atomic.Bool
	numbers  atomic.Uint64        // given out to watches, readers and cards
	view     atomic.Pointer[view] // nil: nobody watches
	joining  chan struct{}        // capacity 1: see join
}

// view is what the watcher knows. It is never changed.
type view struct {
	watch uint64          // this view's watch
	seats map[string]seat // by the reader's name
}

// seat says which reader and which card it is: another one of the same name has another number.
type seat struct{ reader, card uint64 }

const (
	serviceLimit = 2 * time.Second // for a service that is started on demand
	deniedLimit  = time.Second     // for a denial, which is not believed at once
	maxName      = 127             // bytes of a reader's name
	maxLists     = 10              // questions for a list that grows meanwhile
)

// New returns the readers of PC/SC. It does not ask for the service yet. A process makes one of them, because it may watch
// only once.
func New(log *slog.Logger) *Readers { return &Readers{log: log, joining: make(chan struct{}, 1)} }

// joinLimit is how long others wait for a connection that waits in C.
const joinLimit = time.Second

// join takes the turn to make a context and to connect in it; whoever has it calls the result when it is connected.
//
// libpcsclite (1.9.9) finds a handle by going through the contexts in the order in which they were made, and through the
// handles of each, while SCardConnect adds one to its own: who comes by in that very moment follows a pointer to nowhere. In
// turn, the context that connects is the newest, and nobody with a handle comes by. A connection that waits in C for another
// program's transaction lets others go first after a while: for its end there is only chance, and that is good.
func (r *Readers) join() (done func()) {
	r.joining <- struct{}{} // who has it gives it up by himself
	leave := sync.OnceFunc(func() { <-r.joining })
	late := time.AfterFunc(joinLimit, leave)
	return func() {
		late.Stop()
		leave()
	}
}

// A service that is just finding out that a card was removed has no ATR of it any more, and says of the next connection that card and reader
// have no protocol in common, or makes one without a protocol. It knows better a moment later.
const (
	connectTries = 3
	connectPause = 10 * time.Millisecond
)

// Connect opens a connection to the card in the named reader. While another program holds a transaction on the reader it
// waits in C for its end, and nothing can end that wait. Errors: ReaderUnknown, ReaderBusy, CardAbsent, CardRemoved, CardMute,
// Unsupported (no protocol in common), Forbidden, Overloaded, Unavailable (no service), Invalid (the share mode).
func (r *Readers) Connect(name string, share cardbroker.ShareMode) (sandbox.Card, error) {
	switch {
	case share < cardbroker.ShareExclusive || share > cardbroker.ShareDirect:
		return nil, cardbroker.Errorf(cardbroker.Invalid, "share mode %d, want 1 to 3", share)
	case !isName(name):
		return nil, cardbroker.Errorf(cardbroker.ReaderUnknown, "no such reader")
	}
	for try := 1; ; try++ {
		c, err := r.connect(name, share)
		if err == nil {
			return c, nil
		}
		if codeOf(err) != codeProtoMismatch || try == connectTries {
			return nil, err
		}
		pause(context.Background(), connectPause)
	}
}

// connect opens a connection.
func (r *Readers) connect(name string, share cardbroker.ShareMode) (_ *connection, err error) {
	c := &connection{readers: r, name: name, share: share}
	if v := r.view.Load(); v != nil {
		c.watch, c.seat = v.watch, v.seats[name]
	}
	joined := r.join()
	defer joined()
	if c.context, err = establish(context.Background()); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			c.context.Release() // and with it the connection
		}
	}()
	if c.card, err = c.context.Connect(name, scard.ShareMode(share), c.protocols()); err != nil {
		code := codeOf(err)
		if _, ended := list(c.context); code == codeDenied && isLost(codeOf(ended)) {
			code = codeNoService
		}
		return nil, explain(err, code, opening)
	}
	joined()
	if err := c.look(); err != nil {
		return nil, explain(err, codeOf(err), holding)
	}
	return c, nil
}

// isName says whether a reader can have that name.
func isName(name string) bool {
	return name != "" && len(name) <= maxName && !strings.Contains(name, "\x00")
}

// establish returns a new context. Where the service does not run it tries again for two seconds: it may be starting on
// demand, or anew.
func establish(ctx context.Context) (*scard.Context, error) {
	start := time.Now()
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		c, err := scard.EstablishContext()
		if err == nil {
			return c, nil
		}
		code := codeOf(err)
		switch {
		case !isLost(code), code == codeDenied && time.Since(start) > deniedLimit:
			return nil, explain(err, code, opening)
		case time.Since(start)+wait > serviceLimit:
			return nil, cardbroker.Wrapf(err, cardbroker.Unavailable, "no PC/SC service answers at %s", place())
		}
		if err := pause(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// pause waits, or returns ctx's error.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// list returns the names of all readers, in the service's order.
func list(c *scard.Context) (names []string, err error) {
	for range maxLists {
		names, err = c.ListReaders()
		if codeOf(err) != codeShortBuffer { // else a reader came between the question for the length and that for the list
			break
		}
	}
	if codeOf(err) == codeNoReaders {
		return nil, nil
	}
	return names, err
}

// codeOf returns the number in err's chain that a PC/SC call returned, or 0.
func codeOf(err error) uint32 {
	e, _ := errors.AsType[scard.Error](err)
	return uint32(e)
}
