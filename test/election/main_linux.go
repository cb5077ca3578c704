// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cardbroker/cardbroker/test/election/actor"
	"github.com/cardbroker/cardbroker/test/election/bed"
)

const usage = "usage: election [--rounds N] [--agents N] [--programs DIR] [--json] [STORY…]"

func main() {
	if filepath.Base(os.Args[0]) == actor.Name {
		os.Exit(actor.Main(os.Args[1:]))
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "election: needs root: it plays several users")
		os.Exit(4)
	}
	if status, done := bed.Alone(); !done {
		os.Exit(status)
	}
	os.Exit(start(os.Args[1:], os.Stdout, os.Stderr))
}

// show is one run.
type show struct {
	rounds   int
	slack    time.Duration // that a failover may take beyond its limit: tests look at what is true, on a machine that does much else
	agents   int
	programs string // a directory; empty: they are built
	json     bool
	names    []string
	stderr   io.Writer
}

// start plays the stories and returns the exit status.
func start(args []string, stdout, stderr io.Writer) int {
	s := &show{rounds: 10, agents: 60, stderr: stderr}
	if err := s.parse(args); err != nil {
		fmt.Fprintf(stderr, "election: %v\n%s\n", err, usage)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := s.play(ctx, stdout); err != nil {
		fmt.Fprintln(stderr, "election:", err)
		return 1
	}
	return 0
}

func (s *show) parse(args []string) (err error) {
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		switch {
		case word == "--json":
			s.json = true
		case strings.HasPrefix(word, "--") && len(args) == 0:
			return fmt.Errorf("unknown argument %q, or without a value", word)
		case word == "--rounds":
			s.rounds, err = strconv.Atoi(args[0])
			args = args[1:]
		case word == "--agents":
			s.agents, err = strconv.Atoi(args[0])
			args = args[1:]
		case word == "--programs":
			s.programs, args = args[0], args[1:]
		case slices.ContainsFunc(stories(), func(one story) bool { return one.name == word }):
			s.names = append(s.names, word)
		default:
			return fmt.Errorf("no story has the name %q", word)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// play plays the stories that were named, or all.
func (s *show) play(ctx context.Context, stdout io.Writer) error {
	if s.programs == "" {
		dir, err := os.MkdirTemp("", "cardbroker-election-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		if err := build(ctx, dir); err != nil {
			return err
		}
		s.programs = dir
	}
	for _, one := range stories() {
		if len(s.names) > 0 && !slices.Contains(s.names, one.name) {
			continue
		}
		if err := s.one(ctx, one, stdout); err != nil {
			return fmt.Errorf("%s: %w", one.name, err)
		}
	}
	return nil
}

// one plays a story on a host of its own.
func (s *show) one(ctx context.Context, one story, stdout io.Writer) (err error) {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	b, err := bed.New(ctx, bed.Config{Programs: s.programs, Actor: self, Users: one.users})
	defer func() {
		for _, problem := range b.Strike() {
			err = errors.Join(err, errors.New(problem))
		}
	}()
	if err != nil {
		return err
	}
	began := time.Now()
	found, err := one.play(ctx, b, *s)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, b.Logs())
	}
	found.Story, found.Took = one.name, time.Since(began).Seconds()
	if s.json {
		return json.NewEncoder(stdout).Encode(found)
	}
	_, err = fmt.Fprintln(stdout, found)
	return err
}

// build builds the programs under test.
func build(ctx context.Context, dir string) error {
	for _, program := range []string{"cardbroker", "cardsandbox"} {
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", dir+"/", "github.com/cardbroker/cardbroker/cmd/"+program)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // the software card will do
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("cannot build %s: %w: %s", program, err, out)
		}
	}
	return nil
}
