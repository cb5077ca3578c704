// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cardbroker/cardbroker/test/bench/failover"
	"github.com/cardbroker/cardbroker/test/bench/proc"
	"github.com/cardbroker/cardbroker/test/bench/sample"
	"github.com/cardbroker/cardbroker/test/election/bed"
)

const (
	crowdUID   = 70000
	crowdUsers = 63 // of 16 agents each: as many as they may have
	crowdEach  = 16
	crowdParts = 3 // processes
	crowdLimit = 20 * time.Second
)

// crowd kills the leader while a thousand more have their link to it.
func crowd(ctx context.Context, b *bed.Bed, s show) (found, error) {
	if err := b.Start(s.agents/3 + 1); err != nil {
		return found{}, err
	}
	parts, err := b.StartCrowd(crowdParts, crowdUID, crowdUsers/crowdParts, crowdEach)
	if err != nil {
		return found{}, err
	}
	r := &run{bed: b, terms: &bed.Terms{}}
	if err := r.enter(ctx); err != nil {
		return found{}, err
	}
	if err := b.Settled(ctx, b.Agents...); err != nil {
		return found{}, err
	}
	if _, err := parts.Await(ctx, r.epoch, crowdLimit); err != nil {
		return found{}, err
	}
	var took []time.Duration
	for i := range min(s.rounds, 3) {
		leader, err := b.Leader()
		if err != nil || leader == nil {
			return found{}, errors.Join(err, errors.New("nobody leads"))
		}
		began := time.Now()
		leader.Kill()
		at, err := parts.Await(ctx, r.epoch+1, crowdLimit)
		if err != nil {
			return found{}, fmt.Errorf("round %d: %w", i+1, err)
		}
		took = append(took, at.Sub(began))
		if err := r.enter(ctx); err != nil {
			return found{}, err
		}
		if err := b.CheckCrowd(ctx, parts); err != nil {
			return found{}, err
		}
		if err := r.back(ctx, leader); err != nil {
			return found{}, err
		}
	}
	return found{Millis: map[string][]float64{failover.Crowd: sample.Each(took, sample.Millis)},
		Counts: map[string]int{"watchers": crowdUsers * crowdEach}}, nil
}

const (
	idleSettles = 15 * time.Second
	idleWindow  = 15 * time.Second
	idleAgents  = 16
)

// idle counts what agents do while nothing happens: those that watch, and those that gossip.
func idle(ctx context.Context, b *bed.Bed, s show) (found, error) {
	if err := b.Start(idleAgents); err != nil {
		return found{}, err
	}
	if err := b.Settled(ctx, b.Agents...); err != nil {
		return found{}, err
	}
	if err := pause(ctx, idleSettles); err != nil {
		return found{}, err
	}
	voters, watchers, err := b.Roles()
	if err != nil {
		return found{}, err
	}
	wakes, err := proc.CountAll(watchers, proc.Wakes)
	if err != nil {
		return found{}, err
	}
	busy, err := proc.CountAll(voters, bed.Busy)
	if err != nil {
		return found{}, err
	}
	began := time.Now()
	if err := pause(ctx, idleWindow); err != nil {
		return found{}, err
	}
	took := time.Since(began)
	busyThen, err := proc.CountAll(voters, bed.Busy)
	if err != nil {
		return found{}, err
	}
	wakesThen, err := proc.CountAll(watchers, proc.Wakes)
	if err != nil {
		return found{}, err
	}
	f := found{Counts: map[string]int{"voters": len(voters), "watchers": len(watchers)}, Shares: map[string][]float64{}, Wakes: map[string][]float64{}}
	for i := range voters {
		f.Shares[failover.Voter] = append(f.Shares[failover.Voter], 100*float64(busyThen[i]-busy[i])/float64(took))
	}
	for i := range watchers {
		f.Wakes[failover.Watcher] = append(f.Wakes[failover.Watcher], float64(wakesThen[i]-wakes[i]))
	}
	if again, _, err := b.Roles(); err != nil || len(again) != len(voters) || len(voters) == 0 {
		return found{}, fmt.Errorf("%d voters, then %d: %w", len(voters), len(again), errors.Join(err))
	}
	return f, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
