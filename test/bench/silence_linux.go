// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/test/bench/calls"
	"github.com/cardbroker/cardbroker/test/bench/proc"
	"github.com/cardbroker/cardbroker/test/bench/sample"
	"github.com/cardbroker/cardbroker/test/pcscbed"
	"github.com/cardbroker/cardbroker/test/stage"
)

const (
	silenceSettles = time.Minute      // watchers look twice in their first seconds
	silenceWindow  = 10 * time.Minute // that the rows are about
)

// silent is a session on PC/SC, with a card, of which a program follows the events while nothing happens.
type silent struct {
	service *calls.Counter
	pids    []int // agent and sandbox
	bare    []int // processes that only wait: every other one has collected garbage before
}

// keepSilence starts such a session, which goes on while other rows are measured, since those change none of its figures.
// What is found goes to b.silent. The caller ends it.
func (b *bench) keepSilence(ctx context.Context) (end func() error, err error) {
	end = func() error { return nil }
	if !b.wants(rowSilentCalls) && !b.wants(rowSilentWakes) && !b.wants(rowSilentAgent) {
		return end, nil
	}
	b.silent = make(chan []measured, 1)
	if why := pcscbed.Supported(); why != nil {
		b.silent <- skipAll(3, why)
		return end, nil
	}
	group := run.New(ctx)
	s := &silent{}
	var ends []func() error
	end = func() error {
		failed := group.Stop() // first: it follows the agent
		for i := len(ends) - 1; i >= 0; i-- {
			failed = errors.Join(failed, ends[i]())
		}
		return failed
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, end())
		}
	}()
	bed, err := b.startBed(ctx, "silence", pcscbed.Card{})
	if err != nil {
		return end, err
	}
	ends = append(ends, bed.Stop)
	for i := range 2 * bareProcesses {
		process, err := b.help(nil, nil, []string{helpIdle, helpWaste}[i%2])
		if err != nil {
			return end, err
		}
		ends = append(ends, func() error { process.End(); return nil })
		s.bare = append(s.bare, process.PID())
	}
	host, err := b.startHost("silence")
	if err != nil {
		return end, err
	}
	ends = append(ends, host.stop)
	if err := s.begin(ctx, group, host, bed); err != nil {
		return end, err
	}
	group.Go("silence", func(ctx context.Context) error {
		defer close(b.silent)
		found, err := s.measure(ctx, pick(b, silenceSettles, silenceSettles/3), pick(b, silenceWindow, silenceWindow/10))
		if err == nil {
			b.silent <- found
		}
		return err
	})
	return end, nil
}

// begin starts the agent on the service, behind the counter, and follows its events.
func (s *silent) begin(ctx context.Context, group *run.Group, host *host, bed *pcscbed.Bed) (err error) {
	dir := host.bench.stage.Path("silence-pcsc")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if s.service, err = calls.Count(group, dir+"/socket", bed.Socket()); err != nil {
		return err
	}
	agent, err := host.startAgentOf("--pcsc-socket=" + dir + "/socket")
	if err != nil {
		return err
	}
	if _, err := agent.subscribe(group).Next(ctx); err != nil {
		return err
	}
	sandbox, err := stage.ChildOf(agent.pid)
	s.pids = []int{agent.pid, sandbox}
	return err
}

// measure counts over a window, and returns what ten minutes have of it.
func (s *silent) measure(ctx context.Context, settle, window time.Duration) ([]measured, error) {
	if err := pause(ctx, settle); err != nil {
		return nil, err
	}
	all := append(s.pids, s.bare...)
	asked, start := s.service.Asked(), time.Now()
	before, err := proc.CountAll(all, proc.Wakes)
	if err != nil {
		return nil, err
	}
	if err := pause(ctx, window); err != nil {
		return nil, err
	}
	after, err := proc.CountAll(all, proc.Wakes)
	if err != nil {
		return nil, err
	}
	whole := float64(silenceWindow) / float64(time.Since(start))
	wakes := make([]float64, len(all))
	for i := range all {
		wakes[i] = float64(after[i]-before[i]) * whole
	}
	var bare, wasters []float64
	for i := len(s.pids); i < len(all); i += 2 {
		bare, wasters = append(bare, wakes[i]), append(wasters, wakes[i+1])
	}
	return []measured{
		{ours: []float64{float64(s.service.Asked()-asked) * whole}},
		wakesAgainst(wakes[1], "a Go process that only waits", bare),
		wakesAgainst(wakes[0], "a Go process that only waits, after a collection", wasters),
	}, nil
}

func wakesAgainst(ours float64, name string, others []float64) measured {
	floor := sample.Median(others)
	return measured{ours: []float64{ours}, limit: &limit{Name: name, P50: sample.Rounded(floor)}, ratios: []float64{ours / max(floor, 1)}}
}

// silence waits for what is found in the background.
func (b *bench) silence(ctx context.Context) ([]measured, error) {
	b.progress("up to %v are left of the idle minutes …", silenceSettles+silenceWindow)
	select {
	case found, ok := <-b.silent:
		if !ok { // the end of the session says why
			return nil, errors.New("the idle session has ended")
		}
		return found, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func silenceRows() []row {
	return []row{
		{rowSilentCalls, "in 10 minutes", goal{ofMax, 0}},
		// A timer costs 10 wake-ups each time: the goal is that there is none.
		{rowSilentWakes, "in 10 minutes", goal{ofExcess, 5}},
		// Other than the sandbox, the agent has collected garbage before, and Go does so again every other minute then. A
		// ticker of a minute would double that again.
		{rowSilentAgent, "in 10 minutes", goal{ofRatio, 2.5}},
	}
}
