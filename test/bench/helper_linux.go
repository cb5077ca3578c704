// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"

	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/test/bench/agents"
	"github.com/cardbroker/cardbroker/test/bench/bare"
	"github.com/cardbroker/cardbroker/test/bench/calls"
	"github.com/cardbroker/cardbroker/test/bench/conns"
	"github.com/cardbroker/cardbroker/test/bench/counted"
	"github.com/cardbroker/cardbroker/test/bench/helper"
	"github.com/cardbroker/cardbroker/test/bench/leases"
	"github.com/cardbroker/cardbroker/test/bench/rest"
	"github.com/cardbroker/cardbroker/test/stage"
)

// What this program is when it is started as a helper, by the first argument.
const (
	helpHold     = "hold"      // ADDRESS COUNT: opens connections and keeps them
	helpRelayTCP = "relay-tcp" // ADDRESS: a bare relay to an echo
	helpRelayWeb = "relay-web" // URL: the same with WebSockets
	helpAgents   = "agents"    // SOCKET STATE COUNT: idle agents of one user
	helpIdle     = "idle"      // does nothing
	helpWaste    = "waste"     // does nothing, but has collected garbage once
	helpCard     = "softcard"  // serves as cardsandbox, and tells of its allocations
	helpPCSC     = "pcsc"      // SOCKET: serves a software card as a PC/SC service
	helpHolder   = "holder"    // SOCKET FOLDER: the agent's end of leases
	helpBackEnd  = "back-end"  // DOOR CERTIFICATE TICKET: the other end
	helpReaders  = "readers"   // serves as cardsandbox, with as many readers as there may be
	helpCalls    = "calls"     // SOCKET READER: makes the PC/SC calls that it is asked for
)

// help is a helper's main. It returns the exit status.
func help(args []string) int {
	ctx := context.Background()
	var err error
	switch kind := args[0]; {
	case kind == helpHold && len(args) == 3:
		err = conns.Hold(ctx, args[1], args[2], func() error { return say(nil) }, untilEnd)
	case kind == helpRelayTCP && len(args) == 2:
		err = listening(ctx, args[1], bare.RelayTCP)
	case kind == helpRelayWeb && len(args) == 2:
		err = listening(ctx, args[1], bare.RelayWeb)
	case kind == helpAgents && len(args) == 4:
		err = idle(ctx, args[1], args[2], args[3])
	case kind == helpIdle && len(args) == 1:
		err = sayUntilEnd(nil)
	case kind == helpWaste && len(args) == 1:
		runtime.GC()
		err = sayUntilEnd(nil)
	case kind == helpCard && len(args) == 1:
		err = counted.Serve(ctx)
	case kind == helpReaders && len(args) == 1:
		err = rest.ServeMany(ctx)
	case kind == helpPCSC && len(args) == 2:
		err = listening(ctx, args[1], calls.ServeSoftCard)
	case kind == helpHolder && len(args) == 3:
		cfg := agents.EchoConfig{Broker: agents.Broker(args[1]), Tenant: tenant, Session: helpHolder}
		err = leases.Hold(ctx, leases.Pipe{In: os.Stdin, Out: os.Stdout}, cfg, args[2])
	case kind == helpBackEnd && len(args) == 4:
		end := leases.BackEnd{Door: args[1], Certificate: args[2], Token: token, Ticket: args[3], Command: echoCommand()}
		err = leases.Use(ctx, leases.Pipe{In: os.Stdin, Out: os.Stdout}, end)
	case kind == helpCalls && len(args) == 3:
		err = calls.Run(args[1], args[2], os.Stdin, os.Stdout)
	default:
		err = fmt.Errorf("unknown arguments %q", args)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench %s: %v\n", args[0], err)
		return 1
	}
	return 0
}

// say tells the bench that the helper is ready, and where.
func say(where any) error { return json.NewEncoder(os.Stdout).Encode(where) }

// untilEnd waits for the bench to close our standard input, or to end.
func untilEnd() error {
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

func sayUntilEnd(where any) error {
	if err := say(where); err != nil {
		return err
	}
	return untilEnd()
}

// listening is a helper that serves in goroutines of the group until the end, and says where.
func listening(ctx context.Context, at string, serve func(*run.Group, string) (where string, err error)) error {
	group := run.New(ctx)
	defer group.Stop()
	where, err := serve(group, at)
	if err != nil {
		return err
	}
	return sayUntilEnd(where)
}

// idle is the helper that runs agents of one user.
func idle(ctx context.Context, socket, state, number string) error {
	count, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	return listening(ctx, socket, func(group *run.Group, socket string) (string, error) {
		return "", agents.Idle(group, socket, state, count)
	})
}

// help starts a helper as a user of the stage, nil being ourselves, and waits until it says that it is ready. What it
// says is decoded into where, unless that is nil.
func (b *bench) help(p *stage.Person, where any, args ...string) (*helper.Process, error) {
	process, err := helper.Start(b.stage.Command(p, "bench", args...), where)
	if err != nil {
		return nil, fmt.Errorf("the helper %s: %w", args[0], err)
	}
	return process, nil
}
