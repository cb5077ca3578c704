// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package elected is the registry of a host without a service: what the agent does that was elected ([election.Term]). It
// coordinates the ports of agents and answers web pages, over the well-known port alone. It opens no tunnel, knows no tenant and
// holds no port for anybody: an agent that comes has bound its port, and asserts it. What it does not do it does not import.
package elected

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/broker/coordinator"
	"github.com/cardbroker/cardbroker/broker/registry"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/peer"
	"github.com/cardbroker/cardbroker/internal/run"
)

const (
	maxConns     = 1024                   // of all users but our own
	ownConns     = 4096                   // of our own: whatever others do, his agents find room, and who asks whether we work
	ownPerSecond = 1000                   // Config.PerSecond where that says nothing
	patience     = 200 * time.Millisecond // for what runs when the term ends: the agents are to elect
)

// Config is what a Leader is made of.
type Config struct {
	Listen   []net.Listener      // the well-known port on 127.0.0.1 and, where there is IPv6, on [::1]
	Registry registry.Config     // Ports, PerUser, Epoch; it begins empty
	AnyUser  bool                // agents and pages of other users are served too
	Accounts []cardbroker.UserID // that a service may run as, besides root: at their wish it resigns
	Resign   func(why string)    // is called then; must not block
	HostName string
	Version  string
	Log      *slog.Logger

	PerSecond int // requests of our own user, in the long run; twice as many at once; 0: 1,000
}

// Leader is an elected registry. Make it with [New].
type Leader struct {
	cfg    Config
	kernel *peer.Kernel
	core   *coordinator.Coordinator
	self   cardbroker.UserID
	epoch  uint64
}

// New returns a leader that has not started: nobody has asserted anything yet. Errors: as [registry.New].
func New(ctx context.Context, cfg Config) (*Leader, error) {
	entries, err := registry.New(ctx, cfg.Registry, memory{}, cfg.Log)
	if err != nil {
		return nil, err
	}
	l := &Leader{cfg: cfg, kernel: peer.NewKernel(), self: peer.Self(), epoch: entries.View().Epoch()}
	l.core = coordinator.New(coordinator.Config{
		Registry: entries,
		Kernel:   l.kernel,
		Mode:     api.ModeElected,
		HostName: cfg.HostName,
		Version:  cfg.Version,
		Log:      cfg.Log,
		Admit:    admit,
		Heard:    l.heard,
	})
	return l, nil
}

// Run is the leader's term: it serves until ctx ends. It owns the listeners of its configuration.
func (l *Leader) Run(ctx context.Context) error {
	defer l.kernel.Close()
	l.cfg.Log.Info("this agent is elected, and keeps the registry", "port", l.cfg.Listen[0].Addr().(*net.TCPAddr).Port, "term", l.epoch)
	return l.core.Run(ctx, func(_, servers *run.Group) {
		servers.Go("loopback", l.serve)
		servers.Go("voters", l.appoint)
	})
}

func (l *Leader) serve(ctx context.Context) error {
	server := httpserver.New(httpserver.Config{
		Routes:    append(l.core.LoopbackRoutes(), l.localRoutes()...),
		Authorize: l.authorize,
		MaxAll:    maxConns,
		Own:       &httpserver.Share{User: l.self, Conns: ownConns, PerSecond: cmp.Or(l.cfg.PerSecond, ownPerSecond)},
		Patience:  patience,
		Epoch:     l.epoch,
		Log:       l.cfg.Log,
	})
	listeners := make([]httpserver.Listener, len(l.cfg.Listen))
	for i, listener := range l.cfg.Listen {
		listeners[i] = httpserver.Listener{Listener: listener, Kind: httpserver.Loopback{Kernel: l.kernel}}
	}
	return server.Serve(ctx, listeners...)
}

// localRoutes are what agents ask, and a service that starts: over TCP, since an agent has no socket that other users would trust.
func (l *Leader) localRoutes() []httpserver.Route {
	return []httpserver.Route{
		{Method: "GET", Path: "/local/v1/agents", Access: httpserver.Agent, Handle: l.core.OwnSessions},
		{Method: "GET", Path: "/local/v1/link", Access: httpserver.Agent, Handle: l.core.OpenLink},
		{Method: "POST", Path: "/local/v1/release", Access: httpserver.Agent, Handle: l.core.Release},
		{Method: "POST", Path: "/local/v1/resign", Access: httpserver.Service, Handle: l.resign},
	}
}

// authorize admits the leader's own user, others where machine policy says so, and to its port's handing over who may run a
// service. A page of another user is told so, whatever it asks: what it heard here could come from anybody.
func (l *Leader) authorize(r *http.Request, access httpserver.Access) error {
	user := httpserver.CallerOf(r.Context()).User
	switch {
	case access == httpserver.Service && !l.mayServe(user):
		return cardbroker.Refusef(cardbroker.CallerRefused, cardbroker.RuleNotAdmin, "only root and the service account may do this")
	case access == httpserver.Service:
		return nil
	case access != httpserver.Public && access != httpserver.Agent:
		return cardbroker.Refusef(cardbroker.CallerRefused, cardbroker.RuleNotAdmin, "not on this port")
	case user != l.self && !l.cfg.AnyUser:
		return cardbroker.Refusef(cardbroker.CallerRefused, cardbroker.RuleScopeSameUser,
			"no service runs on this host, and the agent that keeps its registry serves its own user alone")
	}
	return nil
}

// mayServe says whether a service may run as the user.
func (l *Leader) mayServe(user cardbroker.UserID) bool {
	return user == (cardbroker.UserID{}) || slices.Contains(l.cfg.Accounts, user)
}

// resign has the term end: a service is there.
func (l *Leader) resign(w http.ResponseWriter, r *http.Request) error {
	why := fmt.Sprintf("a service of user %s wants the port", httpserver.CallerOf(r.Context()).User)
	l.cfg.Resign(why)
	return httpserver.JSON(w, struct{}{})
}

// admit wants the port that an agent has bound: nothing is promised here.
func admit(register api.Register) error {
	if register.Port == 0 {
		return cardbroker.Errorf(cardbroker.Invalid, "an elected registry promises no ports: bind one and assert it")
	}
	if register.Voter != nil {
		return checkVoter(*register.Voter)
	}
	return nil
}

// heard takes where an agent gossips. What it says of readers, tunnels and callers is for a service: here nobody asks for it.
func (l *Leader) heard(ctx context.Context, agent cardbroker.Agent, news *rate.Limiter, m api.FromAgent) error {
	switch {
	case m.Voter != nil:
		if err := checkVoter(*m.Voter); err != nil {
			return err
		}
		if err := news.Wait(ctx); err != nil {
			return err
		}
		return l.core.Hub.Update(ctx, agent.Route, func(v *coordinator.View) {
			if v.Voter != nil && v.Voter.Name == m.Voter.Name && v.Voter.Born == m.Voter.Born { // who it is it has said
				v.Voter = m.Voter
			}
		})
	case m.Offers != nil, m.Refused != nil, m.Caller != nil, m.Event != nil, m.Usage != nil:
		return nil
	}
	return coordinator.Unexpected()
}
