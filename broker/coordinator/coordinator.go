// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package coordinator is what the service broker and an elected leader do alike: it enters agents that come over their links,
// asks the kernel whose port is whose, tells each caller of his own agent, and relays the questions of web pages to it. What
// else comes over a link is its owner's business, by the hooks of [Config]. It knows no tenant, no tunnel and no policy.
package coordinator

import (
	"context"
	"log/slog"

	"golang.org/x/time/rate"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/broker/nearest"
	"github.com/cardbroker/cardbroker/broker/registry"
	"github.com/cardbroker/cardbroker/internal/peer"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

// Config is what a Coordinator is made of. A hook may be nil, but for Heard.
type Config struct {
	Registry *registry.Registry
	Kernel   *peer.Kernel
	Mode     string // [api.ModeService] or [api.ModeElected]
	HostName string
	Version  string
	Held     bool // we listen on the agents' ports in their place: agents assert none
	HeldIPv6 bool // and on [::1], too
	Log      *slog.Logger

	// Admit says whether what an agent says of itself will do; its claim is checked besides.
	Admit func(api.Register) error
	// Heard takes a message of an agent that the coordinator does not know. What makes work for others waits for news, or is
	// lost. An error ends the link.
	Heard    func(ctx context.Context, agent cardbroker.Agent, news *rate.Limiter, m api.FromAgent) error
	Ended    func(*Link)            // of [NewHub]
	Complete func(*api.Registered)  // adds to what an agent is told that has come
	Came     func(cardbroker.Agent) // has been told
	Left     func(cardbroker.Agent) // its link has ended
	LookedUp func(err error)        // of each [Coordinator.Resolve]
}

// Coordinator coordinates agents and their ports. Make it with [New].
type Coordinator struct {
	Hub     *Hub
	cfg     Config
	chooser *nearest.Chooser
	self    cardbroker.UserID
	links   *socket.Maker
	conns   *run.Group // links, and what else goes on beyond a request
}

// New returns a coordinator that has not started.
func New(cfg Config) *Coordinator {
	return &Coordinator{
		Hub:     NewHub(cfg.Ended),
		cfg:     cfg,
		chooser: nearest.New(),
		self:    peer.Self(),
		links:   socket.NewMaker(api.LinkProtocol),
	}
}

// Run serves until ctx ends, or what more starts fails. It stops in the reverse of the order in which it starts: servers, then
// links and what else [Coordinator.Go] has started, then the loops.
func (c *Coordinator) Run(ctx context.Context, more func(loops, servers *run.Group)) error {
	loops := run.New(context.WithoutCancel(ctx))
	loops.Go("registry", c.cfg.Registry.Run)
	loops.Go("hub", c.Hub.Run)
	loops.Go("chooser", c.chooser.Run)
	c.conns = run.New(loops.Context())
	servers := run.New(loops.Context())
	servers.Go("sharing", c.tellSharing)
	more(loops, servers)
	stop := context.AfterFunc(ctx, func() { servers.Stop() })
	defer stop()
	err := servers.Wait()
	c.conns.Stop()
	if failed := loops.Stop(); err == nil {
		err = failed
	}
	return err
}

// Go starts what goes on beyond a request. It ends after the servers, and is waited for.
func (c *Coordinator) Go(name string, f func(ctx context.Context) error) { c.conns.Go(name, f) }

// CheckPort asks the kernel whether whoever connects to the agent's port reaches the agent, or us in its place.
func (c *Coordinator) CheckPort(port cardbroker.Port, user cardbroker.UserID, ipv6 bool) error {
	if c.cfg.Held {
		user, ipv6 = c.self, c.cfg.HeldIPv6
	}
	return c.cfg.Kernel.CheckListener(port, user, ipv6)
}
