// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package elected

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/broker/registry"
	"github.com/cardbroker/cardbroker/internal/epoch"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/test/stage"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

var (
	root  = cardbroker.UserID{}
	alice = cardbroker.UserID{UID: 61001}
	bob   = cardbroker.UserID{UID: 61002}
)

// bed is a leader that alice's agent is, and its term.
type bed struct {
	*Leader
	t        *testing.T
	port     cardbroker.Port
	resigned chan string
	end      func() error // of the term
}

// lead begins a term. change may be nil.
func lead(t *testing.T, change func(*Config)) *bed {
	t.Helper()
	testenv.Root(t)
	ports, err := cardbroker.ParsePorts("1024-65535")
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{t: t, resigned: make(chan string, 64)}
	cfg := Config{
		Registry: registry.Config{Ports: ports, Epoch: epoch.Now()},
		Resign:   func(why string) { b.resigned <- why },
		HostName: "host.example",
		Version:  "test",
		Log:      slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&cfg)
	}
	as(t, alice, func() { cfg.Listen, err = httpserver.ListenLoopback(t.Context(), 0) })
	if err != nil {
		t.Fatal(err)
	}
	b.port = portOf(cfg.Listen[0])
	if b.Leader, err = New(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	b.self = alice
	group := run.New(t.Context())
	group.Go("term", b.Run)
	b.end = group.Stop
	t.Cleanup(func() {
		if err := group.Stop(); err != nil {
			t.Errorf("the term ended with %v", err)
		}
	})
	return b
}

func portOf(l net.Listener) cardbroker.Port { return cardbroker.Port(l.Addr().(*net.TCPAddr).Port) }

// as has f run as the user: sockets that it makes are his.
func as(t *testing.T, user cardbroker.UserID, f func()) {
	t.Helper()
	if err := stage.As(user.UID, f); err != nil {
		t.Fatal(err)
	}
}

// dial connects to the leader as the user.
func (b *bed) dial(user cardbroker.UserID) (conn net.Conn, err error) {
	var dialer net.Dialer
	dialer.SetMultipathTCP(false)
	as(b.t, user, func() { conn, err = dialer.DialContext(b.t.Context(), "tcp4", b.address()) })
	return conn, err
}

func (b *bed) address() string { return b.cfg.Listen[0].Addr().String() }

// answer is what the leader says to a request.
type answer struct {
	Status int
	Header http.Header
	Body   []byte
	Said   api.ErrorBody
}

// ask makes one request as the user; lines are further lines of its header, of which Host is the connection's otherwise.
func (b *bed) ask(user cardbroker.UserID, method, path string, body any, lines ...string) answer {
	b.t.Helper()
	conn, err := b.dial(user)
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Close()
	var content []byte
	if body != nil {
		if content, err = json.Marshal(body); err != nil {
			b.t.Fatal(err)
		}
	}
	request, err := http.NewRequestWithContext(b.t.Context(), method, "http://"+b.address()+path, bytes.NewReader(content))
	if err != nil {
		b.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		if name == "Host" {
			request.Host = value
		}
		request.Header.Set(name, value)
	}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil },
	}}
	response, err := client.Do(request)
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	a := answer{Status: response.StatusCode, Header: response.Header}
	if a.Body, err = io.ReadAll(response.Body); err != nil {
		b.t.Fatal(err)
	}
	json.Unmarshal(a.Body, &a.Said) // where it is none, nothing is wanted of it
	return a
}

// puppet is an agent that does what the test says.
type puppet struct {
	*socket.Conn
	t         *testing.T
	claim     api.Claim
	listeners []net.Listener
	api.Registered
}

// link opens a link as the user, with what else the answer to its upgrade said.
func (b *bed) link(user cardbroker.UserID) *socket.Conn {
	b.t.Helper()
	conn, response, err := socket.NewMaker(api.LinkProtocol).Dial(b.t.Context(), socket.Dial{
		URL: "ws://" + b.address() + "/local/v1/link",
		Net: func(context.Context) (net.Conn, error) { return b.dial(user) },
	})
	if err != nil {
		b.t.Fatalf("link: %v, %v", err, response)
	}
	b.t.Cleanup(func() { conn.Close() })
	return conn
}

// register says register over a new link of the user.
func (b *bed) register(user cardbroker.UserID, r api.Register) (*socket.Conn, api.FromBroker) {
	b.t.Helper()
	conn := b.link(user)
	if err := conn.WriteJSON(api.FromAgent{Register: &r}); err != nil {
		b.t.Fatal(err)
	}
	return conn, hear(b.t, conn)
}

// agent binds a port as the user and asserts it.
func (b *bed) agent(user cardbroker.UserID, session cardbroker.SessionID, voter *api.Voter) *puppet {
	b.t.Helper()
	listeners := bind(b.t, user)
	p := &puppet{t: b.t, claim: claimOf(session), listeners: listeners}
	var said api.FromBroker
	p.Conn, said = b.register(user, api.Register{Claim: p.claim, Port: portOf(listeners[0]), IPv6: len(listeners) > 1, Voter: voter})
	if said.Registered == nil {
		b.t.Fatalf("register: %+v", said.Failed)
	}
	p.Registered = *said.Registered
	return p
}

// bind listens on a free port as the user.
func bind(t *testing.T, user cardbroker.UserID) (listeners []net.Listener) {
	t.Helper()
	var err error
	as(t, user, func() { listeners, err = httpserver.ListenLoopback(t.Context(), 0) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, l := range listeners {
			l.Close()
		}
	})
	return listeners
}

func claimOf(session cardbroker.SessionID) api.Claim {
	return api.Claim{Session: session, Claim: string(cardbroker.RandomSecret().Reveal())}
}

// hear returns the next message, but for those of the host, which come when they come.
func hear(t *testing.T, conn *socket.Conn) api.FromBroker {
	t.Helper()
	late := time.AfterFunc(10*time.Second, func() { conn.Close() })
	defer late.Stop()
	for {
		var m api.FromBroker
		if err := conn.NextJSON(&m); err != nil {
			t.Fatalf("the link said nothing more: %v", err)
		}
		if m.Sharing == nil {
			return m
		}
	}
}

// ended waits for the link's end.
func ended(t *testing.T, conn *socket.Conn) error {
	t.Helper()
	late := time.AfterFunc(10*time.Second, func() { t.Error("the link did not end"); conn.Close() })
	defer late.Stop()
	for {
		if _, err := conn.Next(); err != nil {
			return err
		}
	}
}
