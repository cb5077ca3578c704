// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package virtualreader_test

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/virtualreader"
)

// meeting is a rendezvous in memory. Hosts come when a test says so.
type meeting struct {
	settled time.Time
	silent  string     // a host that does not say which readers it has; "": none is
	mu      sync.Mutex // guards what follows
	names   []string
	hosts   map[string]hostPipes
	changed chan struct{} // closed when a host has come
}

var _ virtualreader.Rendezvous = (*meeting)(nil)

func newMeeting() *meeting {
	return &meeting{settled: time.Now().Add(time.Minute), hosts: map[string]hostPipes{}, changed: make(chan struct{})}
}

func (m *meeting) Beyond(ctx context.Context, known []string) ([]string, error) {
	for {
		m.mu.Lock()
		beyond := slices.DeleteFunc(slices.Clone(m.names), func(name string) bool { return slices.Contains(known, name) })
		changed := m.changed
		m.mu.Unlock()
		if len(beyond) > 0 {
			return beyond, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (m *meeting) Settled() time.Time { return m.settled }

func (m *meeting) Dial(ctx context.Context, broker string) (net.Conn, error) {
	m.mu.Lock()
	host := m.hosts[broker]
	m.mu.Unlock()
	return host.dial(ctx)
}

// hostPipes is a listener of connections in memory.
type hostPipes chan net.Conn

func (w hostPipes) Accept() (net.Conn, error) {
	conn, ok := <-w
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (w hostPipes) Close() error   { close(w); return nil } // once, by the server
func (w hostPipes) Addr() net.Addr { return &net.UnixAddr{Name: "wire"} }

func (w hostPipes) dial(ctx context.Context) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case w <- there:
		return here, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// come has a host call that offers one reader of that name, and refuses tunnels with an error.
func (m *meeting) come(group *run.Group, name string, refusal error) {
	host := make(hostPipes)
	server := httpserver.New(httpserver.Config{
		Routes: []httpserver.Route{
			{Method: "GET", Path: "/cb/v1/readers", Access: httpserver.Tenant, Handle: func(w http.ResponseWriter, r *http.Request) error {
				if name == m.silent {
					<-r.Context().Done()
					return r.Context().Err()
				}
				return httpserver.JSON(w, api.RemoteReaders{Readers: []api.RemoteReader{{ID: "0123456789abcdef", Name: name}}})
			}},
			{Method: "GET", Path: "/cb/v1/readers/{id}/tunnel", Access: httpserver.Tenant, Handle: func(http.ResponseWriter, *http.Request) error { return refusal }},
		},
		Authorize: func(r *http.Request, _ httpserver.Access) error {
			if r.Header.Get("Authorization") != "" {
				return cardbroker.Errorf(cardbroker.Invalid, "a credential for a host that has called")
			}
			return nil
		},
		Log: slog.New(slog.DiscardHandler),
	})
	group.Go(name, func(ctx context.Context) error {
		return server.Serve(ctx, httpserver.Listener{Listener: host, Kind: httpserver.Remote{}})
	})
	m.mu.Lock()
	defer m.mu.Unlock()
	m.names, m.hosts[name] = append(m.names, name), host
	close(m.changed)
	m.changed = make(chan struct{})
}

// meet runs f with a client at a meeting, in a bubble of time.
func meet(t *testing.T, f func(t *testing.T, m *meeting, hosts *run.Group, c *virtualreader.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := newMeeting()
		c, err := virtualreader.New(virtualreader.Config{Rendezvous: m})
		if err != nil {
			t.Fatal(err)
		}
		hosts := run.New(t.Context())
		f(t, m, hosts, c)
		hosts.Stop()
	})
}

var (
	unknownTicket = cardbroker.Refusef(cardbroker.Unauthenticated, cardbroker.RuleTicket, "the ticket is not valid")
	readerBusy    = cardbroker.Errorf(cardbroker.ReaderBusy, "a back end uses the reader") // says that the host knows it
)

// TestListWaitsForTheFirst host, and no longer.
func TestListWaitsForTheFirst(t *testing.T) {
	meet(t, func(t *testing.T, m *meeting, hosts *run.Group, c *virtualreader.Client) {
		time.AfterFunc(20*time.Second, func() { m.come(hosts, "vda1", nil) })
		time.AfterFunc(30*time.Second, func() { m.come(hosts, "vda2", nil) })
		began := time.Now()
		readers, err := c.List(t.Context())
		if err != nil || len(readers) != 1 || readers[0].Broker != "vda1" || readers[0].Name != "vda1" {
			t.Errorf("List = %+v, %v, want that of vda1", readers, err)
		}
		if d := time.Since(began); d != 20*time.Second {
			t.Errorf("that took %v, want 20s", d)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if readers, err := c.List(t.Context()); err != nil || len(readers) != 2 {
			t.Errorf("List = %+v, %v, want those of both", readers, err)
		}
	})
}

// TestListWithASilentHost: the others' readers are there, when no more time is left.
func TestListWithASilentHost(t *testing.T) {
	meet(t, func(t *testing.T, m *meeting, hosts *run.Group, c *virtualreader.Client) {
		m.silent = "vda2"
		for _, name := range []string{"vda1", "vda2", "vda3"} {
			m.come(hosts, name, nil)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		readers, err := c.List(ctx)
		if len(readers) != 2 || readers[0].Broker != "vda1" || readers[1].Broker != "vda3" || cardbroker.ReasonOf(err) != cardbroker.Timeout || !strings.Contains(err.Error(), "vda2") {
			t.Errorf("List = %+v, %v, want the readers of the others and that vda2 is late", readers, err)
		}
	})
}

// TestNobodyCalls: a wait ends with its context, and says for what it was.
func TestNobodyCalls(t *testing.T) {
	meet(t, func(t *testing.T, _ *meeting, _ *run.Group, c *virtualreader.Client) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := c.List(ctx); cardbroker.ReasonOf(err) != cardbroker.Timeout {
			t.Errorf("List = %v, want timeout", err)
		}
		if _, err := c.Open(ctx, "-", "ticket", virtualreader.Options{}); cardbroker.ReasonOf(err) != cardbroker.Timeout {
			t.Errorf("Open = %v, want timeout", err)
		}
	})
}

// TestOpenAsksWhoComes: a host that does not know the ticket may not be the one that is meant, until all have had time to call.
func TestOpenAsksWhoComes(t *testing.T) {
	open := func(t *testing.T, c *virtualreader.Client, o virtualreader.Options) (cardbroker.Reason, time.Duration) {
		began := time.Now()
		_, err := c.Open(t.Context(), "-", "ticket", o)
		return cardbroker.ReasonOf(err), time.Since(began)
	}
	meet(t, func(t *testing.T, m *meeting, hosts *run.Group, c *virtualreader.Client) {
		m.come(hosts, "vda1", unknownTicket)
		time.AfterFunc(20*time.Second, func() { m.come(hosts, "vda2", readerBusy) })
		if why, d := open(t, c, virtualreader.Options{}); why != cardbroker.ReaderBusy || d != 20*time.Second {
			t.Errorf("Open = %s after %v, want what vda2 says, after 20s", why, d)
		}
		if why, d := open(t, c, virtualreader.Options{Broker: "vda2"}); why != cardbroker.ReaderBusy || d != 0 {
			t.Errorf("Open at vda2 = %s after %v, want what it says, at once, and vda1 not asked", why, d)
		}
		if why, d := open(t, c, virtualreader.Options{Broker: "vda1"}); why != cardbroker.Unauthenticated || d != 0 {
			t.Errorf("Open at vda1 = %s after %v, want that the ticket is unknown, at once", why, d)
		}
	})
	meet(t, func(t *testing.T, m *meeting, hosts *run.Group, c *virtualreader.Client) {
		m.come(hosts, "vda1", unknownTicket)
		if why, d := open(t, c, virtualreader.Options{}); why != cardbroker.Unauthenticated || d != time.Minute {
			t.Errorf("Open = %s after %v, want that the ticket is unknown, when all have had time to call", why, d)
		}
		if why, d := open(t, c, virtualreader.Options{}); why != cardbroker.Unauthenticated || d != 0 {
			t.Errorf("Open = %s after %v, want that the ticket is unknown, at once", why, d)
		}
	})
}

// TestRendezvousOrBrokers: a client has one or the other.
func TestRendezvousOrBrokers(t *testing.T) {
	for name, cfg := range map[string]virtualreader.Config{
		"brokers":    {Brokers: []string{"wss://b:1"}},
		"a token":    {Token: cardbroker.NewSecret([]byte("t"))},
		"an API key": {APIKey: func(context.Context) (cardbroker.Secret, error) { return cardbroker.Secret{}, nil }},
	} {
		cfg.Rendezvous = newMeeting()
		if _, err := virtualreader.New(cfg); cardbroker.ReasonOf(err) != cardbroker.Invalid {
			t.Errorf("a rendezvous and %s: %v, want invalid", name, err)
		}
	}
}
