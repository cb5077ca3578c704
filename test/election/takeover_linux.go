// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cardbroker/cardbroker/test/bench/sample"
	"github.com/cardbroker/cardbroker/test/election/bed"
	"github.com/cardbroker/cardbroker/test/stage"
)

// afterService is how long agents wait for a service to come back.
const afterService = 10 * time.Second

// takeover starts a service, which takes over from whoever was elected; and ends it for good, after which the agents elect again. No agent
// ends or moves, and nothing that was acknowledged is lost, either way.
func takeover(ctx context.Context, b *bed.Bed, s show) (found, error) {
	r, err := s.begin(ctx, b, s.agents)
	if err != nil {
		return found{}, err
	}
	h := &handover{run: r, pids: make(map[string]int)}
	for _, a := range b.Agents {
		h.pids[a.Session] = a.PID()
	}
	for i := range s.rounds {
		service, err := h.there(ctx, fmt.Sprint("service", i))
		if err == nil {
			err = h.andBack(ctx, service, i%2 == 1)
		}
		if err == nil {
			err = h.same()
		}
		if err != nil {
			return found{}, fmt.Errorf("round %d: %w", i+1, err)
		}
	}
	f, err := r.end("takeover by a service, from its start to all agents listed", failoverLimit)
	if err != nil {
		return f, err
	}
	delete(f.Millis, "kill -9 to the next one's first answer")
	delete(f.Millis, "processor time of all agents meanwhile")
	f.Millis["start of the service to its ready line"] = sample.Each(h.ready, sample.Millis)
	f.Millis["start of the service to its first answer"] = sample.Each(h.answer, sample.Millis)
	f.Millis["end of the service to all agents with an elected one, without the 10 s that they wait"] = sample.Each(h.back, sample.Millis)
	return f, nil
}

// handover is a host on which a service comes and goes, and what has happened so far.
type handover struct {
	*run
	pids   map[string]int // by session: an agent that has ended is not started again
	ready  []time.Duration
	answer []time.Duration
	back   []time.Duration
}

// there starts the service, and waits until it has all agents.
func (h *handover) there(ctx context.Context, name string) (*stage.Service, error) {
	if err := h.bed.Look(ctx, h.terms); err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, failoverLimit)
	defer cancel()
	began, started := time.Now(), make(chan error, 1)
	var service *stage.Service
	var ready time.Duration
	go func() {
		var err error
		service, err = h.bed.StartService(name)
		ready = time.Since(began)
		started <- err
	}()
	at, lists, err := h.bed.AwaitService(limited)
	if err := errors.Join(<-started, err); err != nil {
		return nil, fmt.Errorf("a service starts: %w", err)
	}
	if err := errors.Join(h.sound(limited, lists), h.agree(ctx, "service"), h.kept(ctx, h.bed.ServiceListOf)); err != nil {
		return nil, fmt.Errorf("with a service, which had all agents after %v: %w", at.All.Sub(began), err)
	}
	h.took, h.ready, h.answer = append(h.took, at.All.Sub(began)), append(h.ready, ready), append(h.answer, at.First.Sub(began))
	return service, nil
}

// agree has all agents say what registry they have; each of them has been told already.
func (h *handover) agree(ctx context.Context, mode string) error {
	ctx, cancel := context.WithTimeout(ctx, failoverLimit)
	defer cancel()
	return h.bed.Agree(ctx, mode)
}

func (h *handover) sound(ctx context.Context, lists map[uint32]bed.List) error {
	return sound(lists, func() (map[uint32]bed.List, error) {
		_, lists, err := h.bed.AwaitService(ctx)
		return lists, err
	})
}

// andBack ends the service, in good order or not, and waits until the agents have elected again.
func (h *handover) andBack(ctx context.Context, service *stage.Service, killed bool) error {
	began := time.Now()
	if killed {
		service.Kill()
	} else if err := service.Stop(); err != nil {
		return fmt.Errorf("the service ends: %w", err)
	}
	gone := time.Now()
	limited, cancel := context.WithTimeout(ctx, afterService+failoverLimit)
	defer cancel()
	at, lists, err := h.bed.Await(limited, h.epoch)
	if err := h.take(limited, err, lists); err != nil {
		return fmt.Errorf("after a service: %w", err)
	}
	if at.First.Sub(began) < afterService {
		return fmt.Errorf("an agent was elected %v after the service was told to end, want %v", at.First.Sub(began), afterService)
	}
	h.back = append(h.back, at.All.Sub(gone)-afterService)
	if err := errors.Join(h.bed.Look(ctx, h.terms), h.agree(ctx, "elected"), h.kept(ctx, bed.ListOf)); err != nil {
		return fmt.Errorf("after a service: %w", err)
	}
	return nil
}

// same says whether all agents are the processes that they were.
func (h *handover) same() error {
	for _, a := range h.bed.Agents {
		if a.PID() != h.pids[a.Session] || stage.Ended(a.PID()) {
			return fmt.Errorf("agent %s has ended", a.Session)
		}
	}
	return nil
}
