// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package failover

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"github.com/cardbroker/cardbroker/test/bench/sample"
	"github.com/cardbroker/cardbroker/test/election/bed"
)

// What stories find, by name: see [Found].
const (
	Failover = "failover, kill -9 to all others registered"
	Crowd    = "failover with 1,000 watchers, kill -9 to all asserted again"
	Peer     = "death seen by all by gossip alone"
	Watcher  = "wake-ups of a watcher"
	Voter    = "processor of a voter"
)

// Found is what a story has found out.
type Found struct {
	Story string
	Took  float64 // seconds

	Millis map[string][]float64 // what was timed
	Counts map[string]int       // what was counted
	Shares map[string][]float64 // in percent of a processor
	Wakes  map[string][]float64 // in the window that was looked at

	Missing string `json:",omitempty"` // why nothing can be measured here
}

// Alone returns what gossip alone takes, in ms; 0: it was not measured.
func (f Found) Alone() float64 {
	if len(f.Millis[Peer]) == 0 {
		return 0
	}
	return sample.Rounded(sample.Median(f.Millis[Peer]))
}

// Measure plays the stories that the figures come from, with 60 agents and so many deaths, and returns all that was found. The program
// is test/election; programs is the directory of those under test.
func Measure(ctx context.Context, program, programs string, rounds int, progress io.Writer) (all Found, err error) {
	all = Found{Millis: map[string][]float64{}, Shares: map[string][]float64{}, Wakes: map[string][]float64{}}
	if os.Geteuid() != 0 {
		all.Missing = "needs root: it plays several users"
		return all, nil
	}
	cmd := exec.CommandContext(ctx, program, "--json", "--programs", programs, "--rounds", fmt.Sprint(rounds), "failover", "crowd", "idle", "peer")
	bed.InNamespace(cmd)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Stderr = progress
	text, err := cmd.Output()
	if err != nil {
		return all, fmt.Errorf("%s: %w", program, err)
	}
	for stories := json.NewDecoder(bytes.NewReader(text)); ; {
		var one Found
		if err := stories.Decode(&one); err == io.EOF {
			return all, nil
		} else if err != nil {
			return all, err
		}
		for name, samples := range one.Millis {
			all.Millis[name] = samples
		}
		for name, samples := range one.Shares {
			all.Shares[name] = samples
		}
		for name, samples := range one.Wakes {
			all.Wakes[name] = samples
		}
	}
}
