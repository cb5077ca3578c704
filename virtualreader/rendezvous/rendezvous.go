// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package rendezvous is where hosts call that let no back end in (backend.connect in their host.yaml): it listens, keeps the
// hosts' calls, and gets connections to their brokers for a virtualreader.Client, which goes on as if it had connected
// itself. It owns its listener, the calls and the goroutines that hold them; the connections are their takers'.
package rendezvous

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/loop"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

const (
	maxHosts    = 4096
	maxConns    = 4096                  // of one address at a time, calls and connections
	perSecond   = 1024                  // of one address, calls and connections: a site's hosts may have one, and bring what they were asked for
	maxWaiting  = 256                   // connections that one host is asked for at a time
	dialTimeout = 15 * time.Second      // until a host has brought a connection
	callAgain   = 90*time.Second + slow // at most, between two calls of a host
	slow        = 10 * time.Second      // that a call may take
)

// Config says where to listen, and who may call. A host shows a certificate of a CA, or a token: at least one of both is
// asked for.
type Config struct {
	Addr string // host:port; port 0 is one that is free
	// Certificate is the rendezvous's own, for the name in the hosts' configuration.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	CA          *x509.CertPool                    // of hosts' certificates; nil: none is accepted
	Names       []string                          // of hosts that may call by certificate; none: all that CA vouches for
	Token       func() (cardbroker.Secret, error) // that hosts show, 16 characters or more; nil: none is accepted
	Log         *slog.Logger                      // nil: nothing is logged
}

// Rendezvous is where hosts call. It is a virtualreader.Rendezvous; make it with [Listen]. Its methods may be called by any
// number of goroutines.
type Rendezvous struct {
	cfg      Config
	listener net.Listener
	settled  time.Time
	calls    *socket.Maker
	loop     *loop.Loop[*state]
	state    *state // owned by the loop
	view     atomic.Pointer[view]
	loops    *run.Group
	servers  *run.Group
	hosts    *run.Group // the calls
}

// view is which hosts have called.
type view struct {
	names []string      // sorted
	old   chan struct{} // closed when there is a newer view
}

// Listen listens, and lets hosts call until Close. Errors: Invalid, Unavailable.
func Listen(ctx context.Context, cfg Config) (*Rendezvous, error) {
	switch {
	case cfg.Certificate == nil:
		return nil, cardbroker.Errorf(cardbroker.Invalid, "a rendezvous needs a certificate of its own")
	case cfg.CA == nil && cfg.Token == nil:
		return nil, cardbroker.Errorf(cardbroker.Invalid, "a rendezvous needs a CA or a token to know its hosts by")
	case cfg.CA == nil && len(cfg.Names) > 0:
		return nil, cardbroker.Errorf(cardbroker.Invalid, "names of hosts are those of their certificates, for which there is no CA")
	}
	if cfg.Token != nil {
		if _, err := tokenOf(cfg); err != nil {
			return nil, err
		}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	listener, err := httpserver.Listen(ctx, "tcp", cfg.Addr)
	if err != nil {
		return nil, cardbroker.Wrapf(err, cardbroker.Unavailable, "cannot listen for hosts at %s", cfg.Addr)
	}
	r := &Rendezvous{
		cfg:      cfg,
		listener: listener,
		settled:  time.Now().Add(callAgain),
		calls:    socket.NewJSONMaker(api.RendezvousProtocol),
		loop:     loop.New[*state](),
		state:    newState(),
		loops:    run.New(context.WithoutCancel(ctx)),
	}
	r.view.Store(&view{old: make(chan struct{})})
	r.servers, r.hosts = run.New(r.loops.Context()), run.New(r.loops.Context())
	r.loops.Go("hosts", func(ctx context.Context) error { return r.loop.Run(ctx, r) })
	r.servers.Go("serve", r.serve)
	return r, nil
}

func (r *Rendezvous) serve(ctx context.Context) error {
	config := &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: r.cfg.Certificate, SessionTicketsDisabled: true}
	if r.cfg.CA != nil {
		config.ClientCAs, config.ClientAuth = r.cfg.CA, tls.VerifyClientCertIfGiven
	}
	if r.cfg.CA != nil && r.cfg.Token == nil {
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	server := httpserver.New(httpserver.Config{
		Routes: []httpserver.Route{
			{Method: "GET", Path: "/cb/v1/rendezvous", Access: httpserver.Tenant, Handle: r.called},
			{Method: "GET", Path: "/cb/v1/rendezvous/{id}", Access: httpserver.Tenant, Handle: r.brought},
		},
		Authorize: r.authorize,
		Refused: func(refused httpserver.Refusal) {
			r.cfg.Log.Warn("a host is refused", "backend", refused.Caller.Client.String(), "err", refused.Err)
		},
		MaxConns:  maxConns,
		PerSecond: perSecond,
		Log:       r.cfg.Log,
	})
	return server.Serve(ctx, httpserver.Listener{Listener: r.listener, Kind: httpserver.Remote{}, TLS: config})
}

// Addr is where it listens.
func (r *Rendezvous) Addr() net.Addr { return r.listener.Addr() }

// Close ends the listener and the hosts' calls; connections that were taken go on.
func (r *Rendezvous) Close() error {
	err := r.servers.Stop()
	r.hosts.Stop()
	if failed := r.loops.Stop(); err == nil {
		err = failed
	}
	return err
}

// Settled is when all hosts that want to should have called, if they could.
func (r *Rendezvous) Settled() time.Time { return r.settled }

// Beyond returns the names of the hosts that have called and are not among known. It waits for one until ctx ends. Errors:
// Unavailable (the rendezvous is closed), ctx's.
func (r *Rendezvous) Beyond(ctx context.Context, known []string) ([]string, error) {
	for {
		now := r.view.Load()
		var beyond []string
		for _, name := range now.names {
			if !slices.Contains(known, name) {
				beyond = append(beyond, name)
			}
		}
		if len(beyond) > 0 {
			return beyond, nil
		}
		select {
		case <-now.old:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-r.servers.Context().Done():
			return nil, closed()
		}
	}
}

// Dial returns a new connection to the broker of a host that has called. It waits while the host is asked as often as it bears. Errors:
// Unavailable, Overloaded, ctx's.
func (r *Rendezvous) Dial(ctx context.Context, host string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	id, answers, h, err := r.expect(ctx, host)
	if err != nil {
		return nil, err
	}
	defer r.forget(id, answers)
	ask := h.asks.Reserve()
	if deadline, _ := ctx.Deadline(); time.Until(deadline) < ask.Delay() {
		ask.Cancel()
		return nil, cardbroker.Errorf(cardbroker.Overloaded, "the host %s is asked for as many connections a second as it bears", host)
	}
	turn := time.NewTimer(ask.Delay())
	defer turn.Stop()
	for {
		select {
		case <-turn.C:
			if err := h.send(api.FromRendezvous{Connect: &api.Connect{ID: id}}); err != nil {
				return nil, err
			}
		case a := <-answers:
			return a.conn, a.err
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-r.servers.Context().Done():
			return nil, closed()
		}
	}
}

func closed() error { return cardbroker.Errorf(cardbroker.Unavailable, "the rendezvous is closed") }
