// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/sandbox/softcard"
	"github.com/cardbroker/cardbroker/test/bench/proc"
	"github.com/cardbroker/cardbroker/test/bench/sample"
	"github.com/cardbroker/cardbroker/test/stage"
	"github.com/cardbroker/cardbroker/virtualreader"
)

// starts measures how long an agent takes from exec to its ready line, each in a new session.
func (b *bench) starts(ctx context.Context) ([]measured, error) {
	host, err := b.startHost("starts")
	if err != nil {
		return nil, err
	}
	defer host.stop()
	var took []float64
	for range pick(b, 60, 30) {
		start := time.Now()
		agent, err := host.startAgent()
		took = append(took, sample.Millis(time.Since(start)))
		if err != nil {
			return nil, err
		}
		if err := agent.Stop(); err != nil {
			return nil, err
		}
	}
	return []measured{{ours: took}}, ctx.Err()
}

// killsOfOne is how often one agent's sandbox is killed: after more deaths in a row the agent takes its time.
const killsOfOne = 3

// kills measures how soon a tunnel's card answers again after its sandbox was killed.
func (b *bench) kills(ctx context.Context) ([]measured, error) {
	host, err := b.startHost("kills")
	if err != nil {
		return nil, err
	}
	defer host.stop()
	var took []float64
	for range pick(b, 20, 10) {
		agent, tunnel, err := host.agentWithTunnel(ctx)
		if err != nil {
			return nil, err
		}
		for range killsOfOne {
			one, err := killOnce(ctx, agent, tunnel)
			if err != nil {
				return nil, err
			}
			took = append(took, sample.Millis(one))
		}
		tunnel.Close()
		if err := agent.Stop(); err != nil {
			return nil, err
		}
	}
	return []measured{{ours: took}}, nil
}

// agentWithTunnel starts an agent, opens a tunnel to its card and has it answer.
func (h *host) agentWithTunnel(ctx context.Context) (*agent, *virtualreader.Tunnel, error) {
	agent, err := h.startAgent()
	if err != nil {
		return nil, nil, err
	}
	tunnel, err := agent.openTunnel(ctx, h, softcard.Name)
	if err != nil {
		return nil, nil, err
	}
	return agent, tunnel, transmitting(ctx, tunnel).Trip()
}

// killOnce kills the sandbox and uses the card again, as a back end does: it is told that the card was lost, connects
// anew and goes on.
func killOnce(ctx context.Context, a *agent, t *virtualreader.Tunnel) (time.Duration, error) {
	pid, err := stage.ChildOf(a.pid)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return 0, err
	}
	echo := transmitting(ctx, t).Trip
	switch err := echo(); cardbroker.ReasonOf(err) {
	case cardbroker.CardReset, cardbroker.Indeterminate:
	default:
		return 0, fmt.Errorf("a command to a card whose sandbox was killed: %w", err)
	}
	if _, err := t.Connect(ctx, cardbroker.ShareShared); err != nil {
		return 0, err
	}
	err = echo()
	return time.Since(start), err
}

// burst measures the memory of an agent and its sandbox that have just done much.
func (b *bench) burst(ctx context.Context) ([]measured, error) {
	host, err := b.startHost("burst")
	if err != nil {
		return nil, err
	}
	defer host.stop()
	var sums []float64
	for range pick(b, 5, 2) {
		agent, tunnel, err := host.agentWithTunnel(ctx)
		if err != nil {
			return nil, err
		}
		echo := transmitting(ctx, tunnel).Trip
		for range 10_000 {
			if err := echo(); err != nil {
				return nil, err
			}
		}
		child, err := stage.ChildOf(agent.pid)
		if err != nil {
			return nil, err
		}
		sum := 0.0
		for _, pid := range []int{agent.pid, child} {
			used, err := proc.MemoryOf(pid)
			if err != nil {
				return []measured{{skip: "needs root: " + err.Error()}}, nil // a sandbox hides from its own user
			}
			sum += used.PrivateDirty
		}
		sums = append(sums, sum)
		tunnel.Close()
		if err := agent.Stop(); err != nil {
			return nil, err
		}
	}
	return []measured{{ours: sums}}, nil
}
