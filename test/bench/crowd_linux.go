// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/cardbroker/cardbroker/test/bench/helper"
	"github.com/cardbroker/cardbroker/test/bench/proc"
	"github.com/cardbroker/cardbroker/test/bench/sample"
	"github.com/cardbroker/cardbroker/test/stage"
)

const (
	idleAgentCount = 20   // each a process
	crowdAgents    = 1000 // in helpers, one for each user
	agentsOfOne    = 16   // what a user may have by default
	firstUser      = 62_000
	bareProcesses  = 5
)

// How long nothing is done: first until the broker has returned the memory of the onslaught, then while switches are
// counted.
const (
	quietStep  = 10 * time.Second
	quietSteps = 9 // at most
	quietCount = 5 // switches in a step: nothing goes on
	window     = 2 * time.Minute
)

// crowd are processes that do nothing: a broker with its agents, and processes that cannot do less.
type crowd struct {
	broker int // these are pids
	agents []int
	bare   []int
}

// idle measures agents, and a broker that has a thousand of them, while nobody wants anything of them.
func (b *bench) idle(ctx context.Context) ([]measured, error) {
	host, err := b.startHost("crowd")
	if err != nil {
		return nil, err
	}
	defer host.stop()
	c := crowd{broker: host.pid}
	for range idleAgentCount {
		agent, err := host.startAgent()
		if err != nil {
			return nil, err
		}
		c.agents = append(c.agents, agent.pid)
	}
	for range bareProcesses {
		process, err := b.help(nil, nil, helpIdle)
		if err != nil {
			return nil, err
		}
		defer process.End()
		c.bare = append(c.bare, process.PID())
	}
	if os.Geteuid() == 0 {
		dismiss, err := host.assemble()
		defer dismiss()
		if err != nil {
			return nil, err
		}
	}
	if err := b.quiet(ctx, c.broker); err != nil {
		return nil, err
	}
	found, err := c.memory()
	if err != nil {
		return nil, err
	}
	if b.wants(rowSwitches) || b.wants(rowBrokerSwitches) {
		switches, err := c.switches(ctx, b)
		if err != nil {
			return nil, err
		}
		found = append(found, switches...)
	}
	return found, nil
}

// quiet waits until a process has nothing left to do.
func (b *bench) quiet(ctx context.Context, pid int) error {
	before, err := proc.Switches(pid)
	for range quietSteps {
		if err != nil {
			return err
		}
		if err := b.rest(ctx, "until all is quiet", quietStep); err != nil {
			return err
		}
		var now int
		if now, err = proc.Switches(pid); now-before <= quietCount {
			break
		}
		before = now
	}
	return err
}

// crowdOnly is what was found of a broker, unless it has no thousand agents.
func crowdOnly(m measured) measured {
	if os.Geteuid() != 0 {
		return measured{skip: "needs root, for agents of many users"}
	}
	return m
}

// memory returns the rows of agents and broker.
func (c crowd) memory() ([]measured, error) {
	var own, pss measured
	for _, pid := range c.agents {
		m, err := proc.MemoryOf(pid)
		if err != nil {
			return nil, err
		}
		own.ours, pss.ours = append(own.ours, m.PrivateDirty), append(pss.ours, m.PSS)
	}
	broker, err := proc.MemoryOf(c.broker)
	return []measured{
		own,
		pss,
		crowdOnly(measured{ours: []float64{broker.PSS}}),
		crowdOnly(measured{ours: []float64{broker.RSS}}),
	}, err
}

// switches counts the context switches of all in one window, and returns the rows of agents and broker.
func (c crowd) switches(ctx context.Context, b *bench) ([]measured, error) {
	all := slices.Concat([]int{c.broker}, c.agents, c.bare)
	start := time.Now()
	before, err := proc.CountAll(all, proc.Switches)
	if err != nil {
		return nil, err
	}
	if err := b.rest(ctx, "while context switches are counted", pick(b, window, window/2)); err != nil {
		return nil, err
	}
	after, err := proc.CountAll(all, proc.Switches)
	if err != nil {
		return nil, err
	}
	minutes := time.Since(start).Minutes()
	rates := make([]float64, len(all))
	for i := range all {
		rates[i] = float64(after[i]-before[i]) / minutes
	}
	broker, agents, bare := rates[:1], rates[1:1+len(c.agents)], rates[1+len(c.agents):]
	return []measured{againstFloor(agents, bare), crowdOnly(againstFloor(broker, bare))}, nil
}

// againstFloor compares rates with those of processes that cannot do less, if they do anything at all.
func againstFloor(ours, bare []float64) measured {
	m := measured{ours: ours}
	floor := sample.Median(bare)
	if floor == 0 {
		return m
	}
	m.limit = &limit{Name: "a Go process that only waits", P50: sample.Rounded(floor)}
	for _, rate := range ours {
		m.ratios = append(m.ratios, rate/floor)
	}
	return m
}

// assemble has a thousand agents of many users register, and returns what ends them, even if it fails.
func (h *host) assemble() (dismiss func(), err error) {
	var helpers []*helper.Process
	dismiss = func() {
		for _, helper := range helpers {
			helper.End()
		}
	}
	for n := 0; n < crowdAgents; n += agentsOfOne {
		uid := uint32(firstUser + n/agentsOfOne)
		home := h.bench.stage.Path(fmt.Sprintf("%s-%d", h.name, uid))
		if err := os.Mkdir(home, 0o700); err != nil {
			return dismiss, err
		}
		if err := os.Chown(home, int(uid), int(uid)); err != nil {
			return dismiss, err
		}
		user := &stage.Person{Home: home, Cred: &syscall.Credential{Uid: uid, Gid: uid}}
		count := strconv.Itoa(min(agentsOfOne, crowdAgents-n))
		helper, err := h.bench.help(user, nil, helpAgents, h.socket, home, count)
		if err != nil {
			return dismiss, err
		}
		helpers = append(helpers, helper)
	}
	h.bench.progress("%d agents are registered", crowdAgents)
	return dismiss, nil
}
