// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package kept

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/cardbroker/cardbroker/test/pcscbed"
)

// Row is a figure, and how much it may be in the middle.
type Row struct {
	Name, Unit string
	Most       float64
}

// Rows are the ways to a list of certificates, of a card in the next port and of one that is 100 ms away, each with how many commands
// the card was sent. A new process of OpenSC's module asks the card for nearly everything before it says a serial number.
func Rows() (rows []Row) {
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
			rows = append(rows, Row{name, "ms", most}, Row{name + ": commands to the card", "APDUs", way.commands})
		}
	}
	return rows
}

// Supported says why nothing can be measured here; nil: it can.
func Supported() error {
	if library() == "" {
		return errors.New("OpenSC's module is not installed")
	}
	return pcscbed.Supported()
}

func library() string {
	found, _ := filepath.Glob("/usr/lib/*/opensc-pkcs11.so") // an error is the pattern's
	if len(found) == 0 {
		return ""
	}
	return found[0]
}

// Measure returns the samples of the rows, in so many rounds with each of the cards, with the programs of a folder, cardsandbox and
// vcard. dir is for what it makes.
func Measure(ctx context.Context, programs, dir string, near, far int) (samples [][]float64, err error) {
	samples, err = measure(ctx, programs, dir+"-near", 0, near)
	if err != nil {
		return nil, err
	}
	distant, err := measure(ctx, programs, dir+"-far", 100*time.Millisecond, far)
	return append(samples, distant...), err
}

func measure(ctx context.Context, programs, dir string, delay time.Duration, rounds int) (samples [][]float64, err error) {
	bed, err := pcscbed.Start(ctx, pcscbed.Config{Dir: dir, Readers: 1, Card: filepath.Join(programs, "vcard")})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, bed.Stop()) }()
	s := &setting{sandbox: filepath.Join(programs, "cardsandbox"), library: library(), socket: bed.Socket(), reader: bed.Readers()[0], dir: dir + "-agent"}
	if err := bed.Insert(ctx, 0, pcscbed.Card{Commands: &s.sent, Delay: delay}); err != nil {
		return nil, err
	}
	var m ways
	for range rounds {
		if err := s.round(ctx, &m); err != nil {
			return nil, err
		}
	}
	for _, way := range []way{m.cold, m.same, m.again, m.restarted} {
		samples = append(samples, way.took, way.commands)
	}
	return samples, nil
}
