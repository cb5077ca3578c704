// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/cardbroker/cardbroker/test/bench/conns"
	"github.com/cardbroker/cardbroker/test/bench/helper"
	"github.com/cardbroker/cardbroker/test/bench/proc"
)

const (
	openLeases = 1000 // also with --quick: what all share would count otherwise
	settleStep = time.Second
	settleMost = 15 // steps, until the broker's memory stays as it is
)

// memoryRows are what an open lease takes that waits, of each process on its way. Measured: at the back end 12 KiB of heap, half of
// it TLS's, and 6 of two goroutines' stacks; at the agent 8 of heap, and 16 of three goroutines' stacks. The broker has two
// connections, one with TLS, and two goroutines; and what it has not collected yet, so that it differs by half. The kernel's buffers
// are in none.
func memoryRows() []row {
	return []row{
		{"memory of a lease at the broker, 1,000 open, private dirty", "KiB", goal{ofMax, 50}},
		{"memory of a lease at the agent, 1,000 open, private dirty", "KiB", goal{ofMax, 35}},
		{"memory of a lease at the back end, 1,000 open, private dirty", "KiB", goal{ofMax, 32}},
	}
}

// leaseMemory measures three processes before and after leases are opened between them.
func (b *bench) leaseMemory(ctx context.Context) ([]measured, error) {
	found := make([]measured, len(memoryRows()))
	if why := conns.NeedFiles(3*openLeases + otherFiles); why != "" {
		for i := range found {
			found[i].skip = why
		}
		return found, nil
	}
	host, err := b.startHost("memory")
	if err != nil {
		return nil, err
	}
	defer host.stop()
	var ticket string
	holder, err := b.help(nil, &ticket, helpHolder, host.socket, b.stage.Path("memory-journals"))
	if err != nil {
		return nil, err
	}
	defer holder.End()
	backEnd, err := b.help(nil, nil, helpBackEnd, host.door, host.certificate(), ticket)
	if err != nil {
		return nil, err
	}
	defer backEnd.End()
	processes := []int{host.pid, holder.PID(), backEnd.PID()}
	var used [2][]float64
	for i, count := range []int{1, 1 + openLeases} { // the first has buffers made that all share
		for _, end := range []*helper.Process{backEnd, holder} {
			var failed string
			if err := end.Ask(count, &failed); err != nil {
				return nil, err
			}
			if failed != "" {
				return nil, errors.New(failed)
			}
		}
		if err := settle(ctx, host.pid); err != nil {
			return nil, err
		}
		for _, pid := range processes {
			m, err := proc.MemoryOf(pid)
			if err != nil {
				return nil, err
			}
			used[i] = append(used[i], m.PrivateDirty)
		}
	}
	for i := range found {
		found[i].ours = []float64{(used[1][i] - used[0][i]) * 1024 / openLeases} // KiB of MiB
	}
	return found, nil
}

// settle waits until a process takes about as much memory as a moment before.
func settle(ctx context.Context, pid int) error {
	before := 0.0
	for range settleMost {
		now, err := proc.MemoryOf(pid)
		if err != nil || math.Abs(now.PrivateDirty-before) < 0.1 {
			return err
		}
		before = now.PrivateDirty
		if err := pause(ctx, settleStep); err != nil {
			return err
		}
	}
	return nil
}
