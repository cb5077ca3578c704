// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/run"
)

// Limits of the guarded ports, which answer without asking who calls.
const (
	guardTimeout = 5 * time.Second // for one request: reading it, answering it
	guardConns   = 256             // at a time, on all of them; one more is closed, as on a port without agent
)

// Guard binds the ports of agents that are gone, and those in quarantine, and answers there in the agents' place: nobody
// else gets a port that pages still hold. Where Config.Hold says so it binds the ports of all agents, from their reservation
// on. Its state belongs to Run.
type Guard struct {
	// Accept serves a listener until ctx ends, and closes it, on ports that are held for good. It is set before Run, if and
	// only if Config.Hold is.
	Accept func(ctx context.Context, listener net.Listener) error

	registry *Registry
	handler  http.Handler
	log      *slog.Logger
	asked    chan asked
	ended    chan struct{} // closed when Run returns
	held     map[cardbroker.Port]*guardedPort
	taken    map[cardbroker.Port]bool // that somebody else has bound, as of the last try
	conns    atomic.Int64             // that are open, on all ports
}

// asked has the guard do something with a port, at once.
type asked struct {
	do   func(ctx context.Context) // of Run
	done chan struct{}             // closed when it is
}

// NewGuard returns a Guard that answers every request with handler once it runs.
func NewGuard(registry *Registry, handler http.Handler, log *slog.Logger) *Guard {
	return &Guard{
		registry: registry,
		handler:  handler,
		log:      log,
		asked:    make(chan asked),
		ended:    make(chan struct{}),
		held:     make(map[cardbroker.Port]*guardedPort),
		taken:    make(map[cardbroker.Port]bool),
	}
}

// How long the guard waits before it tries a port again that somebody has bound: a process that was killed may hold its
// port for a moment longer than its link, an agent that only lost its link holds it until it is back.
const (
	firstRetry = 10 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// Run follows the Registry until ctx ends; then it holds no port any more. A port that somebody else has bound is tried
// again, less and less often, while it is wanted; with nothing to try there is no timer.
func (g *Guard) Run(ctx context.Context) error {
	defer close(g.ended)
	defer func() {
		for port := range g.held {
			g.close(port)
		}
	}()
	retry, delay := time.NewTimer(0), firstRetry
	defer retry.Stop()
	for {
		if g.follow(ctx) {
			delay = firstRetry
			retry.Reset(delay)
		}
		select {
		case <-g.registry.Changed():
		case <-retry.C:
			clear(g.taken)
			if g.follow(ctx) {
				delay = min(2*delay, lastRetry)
				retry.Reset(delay)
			}
		case a := <-g.asked:
			a.do(ctx)
			close(a.done)
		case <-ctx.Done():
			return nil
		}
	}
}

// Free closes the guard's listeners and connections on a port, and returns when they are closed. It is called when the
// View already says that the port is promised to an agent, so that the guard does not bind it again.
func (g *Guard) Free(ctx context.Context, port cardbroker.Port) error {
	if err := g.ask(ctx, func(context.Context) { g.close(port) }); err != nil {
		return fmt.Errorf("cannot free port %d: %w", port, err)
	}
	return nil
}

// Hold binds a port, if it is not bound already, and returns where the guard listens. It is called when the View already
// says that the port is promised to an agent, with Config.Hold. Errors: Conflict, somebody has it; Unavailable.
func (g *Guard) Hold(ctx context.Context, port cardbroker.Port) (listen []string, err error) {
	var failed error
	err = g.ask(ctx, func(ctx context.Context) {
		if failed = g.bind(ctx, port); failed == nil {
			listen = g.held[port].listen
		}
	})
	if err == nil && failed == nil && listen == nil {
		err = cardbroker.Errorf(cardbroker.Unavailable, "shutting down")
	}
	if err := errors.Join(err, failed); err != nil {
		return nil, fmt.Errorf("cannot hold port %d: %w", port, err)
	}
	return listen, nil
}

// ask has Run call do, which waits for no peer. When Run has returned there is nothing to do.
func (g *Guard) ask(ctx context.Context, do func(context.Context)) error {
	a := asked{do: do, done: make(chan struct{})}
	select {
	case g.asked <- a:
	case <-g.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
	<-a.done
	return nil
}

// follow makes the guard hold what the View says, but for ports that were taken when it last tried. It says whether it
// found others taken: a thousand agents that come back one by one after a restart must not have it try all of them a
// thousand times.
func (g *Guard) follow(ctx context.Context) (found bool) {
	wanted := g.registry.View().guarded
	isWanted := func(port cardbroker.Port) bool {
		_, ok := slices.BinarySearch(wanted, port)
		return ok
	}
	for port := range g.held {
		if !isWanted(port) {
			g.close(port)
		}
	}
	maps.DeleteFunc(g.taken, func(port cardbroker.Port, _ bool) bool { return !isWanted(port) })
	for _, port := range wanted {
		if g.held[port] != nil || g.taken[port] {
			continue
		}
		if err := g.bind(ctx, port); err != nil {
			g.log.Debug("port not guarded", "port", port, "err", err)
			g.taken[port], found = true, true
		}
	}
	return found
}

// bind binds a port and serves it.
func (g *Guard) bind(ctx context.Context, port cardbroker.Port) error {
	if g.held[port] != nil {
		return nil
	}
	listeners, err := httpserver.ListenLoopback(ctx, port)
	if err != nil {
		return err
	}
	if g.Accept != nil {
		g.held[port] = g.keep(ctx, listeners)
	} else {
		g.held[port] = g.serve(ctx, listeners)
	}
	for _, l := range listeners {
		g.held[port].listen = append(g.held[port].listen, l.Addr().String())
	}
	return nil
}

// keep serves a port that is held for good.
func (g *Guard) keep(ctx context.Context, listeners []net.Listener) *guardedPort {
	p := &guardedPort{group: run.New(ctx)}
	p.end = func() {
		for _, l := range listeners {
			l.Close()
		}
	}
	for _, l := range listeners {
		p.group.Go("held port", func(ctx context.Context) error { return g.Accept(ctx, l) })
	}
	return p
}

func (g *Guard) close(port cardbroker.Port) {
	if p := g.held[port]; p != nil {
		p.close()
		delete(g.held, port)
	}
}

// guardedPort is the server on one port.
type guardedPort struct {
	listen []string
	end    func() // closes the listeners, and the connections that group does not
	group  *run.Group
}

// serve answers on a port in its agent's absence.
func (g *Guard) serve(ctx context.Context, listeners []net.Listener) *guardedPort {
	server := &http.Server{
		Handler:        g.handler,
		ConnState:      g.count,
		ReadTimeout:    guardTimeout,
		WriteTimeout:   guardTimeout,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	server.SetKeepAlivesEnabled(false) // the next request may be for the agent
	p := &guardedPort{group: run.New(ctx), end: func() { server.Close() }}
	for _, l := range listeners {
		p.group.Go("guarded port", func(context.Context) error { return server.Serve(l) })
	}
	return p
}

// count counts connections and closes one too many before anything is read from it.
func (g *Guard) count(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		if g.conns.Add(1) > guardConns {
			conn.Close()
		}
	case http.StateClosed:
		g.conns.Add(-1)
	}
}

// close ends the listeners and the connections, whatever they do.
func (p *guardedPort) close() {
	p.end()
	p.group.Stop()
}

// ProvePort says whether an agent could bind the port now, on IPv4 and, where the host has it, on IPv6: it binds both
// and closes them again. Errors: Conflict, somebody has it; Unavailable.
func ProvePort(ctx context.Context, port cardbroker.Port) (ipv6 bool, err error) {
	listeners, err := httpserver.ListenLoopback(ctx, port)
	for _, l := range listeners {
		l.Close()
	}
	return len(listeners) == 2, err
}
