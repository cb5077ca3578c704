// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/test/bench/agents"
	"github.com/cardbroker/cardbroker/test/bench/counted"
	"github.com/cardbroker/cardbroker/test/bench/leases"
	"github.com/cardbroker/cardbroker/test/bench/sample"
	"github.com/cardbroker/cardbroker/virtualreader"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/journal"
)

const crowdLeases = 64

// leaseRows are what leases cost: many at once, and with a journal. Of the allocations six are gorilla's, for a message written
// and one read at each end, and one is TLS's; ours is the answer, which the caller keeps. A journal needs none.
func leaseRows() []row {
	return []row{
		{"tunnel, 64 leases at once, 300 bytes, a message", "µs", goal{ofRatio, 1.25}}, // 80 % of the messages a second
		{"tunnel, allocations at back end and agent, volatile", "an APDU", goal{ofMax, 8}},
		{"tunnel, allocations at back end and agent, journal on disk", "an APDU", goal{ofMax, 8}},
		{"tunnel with a journal, durability crash", "µs", goal{ofExcess, 20}},
		// It writes twice, and waits for the disk once.
		{"tunnel with a journal, durability power, less a volatile tunnel", "µs", goal{ofRatio, 1.5}},
	}
}

// leases measures tunnels to cards made of memory in this process, whose journals are on the stage's disk.
func (b *bench) leases(ctx context.Context) ([]measured, error) {
	group := run.New(ctx)
	defer group.Stop()
	host, err := b.startHost("leases")
	if err != nil {
		return nil, err
	}
	defer host.stop()
	folder := b.stage.Path("leases-journals")
	cfg := host.echo("leases")
	if cfg.Journals, err = journal.OpenFolder(folder); err != nil {
		return nil, err
	}
	holder, err := agents.NewEcho(group, cfg)
	if err != nil {
		return nil, err
	}
	crowd, err := b.leaseCrowd(group, host, holder)
	if err != nil {
		return nil, err
	}
	journals, err := b.journals(ctx, host, holder, folder)
	return append([]measured{crowd}, journals...), err
}

// leaseCrowd measures many tunnels at once against as many WebSockets through the bare relay. They have no journal: what that
// costs is measured alone.
func (b *bench) leaseCrowd(group *run.Group, host *host, holder *agents.Echo) (measured, error) {
	ctx := group.Context()
	url, end, err := b.gorillaRelay(group)
	if err != nil {
		return measured{}, err
	}
	defer end()
	var ours, bare leases.Crowd
	for range crowdLeases {
		tunnel, err := host.backend.Open(ctx, virtualreader.TicketReader, holder.Ticket(), virtualreader.Options{Volatile: true})
		if err != nil {
			return measured{}, err
		}
		defer tunnel.Close()
		web, err := webPath(ctx, url)
		if err != nil {
			return measured{}, err
		}
		ours, bare = append(ours, transmitting(ctx, tunnel).Trip), append(bare, web.Trip)
	}
	through, limit := crowdPath(ctx, ours), crowdPath(ctx, bare)
	err = sample.InTurns(ctx, pick(b, 40, 10), through, limit)
	return against(through, "64 connections through the gorilla relay", limit), err
}

// crowdPath is a path whose rounds have one sample each.
func crowdPath(ctx context.Context, crowd leases.Crowd) *sample.Path {
	return &sample.Path{Trips: func(int, int) ([]float64, error) {
		took, err := crowd.PerMessage(ctx)
		return []float64{sample.Micros(took)}, err
	}}
}

// journals measures tunnels that differ in what their journals outlive only.
func (b *bench) journals(ctx context.Context, host *host, holder *agents.Echo, folder string) ([]measured, error) {
	var paths []*sample.Path
	for _, o := range []virtualreader.Options{{Volatile: true}, {Durability: cardbroker.DurabilityCrash}, {Durability: cardbroker.DurabilityPower}} {
		tunnel, err := host.backend.Open(ctx, virtualreader.TicketReader, holder.Ticket(), o)
		if err != nil {
			return nil, err
		}
		defer tunnel.Close()
		paths = append(paths, transmitting(ctx, tunnel))
	}
	volatile, crash, power := paths[0], paths[1], paths[2]
	block, err := leases.NewBlock(folder)
	if err != nil {
		return nil, err
	}
	defer block.Remove()
	disk := &sample.Path{Trip: block.Write}
	if err := sample.InTurns(ctx, pick(b, 12, 4), volatile, crash, power, disk); err != nil {
		return nil, err
	}
	var allocated [2]measured
	for i := range allocated {
		if allocated[i].ours, err = counted.PerTrip(paths[i].Trip, pick(b, 20, 5)); err != nil {
			return nil, err
		}
	}
	onDisk := against(power.Less(volatile), "fdatasync of a block of 4 KiB", disk)
	if leases.InMemory(folder) {
		onDisk.skip = "the temporary directory is in memory; TMPDIR may name another"
	}
	return []measured{allocated[0], allocated[1], against(crash, "the same, volatile", volatile), onDisk}, nil
}
