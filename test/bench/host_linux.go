// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/client"
	"github.com/cardbroker/cardbroker/test/bench/agents"
	"github.com/cardbroker/cardbroker/test/bench/leases"
	"github.com/cardbroker/cardbroker/test/stage"
	"github.com/cardbroker/cardbroker/virtualreader"
)

const (
	tenant = "bench"
	token  = "a-token-for-the-benchmark"

	// hostConfig lets one user have more than twenty agents, and start many more one after the other, and a thousand tunnels.
	hostConfig = "limits:\n  reservationsPerUser: 200\n  connectionsPerUser: 2000\n"
)

// host is a broker with a door for back ends, and its agents.
type host struct {
	bench   *bench
	name    string
	socket  string
	pid     int
	door    string // URL for back ends
	listen  string // address for pages
	backend *virtualreader.Client
	running []*stage.Service // the broker first
	agents  int
}

// startHost starts a broker. Whoever gets it stops it.
func (b *bench) startHost(name string) (_ *host, err error) {
	h := &host{bench: b, name: name, socket: b.stage.Path(name+"-run", "broker.sock")}
	file := func(suffix string) string { return b.stage.Path(name + suffix) }
	if err := stage.IssueDoor(h.certificate(), file("-key.pem")); err != nil {
		return nil, err
	}
	for path, text := range map[string]string{file("-tokens"): tenant + " " + token + "\n", file("-token"): token + "\n", file(".yaml"): hostConfig} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	broker, ready, err := b.stage.Start(nil, name, "host", "run", "--config", file(".yaml"),
		"--state", file("-state"), "--socket", h.socket, "--listen", "127.0.0.1:0", "--backend-listen", "127.0.0.1:0",
		"--backend-cert", h.certificate(), "--backend-key", file("-key.pem"), "--backend-tokens", file("-tokens"))
	if err != nil {
		return nil, err
	}
	h.running, h.pid, h.door, h.listen = append(h.running, broker), ready.PID, ready.Backend, ready.Listen[0]
	h.backend, err = leases.Client(ready.Backend, h.certificate(), token)
	return h, err
}

// certificate is the file with the door's.
func (h *host) certificate() string { return h.bench.stage.Path(h.name + "-cert.pem") }

// open opens a tunnel.
func (h *host) open(ctx context.Context, ticket string) (*virtualreader.Tunnel, error) {
	return h.backend.Open(ctx, virtualreader.TicketReader, ticket, virtualreader.Options{})
}

// echo says how an agent of this process holds cards for the host's back end.
func (h *host) echo(session cardbroker.SessionID) agents.EchoConfig {
	return agents.EchoConfig{Broker: agents.Broker(h.socket), Tenant: tenant, Session: session}
}

// stop stops the agents and then the broker.
func (h *host) stop() error {
	var failed error
	for i := len(h.running) - 1; i >= 0; i-- {
		if err := h.running[i].Stop(); err != nil {
			failed = fmt.Errorf("%s: %w", h.name, err)
		}
	}
	return failed
}

// agent is the agent of a session of ours, with a software card.
type agent struct {
	*stage.Service
	pid  int
	port cardbroker.Port
}

// startAgent starts an agent in a session of its own.
func (h *host) startAgent() (*agent, error) { return h.startAgentOf("--software-card") }

// startAgentOf does that for the cards that arguments name.
func (h *host) startAgentOf(cards ...string) (*agent, error) {
	h.agents++
	name := fmt.Sprintf("%s-agent-%d", h.name, h.agents)
	service, ready, err := h.bench.stage.Start(nil, name, append([]string{"agent", "run", "--socket", h.socket,
		"--state", h.bench.stage.Path(h.name + "-agents"), "--session", name}, cards...)...)
	if err != nil {
		return nil, err
	}
	h.running = append(h.running, service)
	return &agent{Service: service, pid: ready.PID, port: cardbroker.Port(ready.Port)}, nil
}

// offer has the user offer his reader of that name to the back end, and returns the ticket.
func (a *agent) offer(ctx context.Context, reader string) (string, error) {
	asked := client.NewAgent(a.port)
	defer asked.Close()
	readers, err := asked.Readers(ctx)
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(readers, func(r api.CardReader) bool { return r.Name == reader })
	if i < 0 {
		return "", fmt.Errorf("the agent has no reader %q", reader)
	}
	offered, err := asked.Offer(ctx, api.Offer{Reader: readers[i].ID, Tenant: tenant})
	return offered.Ticket, err
}

// openTunnel opens a tunnel to a reader of the agent.
func (a *agent) openTunnel(ctx context.Context, h *host, reader string) (*virtualreader.Tunnel, error) {
	ticket, err := a.offer(ctx, reader)
	if err != nil {
		return nil, err
	}
	return h.open(ctx, ticket)
}
