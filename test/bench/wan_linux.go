// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/test/bench/agents"
	"github.com/cardbroker/cardbroker/test/bench/leases"
	"github.com/cardbroker/cardbroker/test/bench/sample"
	"github.com/cardbroker/cardbroker/test/bench/wan"
	"github.com/cardbroker/cardbroker/virtualreader"
)

const farCommands = 200

// farRows are what commands take that come from afar. T = N·card + ceil(N/B)·RTT is what nobody can save: of N commands that are
// sent B at a time, the card and a round trip for each time.
func farRows() (rows []row) {
	for _, rtt := range wan.RTTs() {
		for _, how := range []string{"in one script", "in scripts of 20", "one by one"} {
			name := fmt.Sprintf("tunnel, %d APDUs of %d ms %s, RTT %d ms", farCommands, wan.Card.Milliseconds(), how, rtt.Milliseconds())
			rows = append(rows, row{name, "ms", goal{ofRatio, 1.05}})
		}
	}
	return rows
}

// resumeRows are how soon a command's answer is there when its connection was cut meanwhile. A new connection takes three round trips;
// the goal leaves 5 ms beside those and the one for the answer.
func resumeRows() (rows []row) {
	for _, rtt := range wan.RTTs()[:2] {
		rows = append(rows, row{fmt.Sprintf("tunnel taken up again after a cut, RTT %d ms", rtt.Milliseconds()), "ms", goal{ofExcess, 5}})
	}
	return rows
}

// far measures commands from back ends at several distances.
func (b *bench) far(ctx context.Context) (found []measured, err error) {
	err = b.withSite(ctx, "far", func(ctx context.Context, site wan.Site, _ func(func(context.Context))) error {
		all, err := site.Commands(ctx, pick(b, farCommands, 40), []int{farCommands, 20, 1})
		if err != nil {
			return err
		}
		for _, distance := range all {
			for _, t := range distance {
				whole, least := sample.Millis(t.Whole), sample.Millis(t.Card+t.Waits)
				name := "card and round trips, delay " + t.How
				found = append(found, measured{ours: []float64{whole}, limit: &limit{Name: name, P50: sample.Rounded(least)}, ratios: []float64{whole / least}})
			}
		}
		return nil
	})
	return found, err
}

// resumes measures leases that are taken up again.
func (b *bench) resumes(ctx context.Context) (found []measured, err error) {
	err = b.withSite(ctx, "cut", func(ctx context.Context, site wan.Site, held func(func(context.Context))) error {
		for _, rtt := range wan.RTTs()[:2] {
			r, err := site.Resumes(ctx, rtt, pick(b, 30, 10), held)
			if err != nil {
				return err
			}
			ours, least := sample.Each(r.Took, sample.Millis), sample.Each(r.Least, sample.Millis)
			m := measured{ours: ours, ratios: sample.Ratios(ours, least)}
			m.limit = &limit{Name: "four round trips, delay " + r.How, P50: sample.Rounded(sample.Median(least))}
			found = append(found, m)
		}
		return nil
	})
	return found, err
}

// withSite has measure use a broker with an agent of this process. held says what its cards do with agents.HeldCommand.
func (b *bench) withSite(ctx context.Context, name string, measure func(ctx context.Context, site wan.Site, held func(func(context.Context))) error) error {
	group := run.New(ctx)
	defer group.Stop()
	host, err := b.startHost(name)
	if err != nil {
		return err
	}
	defer host.stop()
	var does atomic.Pointer[func(context.Context)]
	cfg := host.echo(cardbroker.SessionID(name))
	cfg.Held = func(ctx context.Context) { (*does.Load())(ctx) }
	holder, err := agents.NewEcho(group, cfg)
	if err != nil {
		return err
	}
	site := wan.Site{
		Door: strings.TrimPrefix(host.door, "wss://"),
		Client: func(address string) (*virtualreader.Client, error) {
			return leases.Client("wss://"+address, host.certificate(), token)
		},
		Ticket: holder.Ticket,
	}
	return measure(group.Context(), site, func(f func(context.Context)) { does.Store(&f) })
}
