// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package storm

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/broker/registry"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/store"
)

const stormAgents = 1000

// Measure measures the storm, as often as storms says, in new stores in dir, and look-ups in another one while its disk does
// not answer for the time. It returns how long each storm took, and each look-up.
func Measure(ctx context.Context, dir string, storms int, stall time.Duration) (stormed, looked []time.Duration, err error) {
	for range storms {
		took, err := withRegistry(ctx, dir, storm)
		if err != nil {
			return nil, nil, err
		}
		stormed = append(stormed, took...)
	}
	looked, err = withRegistry(ctx, dir, func(ctx context.Context, entries *registry.Registry, disk *slowDisk) ([]time.Duration, error) {
		return lookWhileStalled(ctx, entries, disk, stall)
	})
	return stormed, looked, err
}

// withRegistry has measure work with a registry on a new store on disk.
func withRegistry(ctx context.Context, in string, measure func(context.Context, *registry.Registry, *slowDisk) ([]time.Duration, error)) ([]time.Duration, error) {
	dir, err := os.MkdirTemp(in, "store-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	kept, err := store.Open(dir+"/registry.db", store.Options{})
	if err != nil {
		return nil, err
	}
	defer kept.Close()
	ports, err := cardbroker.ParsePorts(cardbroker.DefaultPorts)
	if err != nil {
		return nil, err
	}
	disk := &slowDisk{Store: kept, stalled: make(chan struct{})}
	entries, err := registry.New(ctx, registry.Config{Ports: ports}, disk, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	group := run.New(ctx)
	defer group.Stop()
	group.Go("registry", entries.Run)
	return measure(ctx, entries, disk)
}

// slowDisk is a store whose next commit may take long.
type slowDisk struct {
	*store.Store
	delay   atomic.Int64  // of the next commit, in nanoseconds
	stalled chan struct{} // receives when that commit has begun
}

// Commit commits once the delay is over.
func (d *slowDisk) Commit(ctx context.Context, changes cardbroker.Changes) error {
	if delay := d.delay.Swap(0); delay > 0 {
		d.stalled <- struct{}{}
		<-time.After(time.Duration(delay))
	}
	return d.Store.Commit(ctx, changes)
}

func stormUser(i int) cardbroker.UserID { return cardbroker.UserID{UID: uint32(10_000 + i)} }

func stormClaim(i int) registry.Claim {
	return registry.Claim{
		Key:  cardbroker.AgentKey{User: stormUser(i), Session: "1"},
		PID:  i,
		Hash: cardbroker.RandomSecret().Hash(),
	}
}

// storm has all agents reserve and register at once, and returns how long it took until the last one had.
func storm(ctx context.Context, entries *registry.Registry, _ *slowDisk) ([]time.Duration, error) {
	claims := make([]registry.Claim, stormAgents)
	for i := range claims {
		claims[i] = stormClaim(i)
	}
	agents := run.New(ctx)
	start := time.Now()
	for _, claim := range claims {
		agents.Go("agent", func(ctx context.Context) error {
			if _, err := entries.Reserve(ctx, claim, nil); err != nil {
				return err
			}
			_, err := entries.Register(ctx, claim)
			return err
		})
	}
	err := agents.Wait()
	return []time.Duration{time.Since(start)}, err
}

// Look-ups come in blocks, so that they last as long as the stall without keeping the processors busy.
const (
	lookers    = 2
	lookBlock  = 1000
	lookEvery  = 10 * time.Millisecond
	leastLooks = 100_000
)

// lookWhileStalled looks agents up for as long as a commit does not return.
func lookWhileStalled(ctx context.Context, entries *registry.Registry, disk *slowDisk, length time.Duration) ([]time.Duration, error) {
	if _, err := storm(ctx, entries, disk); err != nil {
		return nil, err
	}
	disk.delay.Store(int64(length))
	group := run.New(ctx)
	stalled, over := context.WithCancel(ctx)
	group.Go("writer", func(ctx context.Context) error {
		defer over()
		_, err := entries.Reserve(ctx, stormClaim(stormAgents), nil)
		return err
	})
	select {
	case <-disk.stalled:
	case <-stalled.Done(): // without a commit; the group says why
	}
	var looks [lookers][]time.Duration
	for n := range looks {
		group.Go("looker", func(context.Context) (err error) {
			looks[n], err = lookUntil(stalled, entries)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var all []time.Duration
	for _, some := range looks {
		all = append(all, some...)
	}
	if len(all) < leastLooks {
		return nil, fmt.Errorf("only %d look-ups in %v, want %d", len(all), length, leastLooks)
	}
	return all, nil
}

// lookUntil looks agents up, block after block, until ctx ends, and returns how long each look-up took.
func lookUntil(ctx context.Context, entries *registry.Registry) ([]time.Duration, error) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	var took []time.Duration
	for {
		for i := range lookBlock {
			start := time.Now()
			found := entries.View().ByUser(stormUser(i % stormAgents))
			took = append(took, time.Since(start))
			if len(found) != 1 {
				return nil, fmt.Errorf("%d agents of one user, want 1", len(found))
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return took, nil
		}
	}
}
