// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package contract_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent"
	"github.com/cardbroker/cardbroker/agent/cards"
	"github.com/cardbroker/cardbroker/agent/home"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/broker"
	"github.com/cardbroker/cardbroker/broker/issuer"
	"github.com/cardbroker/cardbroker/broker/registry"
	"github.com/cardbroker/cardbroker/broker/tenant"
	"github.com/cardbroker/cardbroker/client"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/jose"
	"github.com/cardbroker/cardbroker/internal/peer"
	"github.com/cardbroker/cardbroker/store"
	"github.com/cardbroker/cardbroker/test/openapi"
	"github.com/cardbroker/cardbroker/test/stage"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

// tenantToken is the one tenant's.
const tenantToken = "0123456789abcdef"

// host is a host with a broker and, as they log on, agents.
type host struct {
	t       *testing.T
	dir     string
	checker *openapi.Checker
	ledger  *ledger
	broker  string // address of the loopback listener
	door    string
	tls     *tls.Config // for the door's clients
	closed  bool        // the next agents let no programs in
	pace    int         // how many requests a second they answer; 0: as many as ever
}

// ledger is a store whose disk can fail.
type ledger struct {
	*store.Store
	full atomic.Bool
}

func (l *ledger) Commit(ctx context.Context, changes cardbroker.Changes) error {
	if l.full.Load() {
		return cardbroker.Errorf(cardbroker.Unavailable, "the disk is full")
	}
	return l.Store.Commit(ctx, changes)
}

// newHost starts a broker; it ends, after the agents, with the test.
func newHost(t *testing.T) *host {
	t.Helper()
	checker, err := openapi.Load()
	h := &host{t: t, dir: t.TempDir(), checker: checker}
	h.check(err)
	opened, err := store.Open(h.path("state", "registry.db"), store.Options{})
	h.check(err)
	t.Cleanup(func() { opened.Close() })
	h.ledger = &ledger{Store: opened}
	loopback, err := httpserver.ListenLoopback(t.Context(), 0)
	h.check(err)
	local, err := httpserver.Listen(t.Context(), "unix", h.path("broker.sock"))
	h.check(err)
	door, err := httpserver.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	h.check(err)
	h.broker, h.door = loopback[0].Addr().String(), door.Addr().String()
	h.check(stage.IssueDoor(h.path("door.pem"), h.path("door.key")))
	certificate, err := tls.LoadX509KeyPair(h.path("door.pem"), h.path("door.key"))
	h.check(err)
	h.tls = &tls.Config{InsecureSkipVerify: true}
	h.check(os.WriteFile(h.path("tokens"), []byte("issuer "+tenantToken+"\n"), 0o600))
	tokens, err := tenant.ReadTokens(h.path("tokens"))
	h.check(err)
	shelf, err := h.ledger.Shelf("api keys")
	h.check(err)
	own, err := issuer.New(t.Context(), issuer.Config{URL: "wss://" + h.door, KeyFile: h.path("signing-keys.json")}, shelf, slog.New(slog.DiscardHandler))
	h.check(err)
	tenants, err := tenant.New(t.Context(), tenant.Config{Tokens: tokens,
		Issuers: []tenant.Issuer{{Verifier: own.Verifier(), Keys: own, Tenant: own.Tenant, Bearer: true}}})
	h.check(err)
	ports, err := cardbroker.ParsePorts("19100-19149")
	h.check(err)
	service, err := broker.New(t.Context(), broker.Config{
		Listen: loopback, Socket: local, HostName: "host.example", Version: "test", Log: slog.New(slog.DiscardHandler),
		Registry: registry.Config{Ports: ports},
		Backend: &broker.Backend{
			Listen: door, Tenants: tenants, Issuer: own, URL: "wss://" + h.door, PerSecond: slowPace,
			TLS: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{certificate}},
		},
	}, h.ledger)
	h.check(err)
	h.run(service.Run)
	return h
}

func (h *host) check(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) path(parts ...string) string {
	return filepath.Join(append([]string{h.dir}, parts...)...)
}

// run runs a service until stop, or until the end of the test.
func (h *host) run(service func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- service(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			h.t.Errorf("it ended with %v", err)
		}
	})
	h.t.Cleanup(stop)
	return stop
}

// client is a client of the broker's local socket.
func (h *host) client() *client.Broker {
	return client.NewBroker(client.BrokerConfig{Socket: h.path("broker.sock"), Accounts: []cardbroker.UserID{peer.Self()}})
}

// jwtPage is the origin of a page that has the user's consent and has to show a JWT.
const jwtPage = "https://signed.example"

// denied is the origin of a page that policy denies consent.
const denied = "https://denied.example"

// policy is machine policy, which root alone can make.
func (h *host) policy() config.Policy {
	h.t.Helper()
	if os.Geteuid() != 0 {
		return config.Policy{}
	}
	key, err := jose.NewSigningKey()
	h.check(err)
	keys, err := jose.PublishKeys([]jose.SigningKey{key})
	h.check(err)
	h.check(os.WriteFile(h.path("keys.json"), keys, 0o644))
	h.check(os.MkdirAll(h.path("policy.d"), 0o755))
	h.check(os.WriteFile(h.path("policy.d/a.yaml"), []byte("consent: {allow: ["+jwtPage+"], deny: ["+denied+"]}\ntenants: {shop: {origins: ["+jwtPage+"], "+
		"page_jwt: {jwks_file: "+h.path("keys.json")+", issuer: i, audience: a}}}\n"), 0o644))
	policy, err := config.LoadPolicy(h.path("policy.d"))
	h.check(err)
	policy.PagesOnly = h.closed
	return policy
}

// logon starts an agent with the given sandbox program and returns the address of its listener.
func (h *host) logon(session, sandbox string) (address string, logoff func()) {
	h.t.Helper()
	notes := make(chan home.Note, 1)
	service, err := agent.New(agent.Config{
		Session: cardbroker.SessionID(session), State: h.path("agent-" + session), Socket: h.path("broker.sock"), Version: "test",
		Sandbox: cards.Config{Program: sandbox, Args: []string{"softcard"}, Log: slog.New(slog.DiscardHandler)},
		Ready:   func(n home.Note) { notes <- n }, Log: slog.New(slog.DiscardHandler), Policy: h.policy(),
		PerSecond: h.pace,
	}, h.client())
	h.check(err)
	logoff = h.run(service.Run)
	return (<-notes).Listen[0], logoff
}

// puppet is an agent that does nothing but answer back ends, with the error it is told.
type puppet struct {
	ticket  string
	refusal atomic.Pointer[cardbroker.Error]
	link    *socket.Conn
}

// puppet logs on as another session of the same user.
func (h *host) puppet(session cardbroker.SessionID) *puppet {
	h.t.Helper()
	claim := api.Claim{Session: session, Claim: string(cardbroker.RandomSecret().Reveal())}
	reservation, err := h.client().Reserve(h.t.Context(), claim)
	h.check(err)
	listeners, err := httpserver.ListenLoopback(h.t.Context(), reservation.Port)
	h.check(err)
	for _, listener := range listeners {
		h.t.Cleanup(func() { listener.Close() })
	}
	p := &puppet{}
	p.link, err = h.client().Link(h.t.Context())
	h.check(err)
	h.t.Cleanup(func() { p.link.Close() })
	h.check(p.say(api.FromAgent{Register: &api.Register{Claim: claim, IPv6: len(listeners) > 1}}))
	var answer api.FromBroker
	h.check(p.hear(&answer))
	if answer.Registered == nil {
		h.t.Fatalf("register is answered %+v", answer)
	}
	p.ticket = cardbroker.Ticket{Route: answer.Registered.Route, Secret: cardbroker.RandomSecret()}.Reveal()
	go p.act()
	return p
}

func (p *puppet) act() {
	for {
		var message api.FromBroker
		if p.hear(&message) != nil || message.Open == nil {
			return
		}
		p.say(api.FromAgent{Refused: &api.TunnelRefused{ID: message.Open.ID, Error: api.Describe(p.refusal.Load())}})
	}
}

func (p *puppet) say(message api.FromAgent) error {
	text, err := json.Marshal(message)
	return errors.Join(err, p.link.Write(text))
}

func (p *puppet) hear(message *api.FromBroker) error {
	text, err := p.link.Next()
	if err != nil {
		return err
	}
	return json.Unmarshal(text, message)
}

// sandbox is the program that agents start.
var sandbox string

// TestMain builds the sandbox, or is another user of the host: see [fetch].
func TestMain(m *testing.M) {
	if address := os.Getenv(fetchVariable); address != "" {
		os.Exit(fetch(address))
	}
	dir, err := os.MkdirTemp("", "cardbroker-contract-")
	if err != nil {
		panic(err)
	}
	sandbox = filepath.Join(dir, "cardsandbox")
	build := exec.Command("go", "build", "-o", sandbox, "../../cmd/cardsandbox")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("cannot build the sandbox: %s", out))
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}
