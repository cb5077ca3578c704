// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package consent knows which web pages may use the cards of its user: those to whose origin he has said yes, and those
// that machine policy names. It asks him, keeps his answers in one file that all agents of the user share, and says at
// once to whom a consent ends. What it knows decides alone: what a page brings along, its code word or an older consent,
// grants nothing.
//
// One loop owns the consents and the questions that are open; it does the file's I/O when it commits. Who wants to know
// whether an origin is consented to reads the published view and waits for nobody.
package consent

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/loop"
	"github.com/cardbroker/cardbroker/internal/run"
)

// Config is what a [Book] is made of. Dir, DeviceKey, Record and Log are required.
type Config struct {
	Dir       string // the state directory, 0700
	Session   cardbroker.SessionID
	Policy    config.Consent
	Prompter  Prompter // nil: only the agent's own page and the command line answer
	DeviceKey func() string
	Record    func(cardbroker.Event) // must not block
	Log       *slog.Logger
}

// Prompter asks the user by a program of his desktop.
type Prompter interface {
	// AskConsent returns the user's answer, or an error if he could not be asked. It ends when ctx does, and its window
	// with it.
	AskConsent(ctx context.Context, q Question) (bool, error)
}

// Question is what the user is asked.
type Question struct {
	Origin cardbroker.Origin
	Days   int // that the page asks for; 0: as many as policy lets it. The [Book] puts in what it will be
}

// Book is the consents of one user. Make it with [New].
type Book struct {
	cfg     Config
	file    file
	loop    *loop.Loop[*state]
	state   *state // owned by the loop
	jobs    *run.Group
	watcher func(ctx context.Context, dir string, changed func()) error
	view    atomic.Pointer[view]
	changed chan struct{} // capacity 1
}

// view is what is consented to, and asked, at the moment. It is immutable.
type view struct {
	grants  map[cardbroker.Origin]*grant
	waiting []Waiting // the first is shown
}

// grant is one consent, and a context that ends when it does.
type grant struct {
	cardbroker.Consent
	during context.Context
	end    context.CancelFunc
}

// Waiting is a question that the user has not answered.
type Waiting struct {
	Origin   cardbroker.Origin
	Days     int
	Deadline time.Time
}

// New reads the user's consents. A file that is damaged counts as none and is kept aside.
func New(cfg Config) *Book {
	b := &Book{
		cfg:     cfg,
		file:    file{dir: cfg.Dir, log: cfg.Log},
		loop:    loop.New[*state](),
		state:   newState(),
		watcher: watch,
		changed: make(chan struct{}, 1),
	}
	b.view.Store(&view{})
	b.reload(context.Background(), b.state)
	b.publish(b.state)
	return b
}

// Run owns the consents, and the prompts that are open, until ctx ends.
func (b *Book) Run(ctx context.Context) error {
	b.jobs = run.New(ctx)
	b.jobs.Go("watch", b.watch)
	b.jobs.Go("loop", func(ctx context.Context) error { return b.loop.Run(ctx, b) })
	return b.jobs.Wait()
}

// Consented says whether web pages of the origin may use the user's cards now.
func (b *Book) Consented(o cardbroker.Origin) bool {
	if b.cfg.Policy.Allows(o) {
		return true
	}
	g := b.view.Load().grants[o]
	return g != nil && time.Now().Before(g.Expires)
}

// Current returns the consent that there is for an origin.
func (b *Book) Current(o cardbroker.Origin) (cardbroker.Consent, bool) {
	if b.cfg.Policy.Allows(o) {
		return b.byPolicy(o, time.Now()), true
	}
	g := b.view.Load().grants[o]
	if g == nil || !time.Now().Before(g.Expires) {
		return cardbroker.Consent{}, false
	}
	return g.Consent, true
}

// While returns a context that ends when the consent to an origin does: by the user, in any of his sessions, or by its time.
// Without a consent it has ended.
func (b *Book) While(o cardbroker.Origin) context.Context {
	if b.cfg.Policy.Allows(o) {
		return context.Background()
	}
	if g := b.view.Load().grants[o]; g != nil {
		return g.during
	}
	ended, end := context.WithCancel(context.Background())
	end()
	return ended
}

// List returns the user's own consents, by origin.
func (b *Book) List() []cardbroker.Consent {
	list := []cardbroker.Consent{}
	for _, g := range b.view.Load().grants {
		list = append(list, g.Consent)
	}
	slices.SortFunc(list, func(a, b cardbroker.Consent) int { return cmp.Compare(a.Origin, b.Origin) })
	return list
}

// Waiting returns what the user is being asked, in the order in which he is shown it.
func (b *Book) Waiting() []Waiting { return b.view.Load().waiting }

// Changed signals that consents have come or gone.
func (b *Book) Changed() <-chan struct{} { return b.changed }

// Grant records the user's yes for so many days, 0 for as long as policy lets it, and answers who waits for it. It returns
// once the consent is stored for good. Errors: Forbidden by policy, Unavailable if it could not be stored.
func (b *Book) Grant(ctx context.Context, q Question) (cardbroker.Consent, error) {
	if b.cfg.Policy.Denies(q.Origin) {
		return cardbroker.Consent{}, deniedByPolicy()
	}
	if b.cfg.Policy.Allows(q.Origin) {
		return b.byPolicy(q.Origin, time.Now()), nil
	}
	consent := b.newConsent(q, time.Now())
	return consent, b.change(ctx, &change{origin: q.Origin, consent: &consent, done: make(chan error, 1)})
}

// Refuse records the user's no: who waits is refused, as is who asks within a minute. A consent that there is ends.
func (b *Book) Refuse(ctx context.Context, o cardbroker.Origin) error {
	err := b.loop.Do(ctx, func(s *state) error {
		b.refuse(s, o, time.Now())
		return nil
	})
	if err != nil || b.view.Load().grants[o] == nil {
		return err
	}
	return b.Revoke(ctx, o)
}

// Revoke ends a consent, in all sessions of the user. If that could not be stored it is Unavailable, and has ended in this
// session all the same. ObjectUnknown: there is none. Forbidden: it is policy's.
func (b *Book) Revoke(ctx context.Context, o cardbroker.Origin) error {
	if b.cfg.Policy.Allows(o) {
		return cardbroker.Errorf(cardbroker.Forbidden, "machine policy consents to this origin; it cannot be revoked here")
	}
	return b.change(ctx, &change{origin: o, done: make(chan error, 1)})
}

// change has the loop store a change and returns what came of it.
func (b *Book) change(ctx context.Context, c *change) error {
	err := b.loop.Do(ctx, func(s *state) error {
		s.changes = append(s.changes, c)
		return nil
	})
	if err != nil {
		return err
	}
	return <-c.done // the batch that took the change has finished it
}

func (b *Book) newConsent(q Question, now time.Time) cardbroker.Consent {
	now = now.UTC().Truncate(time.Millisecond)
	return cardbroker.Consent{
		Origin: q.Origin, Granted: now, Expires: now.Add(b.cfg.Policy.Life(q.Days)), By: cardbroker.ConsentByUser,
		Session: b.cfg.Session, DeviceKeyThumbprint: b.cfg.DeviceKey(),
	}
}

func (b *Book) byPolicy(o cardbroker.Origin, now time.Time) cardbroker.Consent {
	c := b.newConsent(Question{Origin: o}, now)
	c.By = cardbroker.ConsentByPolicy
	return c
}

func deniedByPolicy() error {
	return cardbroker.Refusef(cardbroker.Forbidden, cardbroker.RuleConsentPolicy, "machine policy denies this origin")
}
