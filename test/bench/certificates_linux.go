// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/cardbroker/cardbroker/test/bench/kept"
	"github.com/cardbroker/cardbroker/test/pcscbed"
)

// certificateRows are the ways to a list of certificates, of a card in the next port and of one that is 100 ms away, each with how many
// commands the card was sent. What a new process of the module asks before it says a serial number is OpenSC's: 38 of its 43 commands.
func certificateRows() (rows []row) {
	for _, far := range []string{"", ", 100 ms to the card"} {
		for _, way := range []struct {
			name      string
			near, far float64 // ms
			commands  float64
		}{
			{"from the card", 1000, 8000, 60},
			{"of the same insertion", 0.1, 0.1, 0},
			{"put in again", 50, 500, 4},
			{"after a restart of the agent", 500, 6000, 50},
		} {
			most := way.near
			if far != "" {
				most = way.far
			}
			name := "certificates through OpenSC, " + way.name + far
			rows = append(rows, row{name, "ms", goal{ofP50, most}}, row{name + ": commands to the card", "APDUs", goal{ofMax, way.commands}})
		}
	}
	return rows
}

// certificates measures the agent's cache before OpenSC's module, pcscd and the software card.
func (b *bench) certificates(ctx context.Context) (found []measured, err error) {
	library, _ := filepath.Glob("/usr/lib/*/opensc-pkcs11.so")
	if why := pcscbed.Supported(); why != nil || len(library) == 0 {
		return skipAll(len(certificateRows()), errors.Join(why, errors.New("OpenSC's module is not installed"))), nil
	}
	for _, delay := range []time.Duration{0, 100 * time.Millisecond} {
		var sent kept.Counter
		bed, err := b.startBed(ctx, fmt.Sprintf("kept%d", delay), pcscbed.Card{Commands: &sent, Delay: delay})
		if err != nil {
			return nil, err
		}
		rounds := pick(b, 10, 3)
		if delay > 0 {
			rounds = pick(b, 3, 1)
		}
		m, err := kept.Measure(ctx, kept.Config{
			Sandbox: b.stage.Path("bin", "cardsandbox"), Library: library[0], Socket: bed.Socket(), Reader: bed.Readers()[0],
			Dir: b.stage.Path("kept"), Sent: &sent,
		}, rounds)
		if err := errors.Join(err, bed.Stop()); err != nil {
			return nil, err
		}
		for _, way := range []kept.Way{m.Cold, m.Same, m.Again, m.Restarted} {
			found = append(found, measured{ours: way.Took}, measured{ours: way.Commands})
		}
	}
	return found, nil
}
