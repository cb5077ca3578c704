// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package virtualreader_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/virtualreader"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/cardtest"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

const (
	goodToken  = "token-of-alpha"
	goodTicket = "cbt1.0123456789abcdef.ticket"
	readerID   = "00112233445566aa"
	tenant     = "alpha"
)

// door is a broker's back-end door with one agent and one reader behind it, in this process.
type door struct {
	url    string
	server *httptest.Server
	reader *cardtest.Reader
	leases *cardend.Leases
	events chan api.ReaderEvent      // what is pushed to who watches; its end ends the watch
	away   atomic.Bool               // the agent is restarting
	listed func(ctx context.Context) // called while a list is asked for; nil: nothing
	// serve takes a tunnel that has been let in; in the beginning, it is the holder of the reader.
	serve func(ctx context.Context, conn *socket.Conn) error
	close func()
	wires *wires
}

// wires are the connections to a door, which can be cut: no close message says so.
type wires struct {
	net.Listener
	lock sync.Mutex
	open []net.Conn
}

func (w *wires) Accept() (net.Conn, error) {
	c, err := w.Listener.Accept()
	w.lock.Lock()
	defer w.lock.Unlock()
	w.open = append(w.open, c)
	return c, err
}

// cut cuts the connections that there are.
func (w *wires) cut() {
	w.lock.Lock()
	defer w.lock.Unlock()
	for _, c := range w.open {
		if c != nil {
			c.Close()
		}
	}
	w.open = nil
}

func newDoor(t testing.TB) *door {
	d := startDoor()
	t.Cleanup(d.close)
	return d
}

func startDoor() *door {
	d := &door{reader: cardtest.NewReader(), leases: cardend.NewLeases(), events: make(chan api.ReaderEvent, 8)}
	holder := cardend.New(d.reader, d.leases)
	d.serve = func(ctx context.Context, conn *socket.Conn) error {
		tunnel := d.reader.Tunnel(tenant)
		tunnel.Route = "0123456789abcdef"
		return holder.Serve(ctx, conn, tunnel)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { d.leases.Run(ctx) })

	tunnels, watches := socket.NewMaker(wire.Subprotocol), socket.NewJSONMaker("")
	mux := http.NewServeMux()
	mux.HandleFunc("GET /cb/v1/readers", func(w http.ResponseWriter, r *http.Request) {
		if d.listed != nil {
			d.listed(r.Context())
		}
		api.WriteJSON(w, http.StatusOK, api.RemoteReaders{Readers: []api.RemoteReader{
			{ID: readerID, Name: cardtest.ReaderName, Host: "host", Session: "7", Card: api.NewCard(d.reader.Present())},
		}})
	})
	mux.HandleFunc("GET /cb/v1/readers/events", func(w http.ResponseWriter, r *http.Request) {
		conn, err := watches.Upgrade(w, r)
		if err != nil {
			return
		}
		running.Go(func() {
			defer conn.Close()
			for {
				select {
				case e, more := <-d.events:
					if !more {
						return
					}
					message, _ := json.Marshal(e)
					conn.Write(message)
				case <-ctx.Done():
					return
				}
			}
		})
	})
	mux.HandleFunc("GET /cb/v1/readers/{id}/tunnel", func(w http.ResponseWriter, r *http.Request) {
		serve, err := d.admit(tunnels, r)
		if err != nil {
			api.WriteError(w, err)
			return
		}
		if conn, err := tunnels.Upgrade(w, r); err == nil {
			running.Go(func() { serve(ctx, conn) })
		}
	})
	d.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+goodToken {
			api.WriteError(w, cardbroker.Refusef(cardbroker.Unauthenticated, cardbroker.RuleToken, "unknown token"))
			return
		}
		mux.ServeHTTP(w, r)
	}))
	d.wires = &wires{Listener: d.server.Listener}
	d.server.Listener = d.wires
	d.server.StartTLS()
	d.url = "wss" + d.server.URL[len("https"):]
	d.close = func() { cancel(); running.Wait(); d.server.Close() }
	return d
}

// trust returns what makes a client trust the door.
func (d *door) trust() *tls.Config {
	return d.server.Client().Transport.(*http.Transport).TLSClientConfig
}

// admit returns what serves a tunnel that is let in: a new one, or one that is taken up again.
func (d *door) admit(m *socket.Maker, r *http.Request) (func(context.Context, *socket.Conn) error, error) {
	if err := m.Check(r); err != nil {
		return nil, err
	}
	if d.away.Load() {
		return nil, cardbroker.Errorf(cardbroker.AgentRestarting, "the agent is not there at the moment")
	}
	id, text := r.PathValue("id"), r.Header.Get("Cardbroker-Ticket")
	if ticket, err := cardbroker.ParseTicket(text); err == nil && ticket.Resume {
		lease, err := d.leases.Take(r.Context(), ticket.Secret, tenant)
		return func(ctx context.Context, conn *socket.Conn) error { return lease.Attach(ctx, conn) }, err
	}
	switch {
	case id != virtualreader.TicketReader && id != readerID:
		return nil, cardbroker.Errorf(cardbroker.ReaderUnknown, "no such reader")
	case text != goodTicket:
		return nil, cardbroker.Refusef(cardbroker.Unauthenticated, cardbroker.RuleTicket, "unknown ticket")
	}
	return func(ctx context.Context, conn *socket.Conn) error { defer conn.Close(); return d.serve(ctx, conn) }, nil
}

// client returns a client of these doors, which trusts them.
func newClient(t testing.TB, token string, doors ...*door) *virtualreader.Client {
	config := virtualreader.Config{Token: cardbroker.NewSecret([]byte(token))}
	config.TLS = doors[0].trust() // all of httptest's have one certificate
	for _, d := range doors {
		config.Brokers = append(config.Brokers, d.url)
	}
	c, err := virtualreader.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// open opens the door's tunnel.
func (d *door) open(t testing.TB) *virtualreader.Tunnel {
	t.Helper()
	tunnel, err := newClient(t, goodToken, d).Open(t.Context(), virtualreader.TicketReader, goodTicket, virtualreader.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tunnel.Close() })
	return tunnel
}
