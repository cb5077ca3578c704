// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent"
	"github.com/cardbroker/cardbroker/agent/home"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/broker/elected"
	"github.com/cardbroker/cardbroker/broker/registry"
	"github.com/cardbroker/cardbroker/client"
	"github.com/cardbroker/cardbroker/election"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/epoch"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/peer"
	"github.com/cardbroker/cardbroker/internal/processors"
	owned "github.com/cardbroker/cardbroker/internal/run"
)

// office is what an agent runs when it is elected, and how it finds who was.
type office struct {
	*client.Elected
	*election.Elector

	port     cardbroker.Port
	ports    cardbroker.Ports
	scope    config.Election
	accounts []cardbroker.UserID
	state    string // directory
	few      *processors.Few
	owners   *owned.Group
	log      *slog.Logger
}

var _ agent.Election = (*office)(nil)

// stand has an agent stand for election. The election begins when the agent seeks a registry, and stop ends it.
func stand(ctx context.Context, cfg agent.Config, at config.Elect, service *client.Broker) (o *office, stop func() error, err error) {
	o = &office{scope: cfg.Policy.Election, accounts: service.Accounts(), state: cfg.State, few: cfg.Few, log: cfg.Log}
	if o.port, err = loopbackPort("elect.listen", at.Listen); err != nil {
		return nil, nil, err
	}
	if o.port == 0 {
		return nil, nil, cardbroker.Errorf(cardbroker.Invalid, "elect.listen %s: want a port, the same for all agents", at.Listen)
	}
	if o.ports, err = cardbroker.ParsePorts(at.Ports); err != nil {
		return nil, nil, fmt.Errorf("elect.ports: %w", err)
	}
	folder, err := home.Open(cfg.State)
	if err != nil {
		return nil, nil, err
	}
	secret, err := folder.Secret()
	if err != nil {
		return nil, nil, err
	}
	o.Elector = election.New(election.Config{
		Take:    o.take,
		Health:  o.healthy,
		Abandon: abandon(cfg.Log),
		Self:    api.Voter{Name: strings.ToLower(rand.Text()), Born: epoch.Now()},
		Log:     cfg.Log,
	})
	o.Elected = client.NewElected(client.ElectedConfig{
		Service: service, Port: o.port, Ports: o.ports, AnyUser: o.scope.AnyUser, AfterService: o.scope.AfterService,
		Secret: secret, Store: filepath.Join(o.state, home.ElectedFile), Seek: o.Elector.Seek, Log: cfg.Log,
	})
	o.owners = owned.New(context.WithoutCancel(ctx)) // the agent ends first
	o.owners.Go("election", o.Elector.Run)
	return o, func() error {
		defer o.Elected.Close()
		return o.owners.Stop()
	}, nil
}

// healthy asks the registry over its port whether it works. That the host has no port left to ask from says nothing of it: whoever takes
// them all would have it leave office, and the well-known port to him.
func (o *office) healthy(ctx context.Context) error {
	err := client.AskHealth(ctx, o.port)
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		return nil
	}
	return err
}

// take binds the port of the registry on both loopback addresses, which makes us the only one. That we have it can be told by a file that
// we lock, if we can: it is for people, and no reason not to lead.
func (o *office) take(ctx context.Context) (election.Term, error) {
	listeners, err := httpserver.ListenLoopback(ctx, o.port)
	if err != nil {
		return nil, err
	}
	cfg := elected.Config{
		Listen:   listeners,
		Registry: registry.Config{Ports: o.ports, Epoch: epoch.Now()},
		AnyUser:  o.scope.AnyUser,
		Accounts: o.accounts,
		Resign:   o.resign,
		HostName: hostName(""),
		Version:  version(),
		Log:      o.log,
	}
	if !o.scope.AnyUser { // what is used up is our own user's
		cfg.Registry.PerUser = len(o.ports)
	}
	leader, err := elected.New(ctx, cfg)
	if err != nil {
		closeAll(listeners)
		return nil, err
	}
	return func(ctx context.Context) error {
		defer o.few.All()() // who leads works for all agents
		seen := owned.New(ctx)
		defer seen.Stop()
		lock, err := peer.Lock(filepath.Join(o.state, home.ElectedFile))
		seen.Go("file", func(ctx context.Context) error { o.beSeen(ctx, lock, err); return nil })
		return leader.Run(ctx)
	}, nil
}

// beSeen keeps the lock of the file until ctx ends, once it is ours: who led before may have left the port and not yet the file.
func (o *office) beSeen(ctx context.Context, lock io.Closer, err error) {
	for wait := 100 * time.Millisecond; err != nil; wait *= 2 {
		if cardbroker.ReasonOf(err) != cardbroker.Conflict || wait > time.Minute {
			o.log.Info("nobody can tell by its file who keeps the registry", "err", err)
			return
		}
		if !owned.Pause(ctx, wait) {
			return
		}
		lock, err = peer.Lock(filepath.Join(o.state, home.ElectedFile))
	}
	<-ctx.Done()
	lock.Close()
}

// resign leaves the port to a service, and waits for nobody.
func (o *office) resign(why string) {
	o.owners.Go("resign", func(ctx context.Context) error { return o.Elector.Resign(ctx, why) })
}

// abandon ends the process: a registry that hangs keeps its port from everybody else for as long as its process is there.
func abandon(log *slog.Logger) func(error) {
	return func(why error) {
		log.Error("the elected registry hangs, and its process ends", "err", why)
		os.Exit(1)
	}
}
