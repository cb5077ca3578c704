// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/cardbroker/cardbroker/test/election/bed"
)

// stillFor is how long nobody may take the office of a leader that is stopped.
const stillFor = 1200 * time.Millisecond

// hang stops the leader: its port cannot be stolen, so that nobody takes office, and doctor says whom to end. Then it goes on as if
// nothing had been; and stopped anew and killed, it is replaced.
func hang(ctx context.Context, b *bed.Bed, s show) (found, error) {
	r, err := s.begin(ctx, b, s.agents+1)
	if err != nil {
		return found{}, err
	}
	leader, err := b.Leader()
	if err != nil || leader == nil {
		return found{}, errors.Join(err, errors.New("nobody leads"))
	}
	leader.Signal(syscall.SIGSTOP)
	if err := b.Still(ctx, leader, stillFor); err != nil {
		return found{}, err
	}
	if err := b.Accused(leader); err != nil {
		return found{}, err
	}
	leader.Signal(syscall.SIGCONT)
	limited, cancel := context.WithTimeout(ctx, failoverLimit)
	defer cancel()
	_, lists, err := b.Await(limited, r.epoch-1)
	if err := r.take(limited, err, lists); err != nil {
		return found{}, fmt.Errorf("after it went on: %w", err)
	}
	if leader, err = b.Leader(); err != nil || leader == nil {
		return found{}, errors.Join(err, errors.New("nobody leads after it went on"))
	}
	leader.Signal(syscall.SIGSTOP)
	if err := b.Still(ctx, leader, stillFor/3); err != nil {
		return found{}, err
	}
	began := time.Now()
	leader.Kill()
	if err := r.next(ctx, began); err != nil {
		return found{}, fmt.Errorf("after the death of a stopped leader: %w", err)
	}
	return r.end("failover of a leader that was stopped, kill -9 to all others registered", hintLimit)
}

const leavers = 5 // at each takeover

// leave has agents end as their users would while the office changes hands: by kill -9 of the leader, and by its own end.
func leave(ctx context.Context, b *bed.Bed, s show) (found, error) {
	r, err := s.begin(ctx, b, s.agents+1)
	if err != nil {
		return found{}, err
	}
	for i := range s.rounds {
		leader, err := b.Leader()
		if err != nil || leader == nil {
			return found{}, errors.Join(err, errors.New("nobody leads"))
		}
		var gone []*bed.Agent
		for n := range leavers {
			if a := b.Agents[(i*leavers+n)%len(b.Agents)]; a != leader {
				gone = append(gone, a)
			}
		}
		began := time.Now()
		if i%2 == 0 {
			leader.Kill()
		} else if status := leader.Stop(); status != 0 {
			return found{}, fmt.Errorf("the leader, agent %s, has ended with status %d", leader.Session, status)
		}
		if err := stopAll(gone); err != nil {
			return found{}, fmt.Errorf("round %d: %w", i+1, err)
		}
		if err := r.next(ctx, began); err != nil {
			return found{}, fmt.Errorf("round %d: %w", i+1, err)
		}
		if err := r.back(ctx, append(gone, leader)...); err != nil {
			return found{}, err
		}
	}
	return r.end("failover while agents leave, to all others registered", failoverLimit)
}

// stopAll ends agents at once: each ends in time and well.
func stopAll(agents []*bed.Agent) error {
	failed := make([]error, len(agents))
	var all sync.WaitGroup
	for i, a := range agents {
		all.Go(func() {
			began := time.Now()
			status := a.Stop()
			if took := time.Since(began); status != 0 || took > 15*time.Second {
				failed[i] = fmt.Errorf("agent %s has ended with status %d after %v", a.Session, status, took)
			}
		})
	}
	all.Wait()
	return errors.Join(failed...)
}
