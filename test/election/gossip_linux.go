// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker/test/bench/failover"
	"github.com/cardbroker/cardbroker/test/bench/proc"
	"github.com/cardbroker/cardbroker/test/bench/sample"
	"github.com/cardbroker/cardbroker/test/election/bed"
)

// hintLimit is how long a failover may take with gossip that is worth nothing.
const hintLimit = time.Second

// cut kills the leader while no packet and no stream of gossip gets through, from the first moment on and, later, all at once.
func cut(ctx context.Context, b *bed.Bed, s show) (found, error) {
	if err := b.CutGossip(); err != nil {
		return found{}, err
	}
	r, err := s.begin(ctx, b, s.agents+1)
	if err != nil {
		return found{}, err
	}
	if err := r.rounds(ctx, s.rounds/2); err != nil {
		return found{}, fmt.Errorf("never any gossip: %w", err)
	}
	if err := b.MendGossip(); err != nil {
		return found{}, err
	}
	if err := r.rounds(ctx, 1); err != nil {
		return found{}, err
	}
	if err := b.CutGossip(); err != nil {
		return found{}, err
	}
	if err := r.rounds(ctx, s.rounds/2); err != nil {
		return found{}, fmt.Errorf("gossip that was cut: %w", err)
	}
	if err := b.MendGossip(); err != nil {
		return found{}, err
	}
	return r.end("failover without gossip, kill -9 to all others registered", hintLimit)
}

const (
	forgers      = 2
	forgedGrowth = 24 // MiB that lies may have a voter occupy
)

// forge kills the leader while programs of another user tell voters whatever confuses them.
func forge(ctx context.Context, b *bed.Bed, s show) (found, error) {
	r, err := s.begin(ctx, b, s.agents+1)
	if err != nil {
		return found{}, err
	}
	if err := r.rounds(ctx, 1); err != nil {
		return found{}, err
	}
	before, err := heaviest(b)
	if err != nil {
		return found{}, err
	}
	for i := range s.rounds {
		end, err := lies(b, fmt.Sprint("forger", i))
		if err == nil {
			err = errors.Join(r.rounds(ctx, 1), end())
		}
		if err != nil {
			return found{}, err
		}
	}
	after, err := heaviest(b)
	if err != nil {
		return found{}, err
	}
	if after > before+forgedGrowth {
		return found{}, fmt.Errorf("an agent occupies %.1f MiB after all the lies, before %.1f", after, before)
	}
	f, err := r.end("failover with forged gossip, kill -9 to all others registered", hintLimit)
	if err == nil {
		f.Counts["MiB of the heaviest agent before"], f.Counts["MiB of the heaviest agent after"] = int(before), int(after)
	}
	return f, err
}

// lies starts forgers, and returns what ends them.
func lies(b *bed.Bed, name string) (end func() error, err error) {
	sockets, err := bed.Gossip()
	if err != nil {
		return nil, err
	}
	args := []string{"forge"}
	for _, s := range sockets {
		args = append(args, fmt.Sprint(s.Address.Port()))
	}
	if len(args) == 1 {
		return nil, errors.New("nobody gossips")
	}
	var ends []func()
	for i := range forgers {
		said, stop, err := b.PlayAs(b.Stranger(), fmt.Sprintf("%s-%d", name, i), args...)
		if err != nil {
			return nil, err
		}
		ends = append(ends, stop)
		line, err := said.ReadString('\n')
		if err != nil || strings.TrimSpace(line) == "0" {
			return nil, fmt.Errorf("a forger has not learnt a name: %q, %w", line, err)
		}
	}
	return func() error {
		for _, stop := range ends {
			stop()
		}
		return nil
	}, nil
}

// heaviest returns what the agent occupies that occupies most, in MiB.
func heaviest(b *bed.Bed) (most float64, err error) {
	for _, a := range b.Agents {
		used, err := proc.MemoryOf(a.PID())
		if err != nil {
			return 0, err
		}
		most = max(most, used.PrivateDirty)
	}
	return most, nil
}

// peer measures how soon the others know of a member's death by gossip alone, with as many members as there are voters.
func peer(ctx context.Context, b *bed.Bed, s show) (found, error) {
	const members = 7
	circle, err := b.StartMembers(members)
	if err != nil {
		return found{}, err
	}
	var took []time.Duration
	for i := range min(s.rounds, peerRounds) {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		one, err := circle.Kill(ctx, i%members)
		cancel()
		if err != nil {
			return found{}, err
		}
		took = append(took, one)
	}
	return found{Millis: map[string][]float64{failover.Peer: sample.Each(took, sample.Millis)}}, nil
}

const peerRounds = 2
