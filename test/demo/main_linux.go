// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/cardbroker/cardbroker/test/stage"
)

// limit is how long the whole demo may take.
const limit = 6 * time.Minute

func main() {
	if len(os.Args) > 1 { // this program again, as one of the demo's users
		os.Exit(actor(os.Args[1:]))
	}
	os.Exit(demo())
}

// newStage sets the stage with the programs that make build has built, and with this one.
func newStage(ctx context.Context) (*stage.Stage, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return stage.New(ctx, map[string]string{
		"cardbroker":  "build/cardbroker",
		"cardsandbox": "build/cardsandbox",
		"actor":       self,
	})
}

// demo sets the stage, plays the story and cleans up, whatever happens.
func demo() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	report := &report{out: os.Stdout}
	s, err := newStage(ctx)
	if err == nil {
		err = play(s, report)
	}
	if err != nil {
		report.check(false, "the demo went on to its end", err.Error())
	}
	if s != nil {
		for _, problem := range s.Strike() {
			report.check(false, "nothing is left behind", problem)
		}
	}
	report.times()
	fmt.Printf("\ndemo: %d checks passed, %d failed\n", report.passed, report.failed)
	if report.failed > 0 {
		return 1
	}
	return 0
}
