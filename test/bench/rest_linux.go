// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/sandbox/softcard"
	"github.com/cardbroker/cardbroker/test/bench/calls"
	"github.com/cardbroker/cardbroker/test/bench/rest"
	"github.com/cardbroker/cardbroker/test/bench/sample"
	"github.com/cardbroker/cardbroker/test/pcscbed"
)

// readerLists measures the handler of GET /v3/readers.
func (b *bench) readerLists(ctx context.Context) ([]measured, error) {
	took, err := rest.Lists(ctx, b.stage.Path("bin", "bench"), helpReaders, pick(b, 20_000, 5_000))
	return []measured{{ours: sample.Each(took, sample.Micros)}}, err
}

// restAPDUs measures one command to the card in a PC/SC reader by remote loading, beside a program that sends it by PC/SC.
func (b *bench) restAPDUs(ctx context.Context) (_ []measured, err error) {
	if why := pcscbed.Supported(); why != nil {
		return skipAll(1, why), nil
	}
	d, err := b.startDesk(ctx, "rest")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	if err := d.bed.Insert(ctx, 1, pcscbed.Card{}); err != nil { // a session has its reader for itself
		return nil, err
	}
	native, err := b.help(nil, nil, helpCalls, d.bed.Socket(), d.bed.Readers()[0])
	if err != nil {
		return nil, err
	}
	defer native.End()
	client := rest.NewClient(d.agent.port)
	defer client.Close()
	session, err := client.Open(ctx, d.bed.Readers()[1])
	if err != nil {
		return nil, err
	}
	limit, ours := calling(native, calls.Transmit), &sample.Path{Trips: session.Trips(ctx, calls.Echo())}
	err = sample.InTurns(ctx, pick(b, 10, 3), limit, ours)
	return []measured{against(ours, nativePCSC, limit)}, errors.Join(err, session.Close(ctx))
}

// crowds has 200 clients use four agents, and counts what fails; then it measures /info of the broker while a thousand agents of many users come.
func (b *bench) crowds(ctx context.Context) ([]measured, error) {
	host, err := b.startHost("crowds")
	if err != nil {
		return nil, err
	}
	defer host.stop()
	ports := make([]cardbroker.Port, 4)
	for i := range ports {
		agent, err := host.startAgent()
		if err != nil {
			return nil, err
		}
		ports[i] = agent.port
	}
	failed, why := rest.Crowd(ctx, ports, softcard.Name, 200, 5)
	b.progress("%d calls failed, the first: %v", failed, why)
	var took []time.Duration
	group, over := run.New(ctx), make(chan struct{})
	group.Go("pages", func(ctx context.Context) (err error) {
		took, err = rest.Infos(ctx, host.listen, 20*time.Millisecond, over)
		return err
	})
	dismiss, err := host.assemble()
	defer dismiss()
	close(over)
	err = errors.Join(err, group.Wait())
	return []measured{{ours: []float64{float64(failed)}}, {ours: sample.Each(took, sample.Millis)}}, err
}
