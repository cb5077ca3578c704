// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package remote shows the readers behind tunnels to a PC/SC server: each tunnel is a reader, whose lease is kept for as long
// as the server runs. It owns no tunnel, only what follows them.
package remote

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/virtualreader"
	"github.com/cardbroker/cardbroker/virtualreader/pcscd"
)

// Readers are readers behind tunnels. A tunnel that has ended is a reader that is gone, and with the last of them Watch ends.
type Readers struct {
	log     *slog.Logger
	ready   func()
	readers []reader
}

// reader is a reader behind a tunnel.
type reader struct {
	name   string
	tunnel *virtualreader.Tunnel
	behind chan chan<- struct{} // what is closed when all that the tunnel has told was passed on
	over   chan struct{}        // closed when nothing more is
}

// news is an event, or asks for a sign that those before it were passed on.
type news struct {
	pcscd.Event
	told chan<- struct{} // nil: an event
}

var _ pcscd.Source = (*Readers)(nil)

// maxName is the longest name of a reader that PC/SC programs get, in bytes.
const maxName = 127

// firstWord is how long a list waits for the cards of readers whose tunnels are slow.
const firstWord = 2 * time.Second

// New returns the readers behind the tunnels, which somebody else closes. A name that is there already gets a number.
// ready is called once, when clients see all readers; it must not block.
func New(tunnels []*virtualreader.Tunnel, ready func(), log *slog.Logger) *Readers {
	r := &Readers{log: log, ready: ready}
	taken := map[string]bool{}
	for _, tunnel := range tunnels {
		name := tunnel.Reader
		for n := 2; taken[name]; n++ {
			suffix := fmt.Sprintf(" (%d)", n)
			cut := tunnel.Reader[:min(len(tunnel.Reader), maxName-len(suffix))]
			name = strings.ToValidUTF8(cut, "") + suffix // not half a letter
		}
		taken[name] = true
		r.readers = append(r.readers, reader{name: name, tunnel: tunnel, behind: make(chan chan<- struct{}), over: make(chan struct{})})
	}
	return r
}

// Names returns the names of the readers, in the order of their tunnels.
func (r *Readers) Names() []string {
	names := make([]string, len(r.readers))
	for i, reader := range r.readers {
		names[i] = reader.name
	}
	return names
}

// Watch implements [pcscd.Source] and keeps the leases meanwhile. It is called once. It returns ctx's error, or why the last
// tunnel has ended.
func (r *Readers) Watch(ctx context.Context, emit func(pcscd.Event)) error {
	group := run.New(ctx)
	defer group.Stop()
	events := make(chan news)
	for _, reader := range r.readers {
		emit(pcscd.Event{Reader: reader.name, Present: true})
		group.Go("follow "+reader.name, func(ctx context.Context) error { return reader.follow(ctx, events) })
		group.Go("keep lease of "+reader.name, func(ctx context.Context) error { return reader.keepLease(ctx, r.log) })
	}
	late := time.NewTimer(firstWord)
	defer late.Stop()
	complete := func() {
		emit(pcscd.Event{}) // that was all
		r.ready()
	}
	heard, open := map[string]bool{}, len(r.readers)
	for open > 0 {
		select {
		case n := <-events:
			if n.told != nil {
				close(n.told)
				continue
			}
			e := n.Event
			emit(e)
			if heard[e.Reader] = true; len(heard) == len(r.readers) && late.Stop() {
				complete()
			}
			if !e.Present {
				open--
			}
		case <-late.C:
			complete()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return r.why()
}

// why returns why the tunnels have ended.
func (r *Readers) why() error {
	var all []error
	for _, reader := range r.readers {
		all = append(all, fmt.Errorf("reader %q: %w", reader.name, reader.tunnel.Err()))
	}
	return errors.Join(all...)
}

// follow sends what happens in the reader until its tunnel ends.
func (r reader) follow(ctx context.Context, events chan<- news) error {
	defer close(r.over)
	inside, lasts := false, true
	pass := func(n news) {
		select {
		case events <- n:
		case <-ctx.Done():
		}
	}
	tell := func(e virtualreader.CardEvent) {
		if e.Card != nil && inside { // the tunnel keeps the newest event only: that the other was taken out came before
			pass(news{Event: pcscd.Event{Reader: r.name, Present: true}})
		}
		inside = e.Card != nil
		pass(news{Event: pcscd.Event{Reader: r.name, Present: lasts, Card: e.Card}})
	}
	for lasts && ctx.Err() == nil {
		var e virtualreader.CardEvent
		select {
		case e, lasts = <-r.tunnel.Events():
			tell(e)
		case told := <-r.behind:
			select {
			case e, lasts = <-r.tunnel.Events():
				tell(e)
			default:
			}
			pass(news{told: told})
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// catchUp waits until all that the tunnel has told so far was passed on.
func (r reader) catchUp(ctx context.Context) {
	told := make(chan struct{})
	select {
	case r.behind <- told:
	case <-r.over:
		return
	case <-ctx.Done():
		return
	}
	select {
	case <-told:
	case <-r.over:
	case <-ctx.Done():
	}
}

// keepLease renews the lease when half of it is over.
func (r reader) keepLease(ctx context.Context, log *slog.Logger) error {
	lease := r.tunnel.Lease
	for {
		timer := time.NewTimer(lease / 2)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		renewed, err := r.tunnel.Renew(ctx, r.tunnel.Lease)
		if err != nil { // the tunnel ends with its lease, and says so
			if ctx.Err() == nil && r.tunnel.Err() == nil {
				log.Warn("the lease of a reader is not renewed", "reader", r.name, "err", err)
			}
			return nil
		}
		lease = renewed
	}
}

// Connect implements [pcscd.Source]. The end of ctx in the middle of a call is the tunnel's.
func (r *Readers) Connect(ctx context.Context, reader string, share cardbroker.ShareMode) (pcscd.Card, error) {
	for _, remote := range r.readers {
		if remote.name != reader {
			continue
		}
		c := &card{tunnel: remote.tunnel, share: share}
		if err := c.connect(ctx); err != nil {
			return nil, err
		}
		remote.catchUp(ctx) // the far end has told of earlier cards before it answered
		return c, nil
	}
	return nil, cardbroker.Errorf(cardbroker.ReaderUnknown, "there is no reader %q", reader)
}

// card is the connection that the far end holds for a tunnel.
type card struct {
	tunnel *virtualreader.Tunnel
	share  cardbroker.ShareMode
	info   cardbroker.Card
}

var _ pcscd.Card = (*card)(nil)

func (c *card) connect(ctx context.Context) (err error) {
	c.info, err = c.tunnel.Connect(ctx, c.share)
	return err
}

func (c *card) Info() cardbroker.Card { return c.info }

func (c *card) Transmit(ctx context.Context, dst, command []byte) ([]byte, error) {
	answer, err := c.tunnel.Transmit(ctx, command)
	if err != nil {
		return dst, c.failed(ctx, err)
	}
	dst = append(dst, answer.Response...)
	clear(answer.Response) // it may hold a key
	return dst, nil
}

func (c *card) Begin(ctx context.Context) error { return c.failed(ctx, c.tunnel.Begin(ctx)) }

func (c *card) End(ctx context.Context, d cardbroker.Disposition) error {
	return c.failed(ctx, c.tunnel.End(ctx, d))
}

func (c *card) Control(ctx context.Context, dst []byte, code uint32, in []byte) ([]byte, error) {
	out, err := c.tunnel.Control(ctx, code, in)
	if err != nil {
		return dst, c.failed(ctx, err)
	}
	return append(dst, out...), nil
}

func (c *card) Attribute(ctx context.Context, id uint32) ([]byte, error) {
	value, err := c.tunnel.Attribute(ctx, id)
	return value, c.failed(ctx, err)
}

func (c *card) Disconnect(ctx context.Context, d cardbroker.Disposition) error {
	return c.tunnel.Disconnect(ctx, d)
}

// failed returns err. After a reset, and after a command that may have run, the far end wants the card connected to anew,
// which is what makes the connection good again. A tunnel that has ended is a reader that is not there.
func (c *card) failed(ctx context.Context, err error) error {
	switch cardbroker.ReasonOf(err) {
	case "":
		return nil
	case cardbroker.CardReset, cardbroker.Indeterminate:
		if c.tunnel.Err() != nil {
			return err
		}
		if again := c.connect(ctx); again != nil && cardbroker.ReasonOf(err) == cardbroker.CardReset {
			return cardbroker.Wrapf(again, cardbroker.CardRemoved, "the card was reset, and cannot be connected to any more")
		}
	}
	return err
}
