// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/broker/forward"
	"github.com/cardbroker/cardbroker/internal/httpserver"
)

// Browsers is how web pages reach agents through the broker.
type Browsers struct {
	TLS   *TLS    // nil: the broker speaks none, and agents listen on their ports themselves
	Fixed []Fixed // ports that are the broker's own, for all sessions
}

// TLS is what the broker speaks with web pages, on the well-known port and, in the agents' place, on theirs. The key is the
// broker's alone: an agent that had it could pass for another's.
type TLS struct {
	Config *tls.Config
	Plain  bool             // HTTP without TLS is served on the same ports
	Name   string           // that pages may call this host by, besides localhost; empty: none
	Status func() api.Check // of the certificate
	Loaded <-chan struct{}  // signals that the certificate is another; nil: it never is
}

// Fixed is a port where every caller meets his own agent.
type Fixed struct {
	Listen []net.Listener // on 127.0.0.1 and, where there is IPv6, on [::1]
	TLS    bool           // as Browsers.TLS says; else plain HTTP
}

// newFront returns the server of connections that are forwarded. What cannot be is answered by it.
func (b *Broker) newFront() *httpserver.Server {
	return httpserver.New(httpserver.Config{
		Authorize: func(*http.Request, httpserver.Access) error { return nil }, // there is nothing but refusals
		Refused:   b.refused,
		MaxConns:  b.cfg.MaxConns,
		Take:      b.forward,
		Log:       b.cfg.Log,
	})
}

// browserListener returns a listener of web pages, with TLS where that is spoken.
func (b *Broker) browserListener(listener net.Listener, secure bool) httpserver.Listener {
	l := httpserver.Listener{Listener: listener, Kind: httpserver.Loopback{Kernel: b.kernel, Name: b.hostAlias()}}
	if t := b.cfg.Browsers.TLS; t != nil && secure {
		l.TLS, l.Plain = t.Config, t.Plain
	}
	return l
}

// hostAlias is what pages may call this host, besides localhost.
func (b *Broker) hostAlias() string {
	if t := b.cfg.Browsers.TLS; t != nil {
		return strings.ToLower(t.Name)
	}
	return ""
}

// holds says whether the broker listens on the agents' ports.
func (b *Broker) holds() bool { return b.cfg.Browsers.TLS != nil }

// acceptHeld serves a listener on an agent's port, until ctx ends.
func (b *Broker) acceptHeld(ctx context.Context, listener net.Listener) error {
	return b.front.Accept(ctx, b.browserListener(listener, true))
}

// serveFront serves the fixed ports, and answers on the agents' ports.
func (b *Broker) serveFront(ctx context.Context) error {
	var listeners []httpserver.Listener
	for _, fixed := range b.cfg.Browsers.Fixed {
		for _, listener := range fixed.Listen {
			listeners = append(listeners, b.browserListener(listener, fixed.TLS))
		}
	}
	return b.front.Serve(ctx, listeners...)
}

// recordCertificates records which certificate web pages are shown, at first and whenever it is another.
func (b *Broker) recordCertificates(ctx context.Context) error {
	for {
		b.record(nil, cardbroker.Event{Name: cardbroker.EventCertificateLoaded, Detail: b.cfg.Browsers.TLS.Status().Detail})
		select {
		case <-b.cfg.Browsers.TLS.Loaded:
		case <-ctx.Done():
			return nil
		}
	}
}

// forward joins a connection with the caller's agent until it ends. The caller was attested when it was accepted; the kernel
// is asked again before anything of his is passed on.
func (b *Broker) forward(ctx context.Context, conn *httpserver.Conn) error {
	caller := conn.Caller()
	agent, err := b.forwardTo(caller)
	if err != nil {
		return err
	}
	id := newTunnelID()
	leg, err := b.board.forward(ctx, agent.Route, api.Forward{
		ID:     id,
		UID:    api.UID(caller.User),
		SID:    caller.User.SID,
		Client: caller.Client,
		Server: caller.Server,
		PID:    caller.PID,
		Inode:  caller.Inode,
		Cgroup: caller.Cgroup,
		TLS:    conn.Secure(),
	})
	if err != nil {
		return err
	}
	defer b.metrics.Forwarded()()
	b.splicer.Splice(ctx, conn, leg)
	return nil
}

// forwardTo returns the agent that a caller has connected to: on a fixed port his own, else the one whose port it is, if it
// is his.
func (b *Broker) forwardTo(caller httpserver.Caller) (cardbroker.Agent, error) {
	port := cardbroker.Port(caller.Server.Port())
	if b.isFixed(port) {
		return b.core.Resolve(caller)
	}
	agent, ok := b.registry.View().ByPort(port)
	switch {
	case ok && agent.Key.User != caller.User:
		return agent, cardbroker.Refusef(cardbroker.CallerRefused, cardbroker.RuleOtherUser, "this agent serves another user")
	case !ok || agent.State != cardbroker.Registered:
		return agent, cardbroker.Errorf(cardbroker.AgentRestarting, "the agent of this port is starting")
	}
	return agent, nil
}

func (b *Broker) isFixed(port cardbroker.Port) bool {
	for _, fixed := range b.cfg.Browsers.Fixed {
		if fixed.Listen[0].Addr().(*net.TCPAddr).AddrPort().Port() == uint16(port) {
			return true
		}
	}
	return false
}

// forwardLeg takes an agent's leg of a connection that is forwarded to it.
func (b *Broker) forwardLeg(w http.ResponseWriter, r *http.Request) error {
	id, user := r.PathValue("id"), httpserver.CallerOf(r.Context()).User
	if r.Header.Get("Upgrade") != api.ForwardProtocol {
		return cardbroker.Errorf(cardbroker.Invalid, "this address upgrades to %s only", api.ForwardProtocol)
	}
	if err := b.board.claimForward(r.Context(), id, user); err != nil {
		return err
	}
	raw, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		b.board.deliverForward(r.Context(), id, user, nil)
		return err
	}
	leg := raw.(*httpserver.Conn)
	leg.SetDeadline(time.Time{})
	_, err = leg.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + api.ForwardProtocol + "\r\n\r\n"))
	if err == nil && buffered.Reader.Buffered() == 0 { // an agent has nothing to say before it is asked
		httpserver.Elsewhere(r.Context())
		if b.board.deliverForward(r.Context(), id, user, leg) == nil {
			return nil
		}
	}
	b.board.deliverForward(r.Context(), id, user, nil)
	leg.Close()
	return nil
}

var _ forward.Leg = (*httpserver.Conn)(nil)

// restarting is what the broker answers on the port of an agent that is gone.
func (b *Broker) restarting() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		httpserver.SetCORS(w.Header(), r)
		if r.Method == http.MethodOptions { // else the page could not read why its request fails
			httpserver.Preflight(w, "GET, POST, PATCH, DELETE")
			return
		}
		api.WriteError(w, cardbroker.Errorf(cardbroker.AgentRestarting, "the agent of this port is starting"))
	})
}
