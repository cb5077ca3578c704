// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cardbroker/cardbroker/test/bench/failover"
	"github.com/cardbroker/cardbroker/test/bench/sample"
	"github.com/cardbroker/cardbroker/test/election/bed"
)

const writers = 4

// deaths kills the leader again and again while writers write. Each time all other agents are there with the next one.
func deaths(ctx context.Context, b *bed.Bed, s show) (found, error) {
	r, err := s.begin(ctx, b, s.agents+1)
	if err != nil {
		return found{}, err
	}
	if err := r.rounds(ctx, s.rounds); err != nil {
		return found{}, err
	}
	return r.end(failover.Failover, failoverLimit)
}

// run is a host whose leaders die, and what has happened so far.
type run struct {
	bed     *bed.Bed
	terms   *bed.Terms
	writers []bed.Writer
	epoch   uint64          // of the registry of the moment
	first   []time.Duration // from a death to the first answer of the next
	took    []time.Duration // to all that are there
	busy    []time.Duration // what all others have computed meanwhile
	slack   time.Duration   // beyond the limits
	checked int             // of what writers were acknowledged: found again
	watch   func() error
}

// begin starts agents, one more than are to be left where one dies, and the writers.
func (s show) begin(ctx context.Context, b *bed.Bed, agents int) (*run, error) {
	r := &run{bed: b, terms: &bed.Terms{}, slack: s.slack}
	if err := b.Start(agents); err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	err := b.Settled(limited, b.Agents...)
	if err != nil {
		return nil, err
	}
	if r.writers, err = b.StartWriters(writers); err != nil {
		return nil, err
	}
	over, end := context.WithCancel(ctx)
	watched := make(chan error, 1)
	go func() { watched <- b.Watch(over, r.terms) }()
	r.watch = func() error { end(); return <-watched }
	return r, r.enter(ctx)
}

// rounds has n leaders die.
func (r *run) rounds(ctx context.Context, n int) error {
	for i := range n {
		if err := r.round(ctx); err != nil {
			return fmt.Errorf("round %d: %w", i+1, err)
		}
	}
	return nil
}

// enter waits for the first registry.
func (r *run) enter(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	_, lists, err := r.bed.Await(ctx, 0)
	return r.take(ctx, err, lists)
}

// looks is how often something is looked at that may be about to change: a port may have changed hands between two answers.
const looks = 3

// take takes the epoch of the lists, and checks what else they say.
func (r *run) take(ctx context.Context, err error, lists map[uint32]bed.List) error {
	if err != nil {
		return err
	}
	note := func(lists map[uint32]bed.List) {
		for _, list := range lists {
			r.epoch = list.Epoch
		}
	}
	note(lists)
	return sound(lists, func() (map[uint32]bed.List, error) {
		_, lists, err := r.bed.Await(ctx, r.epoch-1)
		note(lists)
		return lists, err
	})
}

// sound checks what lists say. Where something is wrong it asks again: it may have been about to change.
func sound(lists map[uint32]bed.List, again func() (map[uint32]bed.List, error)) (err error) {
	for look := 1; ; look++ {
		wrong := bed.Check(lists)
		if wrong == nil || look == looks {
			return wrong
		}
		if lists, err = again(); err != nil {
			return err
		}
	}
}

// round kills the leader, waits for the next one, checks and starts the killed agent anew.
func (r *run) round(ctx context.Context) error {
	leader, err := r.bed.Leader()
	if err != nil || leader == nil {
		return errors.Join(err, errors.New("nobody leads"))
	}
	before, began := r.bed.AllBusy(leader), time.Now()
	leader.Kill()
	if err := r.next(ctx, began); err != nil {
		return fmt.Errorf("after the death of agent %s: %w", leader.Session, err)
	}
	r.busy = append(r.busy, r.bed.AllBusy(leader)-before)
	return r.back(ctx, leader)
}

// back starts agents anew, and waits until they have come to rest.
func (r *run) back(ctx context.Context, agents ...*bed.Agent) error {
	if err := r.bed.Restart(agents...); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	return r.bed.Settled(ctx, agents...)
}

// next waits for the registry after the one of the moment, and checks what it has.
func (r *run) next(ctx context.Context, began time.Time) error {
	limited, cancel := context.WithTimeout(ctx, failoverLimit)
	defer cancel()
	at, lists, err := r.bed.Await(limited, r.epoch)
	if err := r.take(limited, err, lists); err != nil {
		return err
	}
	if err := r.bed.Look(ctx, r.terms); err != nil {
		return err
	}
	r.first, r.took = append(r.first, at.First.Sub(began)), append(r.took, at.All.Sub(began))
	return r.kept(ctx, bed.ListOf)
}

// kept checks that the registry lists what writers had been acknowledged before.
func (r *run) kept(ctx context.Context, ask bed.Source) error {
	ctx, cancel := context.WithTimeout(ctx, keptLimit)
	defer cancel()
	n, err := bed.Kept(ctx, ask, r.writers)
	r.checked += n
	return err
}

// end sums up. No failover may have taken longer than the limit.
func (r *run) end(name string, limit time.Duration) (found, error) {
	err := r.watch()
	if err != nil {
		return found{}, err
	}
	n, _, wrong := r.terms.Seen()
	if len(wrong) > 0 {
		return found{}, errors.New(wrong[0])
	}
	acknowledged := 0
	for _, w := range r.writers {
		notes, err := w.Read()
		if err != nil {
			return found{}, err
		}
		if len(notes.Refused) > 0 {
			return found{}, fmt.Errorf("acknowledged and lost: %s", notes.Refused[0])
		}
		acknowledged += notes.Acknowledged
	}
	if r.checked == 0 {
		return found{}, errors.New("writers had nothing to lose")
	}
	if worst := slices.Max(r.took); worst > limit+r.slack {
		return found{}, fmt.Errorf("a failover took %v, want at most %v", worst, limit+r.slack)
	}
	if len(r.busy) == 0 {
		r.busy = []time.Duration{0}
	}
	return found{
		Millis: map[string][]float64{
			name:                                     sample.Each(r.took, sample.Millis),
			"processor time of all agents meanwhile": sample.Each(r.busy, sample.Millis),
			"kill -9 to the next one's first answer": sample.Each(r.first, sample.Millis),
		},
		Counts: map[string]int{"terms seen": n, "acknowledged to writers": acknowledged, "found again after a failover": r.checked, "lost": 0},
	}, nil
}
