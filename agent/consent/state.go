// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package consent

import (
	"context"
	"io/fs"
	"slices"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/loop"
)

const (
	pollEvery = 500 * time.Millisecond // how often the file is looked at where the system does not tell of changes
	maxAhead  = time.Hour              // how far in the future a consent may have been granted: clocks are set
)

// state is the loop's own.
type state struct {
	consents map[cardbroker.Origin]cardbroker.Consent // as the file says
	unstored map[cardbroker.Origin]bool               // revoked, but the file could not be written
	seen     fs.FileInfo                              // of the file as it was read; nil: there was none
	unread   bool                                     // the file may have changed
	polled   bool                                     // nobody tells of changes
	pollAt   time.Time

	changes   []*change // of this batch
	questions []*question
	held      map[cardbroker.Origin]time.Time // until when nobody is asked again
	strikes   []time.Time                     // when the user last did not say yes
}

// change is a consent that comes, or goes.
type change struct {
	origin  cardbroker.Origin
	consent *cardbroker.Consent // nil: it goes
	missing bool                // there was none to go
	done    chan error          // capacity 1
}

var _ loop.Owner[*state] = (*Book)(nil)

func newState() *state {
	return &state{
		consents: map[cardbroker.Origin]cardbroker.Consent{},
		unstored: map[cardbroker.Origin]bool{},
		held:     map[cardbroker.Origin]time.Time{},
		polled:   true,
	}
}

// Begin implements [loop.Owner]: commands touch questions, which are memory, and collect changes, which Commit stores.
func (b *Book) Begin() *state { return b.state }

// Commit stores the changes of the batch, tells who waits for them, shows the next question and publishes the view. It never
// fails: a change that could not be stored has its own error.
func (b *Book) Commit(ctx context.Context, s *state) error {
	if len(s.changes) > 0 {
		b.store(ctx, s)
	} else if s.unread {
		b.reload(ctx, s)
	}
	b.publish(s)
	b.show(s)
	return nil
}

// store writes the batch's changes to the file, over what other agents of the user have written meanwhile.
func (b *Book) store(ctx context.Context, s *state) {
	changes := s.changes
	s.changes, s.unread = nil, false
	now := time.Now()
	consents, seen, err := b.file.update(ctx, func(consents map[cardbroker.Origin]cardbroker.Consent) {
		for o := range s.unstored {
			delete(consents, o)
		}
		for o, c := range consents {
			if !now.Before(c.Expires) {
				delete(consents, o)
			}
		}
		for _, c := range changes {
			c.apply(consents)
		}
	})
	if err == nil {
		s.consents, s.seen = consents, seen
		clear(s.unstored)
	} else {
		b.cfg.Log.Error("consents cannot be stored", "err", err)
	}
	for _, c := range changes {
		b.finish(s, c, err)
	}
}

func (c *change) apply(consents map[cardbroker.Origin]cardbroker.Consent) {
	if c.consent != nil {
		consents[c.origin] = *c.consent
		return
	}
	_, known := consents[c.origin]
	c.missing = !known
	delete(consents, c.origin)
}

// finish tells who made a change, and who waits for an answer, what came of it. What was to end ends here, stored or not.
func (b *Book) finish(s *state, c *change, err error) {
	switch {
	case c.consent != nil && err == nil:
		delete(s.held, c.origin)
		s.strikes = nil
		b.cfg.Record(cardbroker.Event{Name: cardbroker.EventConsentGranted, Origin: c.origin})
		b.settle(s, c.origin, answer{consent: *c.consent})
	case c.consent != nil:
		b.settle(s, c.origin, answer{err: err})
	case c.missing && err == nil:
		err = cardbroker.Errorf(cardbroker.ObjectUnknown, "the user has not consented to this origin")
	default:
		if err != nil {
			s.unstored[c.origin] = true
		}
		b.cfg.Record(cardbroker.Event{Name: cardbroker.EventConsentRevoked, Origin: c.origin})
	}
	c.done <- err // capacity 1, and this is the only one
}

// reload reads the file if it is another than the one that was read last.
func (b *Book) reload(ctx context.Context, s *state) {
	s.unread = false
	if b.file.same(s.seen) {
		return
	}
	consents, seen, err := b.file.read()
	if isDamaged(err) {
		consents, seen, err = b.file.update(ctx, nil) // which sets it aside, unless somebody was quicker
	}
	if err != nil {
		b.cfg.Log.Error("consents cannot be read; there are none", "err", err)
		consents, seen = map[cardbroker.Origin]cardbroker.Consent{}, nil
	}
	s.consents, s.seen = consents, seen
}

// publish makes the view what the state is, and ends what is not in it any more.
func (b *Book) publish(s *state) {
	now, old := time.Now(), b.view.Load()
	next := &view{grants: map[cardbroker.Origin]*grant{}}
	same := true
	for o, c := range s.consents {
		c.Expires = earlier(c.Expires, c.Granted.Add(b.cfg.Policy.Life(0))) // policy may have changed since
		if s.unstored[o] || !now.Before(c.Expires) || c.Granted.After(now.Add(maxAhead)) || b.cfg.Policy.Denies(o) {
			continue
		}
		g := old.grants[o]
		if g == nil || g.Consent != c {
			g = &grant{Consent: c}
			g.during, g.end = context.WithCancel(context.Background())
			same = false
		}
		next.grants[o] = g
	}
	for _, q := range s.questions {
		next.waiting = append(next.waiting, Waiting{Origin: q.Origin, Days: q.Days, Deadline: q.deadline})
	}
	b.view.Store(next)
	for o, g := range old.grants {
		if next.grants[o] != g {
			g.end()
			same = false
		}
	}
	if !same {
		loop.Signal(b.changed)
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// Deadline implements [loop.Owner]: when a consent or a question expires, or the file is to be looked at.
func (b *Book) Deadline() (next time.Time) {
	sooner := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	for _, g := range b.view.Load().grants {
		sooner(g.Expires)
	}
	for _, q := range b.state.questions {
		sooner(q.deadline)
	}
	if b.state.polled {
		sooner(b.state.pollAt)
	}
	return next
}

// Tick implements [loop.Owner]. That a consent has expired shows when the view is published.
func (b *Book) Tick(s *state, now time.Time) {
	if s.polled && !now.Before(s.pollAt) {
		s.unread, s.pollAt = true, now.Add(pollEvery)
	}
	for _, q := range slices.Clone(s.questions) {
		if !now.Before(q.deadline) {
			b.refuse(s, q.Origin, now)
		}
	}
}

// watch has the file read again whenever another agent of the user has changed it.
func (b *Book) watch(ctx context.Context) error {
	note := func(polled bool) {
		b.loop.Must(func(s *state) error { // fails only when all ends
			s.unread, s.polled, s.pollAt = true, polled, time.Now().Add(pollEvery)
			return nil
		})
	}
	err := b.watcher(ctx, b.cfg.Dir, func() { note(false) })
	if ctx.Err() != nil {
		return nil
	}
	b.cfg.Log.Info("changes of consents are looked for by time", "err", err)
	note(true)
	return nil
}
