// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/test/election/actor"
	"github.com/cardbroker/cardbroker/test/election/bed"
)

// TestMain plays actors, runs the tests in a network of their own, and builds the programs under test.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == actor.Name {
		os.Exit(actor.Main(os.Args[1:]))
	}
	if os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	if status, done := bed.Alone(); !done {
		os.Exit(status)
	}
	dir, err := os.MkdirTemp("", "cardbroker-election-")
	if err == nil {
		err = build(context.Background(), dir)
	}
	if err != nil {
		panic(err)
	}
	os.Setenv(programs, dir)
	status := m.Run()
	os.RemoveAll(dir)
	os.Exit(status)
}

// programs names the directory of the programs under test.
const programs = "CARDBROKER_TEST_PROGRAMS"

// TestStories plays each story, short: what takes a minute is for the benchmarks, and for who looks for a fault.
func TestStories(t *testing.T) {
	testenv.Root(t)
	for _, one := range stories() {
		if one.long {
			continue
		}
		t.Run(one.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			var said, progress strings.Builder
			s := show{rounds: one.rounds, slack: 10 * time.Second, agents: 10, programs: os.Getenv(programs), stderr: &progress}
			if err := s.one(ctx, one, &said); err != nil {
				t.Fatalf("%v\n%s", err, progress.String())
			}
			t.Log(said.String())
		})
	}
}
