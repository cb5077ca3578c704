// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package dialout calls a back end's rendezvous, for sites that let nobody in, and hands over the connections that the back
// end wants from there: to the broker they are connections of a listener like any other. It keeps one WebSocket, by which it
// is asked for them, and calls again when that ends. It does not know what is spoken on them.
package dialout

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

// MaxConns is how many connections a rendezvous may have at a time, for tunnels and for requests, open or being made.
const MaxConns = 256

const (
	firstWait   = 500 * time.Millisecond // before the second call
	maxWait     = time.Minute            // between two calls
	stableAfter = time.Minute            // a call that lasted so long, or was of use, makes the next one wait firstWait again

	// Agents keep the leases of tunnels that were cut for a minute, those that have done nothing yet for ten seconds (virtualreader/cardend):
	// until then the host calls often, or the back end could not come back for them.
	leaseGrace = time.Minute
	graceWait  = 2 * time.Second // at most, between two calls
)

// Config says whom to call. URL, Tenant, TLS, Host and Log are required.
type Config struct {
	URL     string                            // wss://host:port
	Tenant  cardbroker.Tenant                 // whose it is
	TLS     *tls.Config                       // whom to trust, and the certificate to show
	Token   func() (cardbroker.Secret, error) // to show; nil: none
	Proxy   string                            // http://host:port, which is asked to CONNECT; empty: none
	Host    string                            // this host's name
	Version string
	Log     *slog.Logger
}

// Caller calls one rendezvous. It is the listener of the connections that the rendezvous asks for. Make it with [New].
type Caller struct {
	cfg    Config
	server string // host:port
	proxy  string // host:port; empty: none
	calls  *socket.Maker
	slots  chan struct{} // holds one for each connection
	conns  chan net.Conn
	closed chan struct{}
	close  func()
	used   atomic.Bool // the last call has brought a connection
	status atomic.Pointer[status]
}

// status is how the last call went.
type status struct {
	since time.Time
	up    bool
	err   error // why it is not up; nil: no call has ended
}

var _ net.Listener = (*Caller)(nil)

// New returns a Caller that calls nobody yet. Errors: Invalid.
func New(cfg Config) (*Caller, error) {
	server, err := address(cfg.URL, "wss", "443")
	if err != nil {
		return nil, cardbroker.Wrapf(err, cardbroker.Invalid, "a rendezvous is not of the form wss://host:port")
	}
	var proxy string
	if cfg.Proxy != "" {
		if proxy, err = address(cfg.Proxy, "http", "80"); err != nil {
			return nil, cardbroker.Wrapf(err, cardbroker.Invalid, "a proxy is not of the form http://host:port")
		}
	}
	cfg.URL = "wss://" + server
	cfg.TLS = cfg.TLS.Clone()
	cfg.TLS.MinVersion = tls.VersionTLS13
	cfg.TLS.ServerName, _, _ = net.SplitHostPort(server)
	c := &Caller{
		cfg:    cfg,
		server: server,
		proxy:  proxy,
		calls:  socket.NewJSONMaker(api.RendezvousProtocol),
		slots:  make(chan struct{}, MaxConns),
		conns:  make(chan net.Conn),
		closed: make(chan struct{}),
	}
	c.close = sync.OnceFunc(func() { close(c.closed) })
	c.status.Store(&status{since: time.Now()})
	return c, nil
}

// address returns the host and port of a URL that has nothing else.
func address(text, scheme, port string) (string, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "", err
	case u.Scheme != scheme, u.Hostname() == "", strings.Trim(u.Path, "/") != "", u.RawQuery != "", u.User != nil:
		return "", errors.New("there is more or less than a host and a port")
	case u.Port() != "":
		port = u.Port()
	}
	return net.JoinHostPort(u.Hostname(), port), nil
}

// URL is the rendezvous's, wss://host:port.
func (c *Caller) URL() string { return c.cfg.URL }

// Tenant is whose rendezvous it is.
func (c *Caller) Tenant() cardbroker.Tenant { return c.cfg.Tenant }

// Serve calls, and serves what the rendezvous asks on its connections, until ctx ends.
func (c *Caller) Serve(ctx context.Context, server *httpserver.Server) error {
	group := run.New(ctx)
	group.Go("serve", func(ctx context.Context) error {
		return server.Serve(ctx, httpserver.Listener{Listener: c, Kind: Kind{}})
	})
	group.Go("call", c.Run)
	return group.Wait()
}

// Run calls, and calls again, until ctx ends.
func (c *Caller) Run(ctx context.Context) error {
	var wait time.Duration
	var good time.Time // when the last call ended that lasted, or was of use
	for {
		lasted, err := c.call(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if c.used.Swap(false) || lasted >= stableAfter {
			wait, good = 0, time.Now()
		}
		wait = nextWait(wait, time.Since(good))
		c.ended(err)
		if !run.Pause(ctx, wait/2+rand.N(wait)) { // hosts that lost the same rendezvous do not come back together
			return nil
		}
	}
}

// nextWait is how long to wait before the next call, half of it more or less, so long after the last good one. A rendezvous that comes up
// and ends at once, again and again, is called less and less often.
func nextWait(wait, since time.Duration) time.Duration {
	longest := maxWait
	if since < leaseGrace {
		longest = graceWait
	}
	return max(firstWait, min(2*wait, longest))
}

// ended notes the end of a call. What goes on failing is said once.
func (c *Caller) ended(err error) {
	before := c.status.Load()
	again := !before.up && before.err != nil && cardbroker.ReasonOf(before.err) == cardbroker.ReasonOf(err)
	level, since := slog.LevelWarn, time.Now()
	switch {
	case again:
		level, since = slog.LevelDebug, before.since
	case before.up && errors.Is(err, io.EOF):
		level = slog.LevelInfo
	}
	c.status.Store(&status{since: since, err: err})
	c.cfg.Log.Log(context.Background(), level, "no connection to the rendezvous", "backend", c.cfg.URL, "reason", cardbroker.ReasonOf(err), "err", err)
}

// Accept returns the next connection: one that is over TLS to the rendezvous, which was verified.
func (c *Caller) Accept() (net.Conn, error) {
	select {
	case conn := <-c.conns:
		return conn, nil
	case <-c.closed:
		return nil, net.ErrClosed
	}
}

// Close ends the listener, not its connections.
func (c *Caller) Close() error {
	c.close()
	return nil
}

// Addr is of no use: nothing is listened on.
func (c *Caller) Addr() net.Addr { return &net.TCPAddr{} }
