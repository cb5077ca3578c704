// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/client"
	"github.com/cardbroker/cardbroker/internal/peer"
	"github.com/cardbroker/cardbroker/test/stage"
)

// limit is how long one test may take: it ends what hangs. The longest takes a minute where other packages' tests run as well.
const limit = 3 * time.Minute

// squat makes this program a squatter: it listens on an address until its standard input ends.
const squat = "CARDBROKER_TEST_SQUAT"

func TestMain(m *testing.M) {
	if address := os.Getenv(squat); address != "" {
		os.Exit(squatter(address))
	}
	if task := os.Getenv(lookUps); task != "" {
		os.Exit(lookUp(task))
	}
	if os.Getenv(noIPv6) != "" {
		os.Exit(m.Run())
	}
	dir, err := os.MkdirTemp("", "cardbroker-programs-")
	if err != nil {
		panic(err)
	}
	build(dir, "CGO_ENABLED=0", "../../cmd/cardbroker", "../vcard")
	cgo := "CGO_ENABLED=1" // as it is shipped: it reaches PC/SC
	if _, err := exec.LookPath("gcc"); err != nil {
		cgo = "CGO_ENABLED=0"
	}
	build(dir, cgo, "../../cmd/cardsandbox")
	os.Setenv(programs, dir)
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// build builds programs into a directory.
func build(dir, cgo string, packages ...string) {
	cmd := exec.Command("go", append([]string{"build", "-trimpath", "-o", dir}, packages...)...)
	cmd.Env = append(os.Environ(), cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("cannot build the programs: %s", out))
	}
}

// programs names the directory of the programs under test.
const programs = "CARDBROKER_TEST_PROGRAMS"

func squatter(address string) int {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	listener, err := lc.Listen(context.Background(), "tcp", address)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer listener.Close()
	fmt.Println("squatting")
	os.Stdin.Read(make([]byte, 1))
	return 0
}

// host is a stage with a broker on it.
type host struct {
	*stage.Stage
	t      *testing.T
	socket string
	ready  stage.Ready
	broker *stage.Service

	verbose bool   // services log all there is
	config  string // host.yaml of the next broker; "": the default
	ports   string // of agents; "": the default
	policy  string // of the next agents; "": the default
	noDoor  bool   // the broker lets no back end in

	page, back string // addresses of the broker: the same ones when it comes back
}

// newHost sets the stage, without a broker yet. At the end it checks that nothing was left behind.
func newHost(t *testing.T) *host {
	t.Helper()
	return newHostFor(t, limit)
}

// newHostFor is newHost for a test that takes longer than others.
func newHostFor(t *testing.T, limit time.Duration) *host {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s, err := stage.New(ctx, map[string]string{
		"cardbroker":  filepath.Join(os.Getenv(programs), "cardbroker"),
		"cardsandbox": filepath.Join(os.Getenv(programs), "cardsandbox"),
		"actor":       self,
	})
	if s != nil {
		t.Cleanup(func() {
			showLogs(t, s)
			for _, problem := range s.Strike() {
				t.Errorf("left behind: %s", problem)
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	h := &host{Stage: s, t: t, socket: s.Path("run", "broker.sock")}
	if err := stage.IssueDoor(h.Path("door.pem"), h.Path("door.key")); err != nil {
		t.Fatal(err)
	}
	issuer, rival := rand.Text(), rand.Text()
	for name, content := range map[string]string{
		"tokens": "issuer " + issuer + "\nrival " + rival + "\n", "token": issuer, "rival.token": rival,
	} {
		if err := os.WriteFile(h.Path(name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// maxLog is how much of a service's log a failed test shows, in bytes.
const maxLog = 8 << 10

// showLogs shows the ends of what the services said, if the test has failed.
func showLogs(t *testing.T, s *stage.Stage) {
	logs, _ := filepath.Glob(s.Path("*.log"))
	for _, name := range logs {
		if text, err := os.ReadFile(name); err == nil && t.Failed() {
			t.Logf("%s:\n%s", filepath.Base(name), text[max(0, len(text)-maxLog):])
		}
	}
}

// start starts the broker; again, on the addresses that it had.
func (h *host) start() {
	h.t.Helper()
	for _, at := range []*string{&h.page, &h.back} {
		if *at == "" {
			*at = h.reserve()
		}
	}
	args := []string{"host", "run", "--log-level", h.level(), "--state", h.Path("state"), "--socket", h.socket, "--ports", h.ports, "--listen", h.page}
	if !h.noDoor {
		args = append(args, "--backend-listen", h.back, "--backend-cert", h.Path("door.pem"), "--backend-key", h.Path("door.key"),
			"--backend-tokens", h.Path("tokens"))
	}
	if h.config != "" {
		if err := os.WriteFile(h.Path("host.yaml"), []byte(h.config), 0o600); err != nil {
			h.t.Fatal(err)
		}
		args = append(args, "--config", h.Path("host.yaml"))
	}
	var err error
	h.broker, h.ready, err = h.Start(nil, "broker", args...)
	if err != nil {
		h.t.Fatal(err)
	}
}

// reserve returns an address that stays the test's.
func (h *host) reserve() string {
	h.t.Helper()
	at, err := h.Reserve()
	if err != nil {
		h.t.Fatal(err)
	}
	return at
}

// level is what services log.
func (h *host) level() string {
	if h.verbose {
		return "debug"
	}
	return "info"
}

// logon starts an agent with a software card.
func (h *host) logon(p *stage.Person) (*stage.Service, stage.Ready) {
	h.t.Helper()
	return h.runAgent(p, "--software-card")
}

// runAgent starts the agent of a user, for the cards that the flags name.
func (h *host) runAgent(p *stage.Person, cards ...string) (*stage.Service, stage.Ready) {
	h.t.Helper()
	args := append([]string{"agent", "run", "--log-level", h.level(), "--socket", h.socket, "--state", p.Home + "/state"}, cards...)
	if h.policy != "" {
		args = append(args, "--policy", h.policy)
	}
	service, line, err := h.Start(p, "agent-"+p.Name, args...)
	if err != nil {
		h.t.Fatal(err)
	}
	return service, line
}

// client returns a client of the broker for this process's own user.
func (h *host) client() *client.Broker {
	return client.NewBroker(client.BrokerConfig{Socket: h.socket, Accounts: []cardbroker.UserID{peer.Self()}})
}

// run runs a program and decodes its answer; it fails unless the exit status is as wanted.
func (h *host) run(p *stage.Person, status int, answer any, args ...string) {
	h.t.Helper()
	out, err := h.Run(p, "cardbroker", append(args, "--json")...)
	if err != nil {
		h.t.Fatal(err)
	}
	if out.Status != status {
		h.t.Fatalf("%v: exit status %d, want %d: %s%s", args, out.Status, status, out.Stdout, out.Stderr)
	}
	text := out.Stdout
	if status != 0 {
		text = out.Stderr
	}
	if answer == nil {
		return
	}
	if err := json.Unmarshal(text, answer); err != nil {
		h.t.Fatalf("%v answered %q: %v", args, text, err)
	}
}

// sessions asks the broker for its table.
func (h *host) sessions() []api.Session {
	h.t.Helper()
	var answer api.Sessions
	h.run(nil, 0, &answer, "host", "sessions", "--socket", h.socket)
	return answer.Sessions
}

// await asks for the sessions until one is as wanted.
func (h *host) await(what string, wanted func(api.Session) bool) (found api.Session) {
	h.t.Helper()
	h.until(what, func() bool {
		for _, s := range h.sessions() {
			if wanted(s) {
				found = s
				return true
			}
		}
		return false
	})
	return found
}

// until asks until something is as wanted.
func (h *host) until(what string, wanted func() bool) {
	h.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !wanted() {
		select {
		case <-tick.C:
		case <-h.Context().Done():
			h.t.Fatalf("never saw %s", what)
		}
	}
}

// auditTells waits until something stands in the audit log.
func (h *host) auditTells(want string) {
	h.t.Helper()
	h.until(want+" in the audit log", func() bool {
		out, err := h.Run(nil, "cardbroker", "host", "audit", "show", "--socket", h.socket, "--state", h.Path("state"), "--json")
		if err != nil {
			h.t.Fatal(err)
		}
		return strings.Contains(string(out.Stdout), want)
	})
}

// offer has a user offer his reader to the tenant "issuer".
func (h *host) offer(p *stage.Person) api.Offered {
	h.t.Helper()
	agent := []string{"--socket", h.socket, "--state", p.Home + "/state"}
	var list struct{ Readers []api.CardReader }
	h.run(p, 0, &list, append([]string{"agent", "readers"}, agent...)...)
	if len(list.Readers) != 1 {
		h.t.Fatalf("readers = %+v, want one", list.Readers)
	}
	var offered api.Offered
	h.run(p, 0, &offered, append([]string{"agent", "offer", string(list.Readers[0].ID), "issuer"}, agent...)...)
	return offered
}

// apdu sends commands to the reader of a ticket, as the tenant "issuer".
func (h *host) apdu(status int, ticket string, commands ...string) {
	h.t.Helper()
	args := append([]string{"reader", "apdu", "-"}, commands...)
	out, err := h.Run(nil, "cardbroker", append(args, "--broker", h.ready.Backend, "--ca", h.Path("door.pem"),
		"--token-file", h.Path("token"), "--ticket", ticket, "--json")...)
	if err != nil {
		h.t.Fatal(err)
	}
	if out.Status != status {
		h.t.Fatalf("apdu %v: exit status %d, want %d: %s", commands, out.Status, status, out.Stderr)
	}
}
