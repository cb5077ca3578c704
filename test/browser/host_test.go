// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/test/chromium"
	"github.com/cardbroker/cardbroker/test/stage"
)

// limit is how long one test may take: it ends what hangs. The longest takes a minute and a half where other packages' tests run as well.
// What is on its stage runs for looking longer, and says how it is with what was waited for.
const (
	limit   = 4 * time.Minute
	looking = 20 * time.Second
)

// host is a stage with a broker on it, two users with an agent each, and the web sites that they look at.
type host struct {
	*stage.Stage
	t       *testing.T
	waits   context.Context // ends what waits
	socket  string
	service *stage.Service // the broker
	broker  string         // where pages ask it
	web     web
	users   [2]user
}

// user is one of the two.
type user struct {
	*stage.Person
	h     *host
	agent string // where his pages ask his agent
	pid   int
	port  int

	service *stage.Service // his agent
	session string         // "": the default
	*chromium.Browser
}

// newHost sets the stage: broker, agents, web sites. Browsers are started by browse.
func newHost(t *testing.T) *host {
	t.Helper()
	h := setStage(t)
	for i := range h.users {
		h.users[i].logon("--software-card")
	}
	return h
}

// setStage is newHost with nobody logged on.
func setStage(t *testing.T) *host {
	t.Helper()
	testenv.Root(t)
	testenv.Tool(t, "chromium")
	ctx, cancel := context.WithTimeout(context.Background(), limit+looking)
	t.Cleanup(cancel)
	s, err := stage.New(ctx, map[string]string{
		"cardbroker":  filepath.Join(os.Getenv(programs), "cardbroker"),
		"cardsandbox": filepath.Join(os.Getenv(programs), "cardsandbox"),
	})
	if s != nil {
		t.Cleanup(func() {
			for _, problem := range s.Strike() {
				t.Errorf("left behind: %s", problem)
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	waits, late := context.WithTimeout(ctx, limit)
	t.Cleanup(late)
	h := &host{Stage: s, t: t, waits: waits, socket: s.Path("run", "broker.sock"), web: newWeb(t)}
	service, ready, err := s.Start(nil, "broker", "host", "run", "--state", s.Path("state"), "--socket", h.socket, "--listen", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.service, h.broker = service, "http://"+ready.Listen[0]
	for i := range h.users {
		h.users[i] = user{Person: &s.Users[i], h: h}
	}
	return h
}

// logon starts the user's agent; more says with which cards.
func (u *user) logon(more ...string) {
	u.h.t.Helper()
	service, ready, err := u.h.Start(u.Person, "agent-"+u.Name, u.mine(append([]string{"agent", "run"}, more...)...)...)
	if err != nil {
		u.h.t.Fatal(err)
	}
	u.service, u.agent, u.pid, u.port = service, fmt.Sprintf("http://127.0.0.1:%d", ready.Port), ready.PID, ready.Port
}

// mine adds to a command what names the user's agent.
func (u *user) mine(args ...string) []string {
	args = append(args, "--socket", u.h.socket, "--state", u.Home+"/state")
	if u.session != "" {
		args = append(args, "--session", u.session)
	}
	return args
}

// run runs one of the user's commands and decodes what it answers.
func (u *user) run(answer any, args ...string) {
	u.h.t.Helper()
	out, err := u.h.Run(u.Person, "cardbroker", u.mine(append(args, "--json")...)...)
	if err == nil && out.Status != 0 {
		err = fmt.Errorf("exit status %d: %s", out.Status, out.Stderr)
	}
	if err == nil && answer != nil {
		err = json.Unmarshal(out.Stdout, answer)
	}
	if err != nil {
		u.h.t.Fatalf("%s: %v: %v", u.Name, args, err)
	}
}

// browse starts the user's browser, until the test ends.
func (u *user) browse() {
	u.h.t.Helper()
	b, err := chromium.Start(u.h.Context(), chromium.Config{
		Program: testenv.Tool(u.h.t, "chromium"), User: *u.Person, Hosts: u.h.web.hosts(), SPKI: u.h.web.spki,
	})
	if err != nil {
		u.h.t.Fatal(err)
	}
	u.h.t.Cleanup(b.Close)
	u.Browser = b
}

// open opens a page in the user's browser.
func (u *user) open(url string) *chromium.Page {
	u.h.t.Helper()
	p, err := u.Open(url)
	if err != nil {
		u.h.t.Fatal(err)
	}
	return p
}

// do has a page run a script and returns what it says.
func (h *host) do(p *chromium.Page, script string) (said string) {
	h.t.Helper()
	if err := p.Run(script, &said); err != nil {
		h.t.Fatal(err)
	}
	return said
}

// until asks until something is as wanted.
func (h *host) until(what string, wanted func() bool) {
	h.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !wanted() {
		select {
		case <-tick.C:
		case <-h.waits.Done():
			h.t.Fatalf("never saw %s", what)
		}
	}
}
