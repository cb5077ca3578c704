// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package dialout_test

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/broker/dialout"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

// hostile is a rendezvous that does what a test wants.
type hostile struct {
	talk    func(ctx context.Context, conn *socket.Conn) error // after hello
	connect func(w http.ResponseWriter, r *http.Request) error // is asked for the upgrade; nil: redirects
	call    func(w http.ResponseWriter, r *http.Request) error // is called; nil: talks
	calls   atomic.Int32
}

// start returns its address.
func (h *hostile) start(t *testing.T, a *testenv.Authority) string {
	t.Helper()
	listener, err := httpserver.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	group := run.New(t.Context())
	maker := socket.NewJSONMaker(api.RendezvousProtocol)
	if h.call == nil {
		h.call = func(w http.ResponseWriter, r *http.Request) error {
			conn, err := maker.Upgrade(w, r)
			if err != nil {
				return nil
			}
			group.Go("talk", func(ctx context.Context) error {
				defer conn.Close()
				defer context.AfterFunc(ctx, func() { conn.Close() })()
				var m api.FromHost
				if err := conn.NextJSON(&m); err != nil || m.Hello == nil {
					return nil
				}
				conn.WriteJSON(api.FromRendezvous{Welcome: &api.RendezvousWelcome{}})
				h.talk(ctx, conn)
				return nil
			})
			return nil
		}
	}
	server := httpserver.New(httpserver.Config{
		Routes: []httpserver.Route{
			{Method: "GET", Path: "/cb/v1/rendezvous", Access: httpserver.Public, Handle: func(w http.ResponseWriter, r *http.Request) error {
				h.calls.Add(1)
				return h.call(w, r)
			}},
			{Method: "GET", Path: "/cb/v1/rendezvous/{id}", Access: httpserver.Public, Handle: func(w http.ResponseWriter, r *http.Request) error { return h.connect(w, r) }},
		},
		Authorize: func(*http.Request, httpserver.Access) error { return nil },
		MaxConns:  10000,
		PerSecond: 10000,
		Log:       slog.New(slog.DiscardHandler),
	})
	group.Go("serve", func(ctx context.Context) error {
		return server.Serve(ctx, httpserver.Listener{Listener: listener, Kind: httpserver.Remote{},
			TLS: &tls.Config{GetCertificate: one(a.Issue(t, "")), MinVersion: tls.VersionTLS13}})
	})
	t.Cleanup(func() { group.Stop() })
	return listener.Addr().String()
}

// id is a well-formed one.
func id(n int) string {
	raw := make([]byte, 16)
	raw[0], raw[1] = byte(n>>8), byte(n)
	return hex.EncodeToString(raw)
}

// TestRedirections: the host follows none, neither with its call nor with a connection, and takes its token nowhere else.
func TestRedirections(t *testing.T) {
	a := testenv.NewAuthority(t)
	var elsewhere atomic.Int32
	other, err := httpserver.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	group := run.New(t.Context())
	group.Go("elsewhere", func(context.Context) error {
		for {
			conn, err := other.Accept()
			if err != nil {
				return nil
			}
			elsewhere.Add(1)
			conn.Close()
		}
	})
	t.Cleanup(func() { other.Close(); group.Stop() })
	redirect := func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Location", "https://"+other.Addr().String()+"/")
		w.WriteHeader(http.StatusTemporaryRedirect)
		return nil
	}
	t.Run("of the call", func(t *testing.T) {
		c, _ := call(t, config(a, (&hostile{call: redirect}).start(t, a)))
		until(t, c, "fail", "307")
	})
	t.Run("of a connection", func(t *testing.T) {
		said := make(chan api.FromHost, 1)
		h := &hostile{connect: redirect, talk: func(_ context.Context, conn *socket.Conn) error {
			conn.WriteJSON(api.FromRendezvous{Connect: &api.Connect{ID: id(1)}})
			var m api.FromHost
			err := conn.NextJSON(&m)
			said <- m
			return err
		}}
		call(t, config(a, h.start(t, a)))
		if m := receive(t, said); m.Failed == nil || m.Failed.ID != id(1) || !strings.Contains(m.Failed.Error.Description, "307") {
			t.Errorf("the host says %+v, want that it failed", m)
		}
	})
	if n := elsewhere.Load(); n > 0 {
		t.Errorf("the host went elsewhere %d times", n)
	}
}

// TestFloodOfConnections: a rendezvous gets so many connections and no more, and is told so; when they end there is room again.
func TestFloodOfConnections(t *testing.T) {
	a := testenv.NewAuthority(t)
	const more, batch = 40, 16
	open := make(chan net.Conn, dialout.MaxConns+more)
	opened := make(chan struct{}, cap(open))
	full, room := make(chan int, 1), make(chan struct{})
	h := &hostile{
		connect: func(w http.ResponseWriter, r *http.Request) error {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return err
			}
			io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+api.ReverseProtocol+"\r\n\r\n")
			open <- conn
			opened <- struct{}{}
			return nil
		},
		talk: func(ctx context.Context, conn *socket.Conn) error {
			refused := make(chan struct{}, more)
			group := run.New(ctx)
			defer group.Stop()
			defer context.AfterFunc(group.Context(), func() { conn.Close() })()
			group.Go("hear", func(ctx context.Context) error {
				for {
					var m api.FromHost
					if err := conn.NextJSON(&m); err != nil {
						return err
					}
					switch {
					case m.Failed == nil:
					case m.Failed.Error.Reason == cardbroker.Overloaded:
						select {
						case refused <- struct{}{}:
						case <-ctx.Done():
						}
					default:
						t.Errorf("a connection failed: %+v", m.Failed.Error)
						select {
						case full <- 0: // nobody has to wait for the rest
						default:
						}
						return nil
					}
				}
			})
			await := func(done <-chan struct{}, n int) bool {
				for range n {
					select {
					case <-done:
					case <-ctx.Done():
						return false
					}
				}
				return true
			}
			for n := 0; n < dialout.MaxConns; n += batch { // not all handshakes at a time: they have a deadline
				for i := range batch {
					conn.WriteJSON(api.FromRendezvous{Connect: &api.Connect{ID: id(n + i)}})
				}
				if !await(opened, batch) {
					return nil
				}
			}
			for i := range more {
				conn.WriteJSON(api.FromRendezvous{Connect: &api.Connect{ID: id(1000 + i)}})
			}
			if !await(refused, more) {
				return nil
			}
			full <- more
			select {
			case <-room:
			case <-ctx.Done():
			}
			conn.WriteJSON(api.FromRendezvous{Connect: &api.Connect{ID: id(9999)}})
			<-ctx.Done()
			return nil
		},
	}
	c, err := dialout.New(config(a, h.start(t, a)))
	if err != nil {
		t.Fatal(err)
	}
	held := make(chan net.Conn, cap(open)) // by who serves them: for as long as it wants
	group := run.New(t.Context())
	group.Go("call", c.Run)
	group.Go("hold", func(context.Context) error {
		for {
			conn, err := c.Accept()
			if err != nil {
				return nil
			}
			held <- conn
		}
	})
	t.Cleanup(func() { c.Close(); group.Stop() })
	if n := receive(t, full); n != more {
		t.Fatalf("%d were refused, want %d", n, more)
	}
	if n := len(open); n != dialout.MaxConns {
		t.Errorf("%d connections are open, want %d", n, dialout.MaxConns)
	}
	for range dialout.MaxConns {
		receive(t, held).Close()
		receive(t, open).Close()
	}
	close(room)
	receive(t, held).Close()
	receive(t, open).Close()
}

// TestBadManners: what a rendezvous may not do ends the call; the host calls again, later.
func TestBadManners(t *testing.T) {
	a := testenv.NewAuthority(t)
	for name, test := range map[string]struct {
		say  any
		many int
		want string
	}{
		"a flood of pings":     {api.FromRendezvous{Ping: &api.RendezvousPing{}}, 5000, "more than 50 times a second"},
		"an id that is a path": {api.FromRendezvous{Connect: &api.Connect{ID: "../../x HTTP/1.1\r\nX: y"}}, 1, "by an id that is none"},
		"nothing":              {api.FromRendezvous{}, 1, "unexpected message"},
		"no object":            {[]int{1}, 1, "not the JSON"},
		"welcome again":        {api.FromRendezvous{Welcome: &api.RendezvousWelcome{}}, 1, "unexpected message"},
		"too much":             {api.FromRendezvous{Connect: &api.Connect{ID: strings.Repeat("0", 1<<20)}}, 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := &hostile{talk: func(_ context.Context, conn *socket.Conn) error {
				for range test.many {
					if err := conn.WriteJSON(test.say); err != nil {
						return err
					}
				}
				var m api.FromHost
				return conn.NextJSON(&m) // until the host has ended it
			}}
			at, began := h.start(t, a), time.Now()
			c, _ := call(t, config(a, at))
			until(t, c, "fail", test.want)
			if n, took := int(h.calls.Load()), time.Since(began); n < 1 || n > 1+int(took/(250*time.Millisecond)) { // at least so long between them
				t.Errorf("%d calls within %v, want one at once", n, took)
			}
		})
	}
}

// TestStopsWhileItCalls: a host that is told to stop does not wait for a rendezvous that says nothing.
func TestStopsWhileItCalls(t *testing.T) {
	a := testenv.NewAuthority(t)
	asked := make(chan struct{}, 1)
	h := &hostile{call: func(_ http.ResponseWriter, r *http.Request) error {
		asked <- struct{}{}
		<-r.Context().Done()
		return r.Context().Err()
	}}
	_, stop := call(t, config(a, h.start(t, a)))
	receive(t, asked)
	began := time.Now()
	stop()
	if d := time.Since(began); d > 3*time.Second {
		t.Errorf("the host took %v to stop", d)
	}
}
