// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package broker is the host service: it keeps the registry of the sessions' agents, asks the kernel who is calling,
// tells each browser of its own agent, and relays the tunnels of back ends. It never touches PC/SC, PKCS#11 or an APDU,
// and holds no ticket, lease or consent: those are the agents'.
//
// Two loops own its state: the [registry.Registry], which is stored, and the hub of the live links, which is not. A third
// looks for the processes of callers. Handlers wait for loops; loops never wait for each other.
package broker

import (
	"cmp"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/broker/coordinator"
	"github.com/cardbroker/cardbroker/broker/dialout"
	"github.com/cardbroker/cardbroker/broker/forward"
	"github.com/cardbroker/cardbroker/broker/issuer"
	"github.com/cardbroker/cardbroker/broker/metrics"
	"github.com/cardbroker/cardbroker/broker/registry"
	"github.com/cardbroker/cardbroker/broker/tenant"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/peer"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// What one back end's address may have. Each tunnel is a connection, and all of them come back when the broker was away: in two seconds, long
// before their leases are over.
const (
	maxBackendConns  = 4096 // at a time
	backendPerSecond = 1024 // requests, in the long run; twice as many at once
)

// Config is what a broker is made of.
type Config struct {
	Listen   []net.Listener    // the well-known port on 127.0.0.1 and, where there is IPv6, on [::1]
	Socket   net.Listener      // the local socket of agents and administrators
	Backend  *Backend          // the back-end door; nil: none
	DialOut  []*dialout.Caller // rendezvous that the broker calls
	Browsers Browsers          // TLS and further ports for web pages
	Metrics  Scrapers          // who may read the metrics over TCP; the zero one: nobody
	Registry registry.Config
	Audit    Auditor // nil: nothing is recorded
	MaxConns int     // of one user at a time; 0: 64
	HostName string  // as back ends see it
	Version  string
	Log      *slog.Logger
}

// Auditor records what must be evidence later. Nobody waits for it: no method blocks.
type Auditor interface {
	// Record records what the broker saw; of is whom the event is about, nil: the broker itself, or somebody unknown.
	Record(of *cardbroker.AgentKey, e cardbroker.Event)
	// Say records what an agent says.
	Say(of cardbroker.AgentKey, e api.Event)
	// Status says how the log is.
	Status() api.AuditStatus
}

// Backend is the door for back ends.
type Backend struct {
	Listen  net.Listener // plain TCP: the broker speaks TLS on it
	TLS     *tls.Config
	Tenants *tenant.Authority
	Issuer  *issuer.Issuer // whose tokens Tenants believes
	URL     string         // as back ends and tickets name it: wss://host:port

	PerSecond int // requests of one address, in the long run; twice as many at once; 0: 1,024
}

// Broker is the host service. Make it with [New].
type Broker struct {
	cfg      Config
	registry *registry.Registry
	guard    *registry.Guard
	core     *coordinator.Coordinator
	board    *switchboard
	kernel   *peer.Kernel
	self     cardbroker.UserID
	tunnels  *socket.Maker
	front    *httpserver.Server // of connections that are forwarded to agents
	splicer  *forward.Splicer
	metrics  *metrics.Metrics
}

// New returns a broker that has not started. It loads the registry from the ledger.
func New(ctx context.Context, cfg Config, ledger registry.Ledger) (*Broker, error) {
	var b *Broker
	count := metrics.New(metrics.Config{
		Version: cfg.Version,
		Agents:  func() []cardbroker.Agent { return b.registry.View().Agents() },
		Links:   func() int { return len(b.board.View()) },
	})
	cfg.Registry.Hold, cfg.Registry.Committed = cfg.Browsers.TLS != nil, count.Committed
	entries, err := registry.New(ctx, cfg.Registry, ledger, cfg.Log)
	if err != nil {
		return nil, err
	}
	b = &Broker{
		cfg:      cfg,
		registry: entries,
		board:    newSwitchboard(),
		kernel:   peer.NewKernel(),
		self:     peer.Self(),
		tunnels:  socket.NewMaker(wire.Subprotocol),
		splicer:  forward.New(),
		metrics:  count,
	}
	b.core = coordinator.New(coordinator.Config{
		Registry: entries,
		Kernel:   b.kernel,
		Mode:     api.ModeService,
		HostName: cfg.HostName,
		Version:  cfg.Version,
		Held:     b.holds(),
		HeldIPv6: len(cfg.Listen) > 1,
		Log:      cfg.Log,
		Heard:    b.heard,
		Ended:    b.board.leave,
		Complete: b.complete,
		Came:     b.came,
		Left:     b.left,
		LookedUp: count.LookedUp,
	})
	b.board.Hub = b.core.Hub
	b.front = b.newFront()
	b.guard = registry.NewGuard(entries, b.restarting(), cfg.Log)
	if b.holds() {
		b.guard.Accept = b.acceptHeld
	}
	return b, nil
}

// Run serves until ctx ends. It stops in the reverse of the order in which it starts: listeners, then links and
// tunnels, then the loops. It owns the listeners of its configuration.
func (b *Broker) Run(ctx context.Context) error {
	defer b.kernel.Close()
	b.record(nil, cardbroker.Event{Name: cardbroker.EventBrokerStarted, Detail: "version " + b.cfg.Version})
	defer b.record(nil, cardbroker.Event{Name: cardbroker.EventBrokerStopped})
	return b.core.Run(ctx, b.start)
}

// start starts what a service has beyond coordination.
func (b *Broker) start(loops, servers *run.Group) {
	loops.Go("guard", b.guard.Run)
	if b.cfg.Backend != nil {
		loops.Go("tenants", b.cfg.Backend.Tenants.Run)
		loops.Go("issuer", b.cfg.Backend.Issuer.Run)
	}
	servers.Go("loopback", b.serveLoopback)
	servers.Go("front", b.serveFront)
	if b.holds() {
		servers.Go("certificates", b.recordCertificates)
	}
	servers.Go("local", b.serveLocal)
	servers.Go("metrics", b.serveMetrics)
	if b.cfg.Backend != nil {
		servers.Go("backend", b.serveBackend)
	}
	for _, to := range b.cfg.DialOut {
		servers.Go("dial out", func(ctx context.Context) error { return b.serveDialled(ctx, to) })
	}
}

func (b *Broker) serveLoopback(ctx context.Context) error {
	server := httpserver.New(httpserver.Config{
		Routes:    b.core.LoopbackRoutes(),
		Authorize: b.authorizeLoopback,
		Refused:   b.refused,
		MaxConns:  b.cfg.MaxConns,
		Log:       b.cfg.Log,
	})
	listeners := make([]httpserver.Listener, len(b.cfg.Listen))
	for i, listener := range b.cfg.Listen {
		listeners[i] = b.browserListener(listener, true)
	}
	return server.Serve(ctx, listeners...)
}

// authorizeLoopback admits every caller that the kernel can name: what he gets is about his own agent.
func (b *Broker) authorizeLoopback(_ *http.Request, access httpserver.Access) error {
	if access == httpserver.Public || access == httpserver.Self {
		return nil
	}
	return cardbroker.Refusef(cardbroker.CallerRefused, cardbroker.RuleNotAdmin, "not on this port")
}

func (b *Broker) serveLocal(ctx context.Context) error {
	server := httpserver.New(httpserver.Config{
		Routes:    b.localRoutes(),
		Authorize: b.authorizeLocal,
		Refused:   b.refused,
		MaxConns:  b.cfg.MaxConns,
		Log:       b.cfg.Log,
	})
	return server.Serve(ctx, httpserver.Listener{Listener: b.cfg.Socket, Kind: httpserver.Local{}})
}

func (b *Broker) serveBackend(ctx context.Context) error {
	d := door{Broker: b, tenants: b.cfg.Backend.Tenants}
	return d.server(maxBackendConns, cmp.Or(b.cfg.Backend.PerSecond, backendPerSecond), b.tokenRoutes()...).Serve(ctx,
		httpserver.Listener{Listener: b.cfg.Backend.Listen, Kind: httpserver.Remote{}, TLS: b.cfg.Backend.TLS})
}

// serveDialled serves a rendezvous that the broker calls as a back end that came to the door.
func (b *Broker) serveDialled(ctx context.Context, to *dialout.Caller) error {
	d := door{Broker: b, tenants: tenant.Dialled{Tenant: to.Tenant(), URL: to.URL()}}
	return to.Serve(ctx, d.server(dialout.MaxConns, dialout.MaxConns))
}
