// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/client"
	"github.com/cardbroker/cardbroker/test/stage"
	"github.com/cardbroker/cardbroker/virtualreader"
)

const (
	tenant = "bench"
	token  = "a-token-for-the-benchmark"

	// hostConfig lets one user have more than twenty agents, and start many more one after the other.
	hostConfig = "limits:\n  reservationsPerUser: 200\n  connectionsPerUser: 400\n"
)

// host is a broker with a door for back ends, and its agents.
type host struct {
	bench   *bench
	name    string
	socket  string
	pid     int
	backend *virtualreader.Client
	running []*stage.Service // the broker first
	agents  int
}

// startHost starts a broker. Whoever gets it stops it.
func (b *bench) startHost(name string) (_ *host, err error) {
	h := &host{bench: b, name: name, socket: b.stage.Path(name+"-run", "broker.sock")}
	file := func(suffix string) string { return b.stage.Path(name + suffix) }
	if err := stage.IssueDoor(file("-cert.pem"), file("-key.pem")); err != nil {
		return nil, err
	}
	for path, text := range map[string]string{file("-tokens"): tenant + " " + token + "\n", file(".yaml"): hostConfig} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	broker, ready, err := b.stage.Start(nil, name, "host", "run", "--config", file(".yaml"),
		"--state", file("-state"), "--socket", h.socket, "--listen", "127.0.0.1:0", "--backend-listen", "127.0.0.1:0",
		"--backend-cert", file("-cert.pem"), "--backend-key", file("-key.pem"), "--backend-tokens", file("-tokens"))
	if err != nil {
		return nil, err
	}
	h.running, h.pid = append(h.running, broker), ready.PID
	h.backend, err = backEnd(ready.Backend, file("-cert.pem"))
	return h, err
}

// backEnd is a client of the door at url, which has the certificate.
func backEnd(url, certificate string) (*virtualreader.Client, error) {
	pem, err := os.ReadFile(certificate)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return virtualreader.New(virtualreader.Config{
		Brokers: []string{url},
		TLS:     &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots},
		Token:   cardbroker.NewSecret([]byte(token)),
	})
}

// open opens a tunnel.
func (h *host) open(ctx context.Context, ticket string) (*virtualreader.Tunnel, error) {
	return h.backend.Open(ctx, virtualreader.TicketReader, ticket, virtualreader.Options{})
}

// broker is a client of the local socket.
func (h *host) broker() *client.Broker { return localBroker(h.socket) }

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
func (h *host) startAgent() (*agent, error) {
	h.agents++
	name := fmt.Sprintf("%s-agent-%d", h.name, h.agents)
	service, ready, err := h.bench.stage.Start(nil, name, "agent", "run", "--socket", h.socket, "--software-card",
		"--state", h.bench.stage.Path(h.name+"-agents"), "--session", name)
	if err != nil {
		return nil, err
	}
	h.running = append(h.running, service)
	return &agent{Service: service, pid: ready.PID, port: cardbroker.Port(ready.Port)}, nil
}

// offer has the user offer his reader to the back end, and returns the ticket.
func (a *agent) offer(ctx context.Context) (string, error) {
	asked := client.NewAgent(a.port)
	defer asked.Close()
	readers, err := asked.Readers(ctx)
	if err != nil {
		return "", err
	}
	if len(readers) != 1 {
		return "", fmt.Errorf("the agent has %d readers, want 1", len(readers))
	}
	offered, err := asked.Offer(ctx, api.Offer{Reader: readers[0].ID, Tenant: tenant})
	return offered.Ticket, err
}
