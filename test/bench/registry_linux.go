// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

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

// registry measures the storm in new stores, and look-ups in the last of them while its disk does not answer.
func (b *bench) registry(ctx context.Context) ([]measured, error) {
	var storms []float64
	for range pick(b, 20, 5) {
		took, err := b.withRegistry(ctx, storm)
		if err != nil {
			return nil, err
		}
		storms = append(storms, took...)
	}
	looks, err := b.withRegistry(ctx, b.stall)
	return []measured{{ours: storms}, {ours: looks}}, err
}

// withRegistry has measure work with a registry on a new store on disk.
func (b *bench) withRegistry(ctx context.Context, measure func(context.Context, *registry.Registry, *slowDisk) ([]float64, error)) ([]float64, error) {
	dir, err := os.MkdirTemp(b.stage.Path(), "store-")
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
func storm(ctx context.Context, entries *registry.Registry, _ *slowDisk) ([]float64, error) {
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
	return []float64{millis(time.Since(start))}, err
}

// Look-ups come in blocks, so that they last as long as the stall without keeping the processors busy.
const (
	lookers     = 2
	lookBlock   = 1000
	lookEvery   = 10 * time.Millisecond
	leastLooks  = 100_000
	stallLength = 3 * time.Second
)

// stall looks agents up for as long as a commit does not return.
func (b *bench) stall(ctx context.Context, entries *registry.Registry, disk *slowDisk) ([]float64, error) {
	if _, err := storm(ctx, entries, disk); err != nil {
		return nil, err
	}
	length := pick(b, stallLength, stallLength/3)
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
	var looks [lookers][]float64
	for n := range looks {
		group.Go("looker", func(context.Context) (err error) {
			looks[n], err = lookUntil(stalled, entries)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var all []float64
	for _, some := range looks {
		all = append(all, some...)
	}
	if len(all) < leastLooks {
		return nil, fmt.Errorf("only %d look-ups in %v, want %d", len(all), length, leastLooks)
	}
	return all, nil
}

// lookUntil looks agents up, block after block, until ctx ends, and returns how long each look-up took.
func lookUntil(ctx context.Context, entries *registry.Registry) ([]float64, error) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	var took []float64
	for {
		for i := range lookBlock {
			start := time.Now()
			found := entries.View().ByUser(stormUser(i % stormAgents))
			took = append(took, micros(time.Since(start)))
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
