// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/test/stage"
)

// electorate is a host without a service whose agents elect their registry.
type electorate struct {
	*host
	user *stage.Person
	at   string // where the registry listens
}

// newElectorate chooses a port, and tells agents of it.
func newElectorate(h *host, user *stage.Person) *electorate {
	h.t.Helper()
	e := &electorate{h, user, h.reserve()}
	h.page, h.ready.Listen = e.at, []string{e.at} // where a service starts, and pages ask
	file := fmt.Sprintf("socket: %s\nelect: {enabled: true, listen: %q}\n", h.socket, e.at)
	if err := os.WriteFile(h.Path("agent.yaml"), []byte(file), 0o644); err != nil {
		h.t.Fatal(err)
	}
	return e
}

func (e *electorate) args(session string, more ...string) []string {
	return append(more, "--config", e.Path("agent.yaml"), "--state", e.user.Home+"/state", "--session", session)
}

// stand starts an agent.
func (e *electorate) stand(session string) (*stage.Service, stage.Ready) {
	e.t.Helper()
	service, line, err := e.Start(e.user, "agent-"+session, e.args(session, "agent", "run", "--software-card", "--policy", e.policy)...)
	if err != nil {
		e.t.Fatal(err)
	}
	return service, line
}

// info returns what the registry says of itself; mode "": nobody answers.
func (e *electorate) info() (mode string, epoch uint64) {
	e.t.Helper()
	conn, err := e.dial(e.user, "tcp4", "", e.at)
	if err != nil {
		return "", 0
	}
	defer conn.Close()
	a, err := exchange(conn, request("GET", e.at, "/info", ""))
	if err != nil {
		return "", 0
	}
	var said api.Info
	if err := json.Unmarshal(a.Body, &said); err != nil {
		e.t.Fatalf("/info is %d %s", a.Status, a.Body)
	}
	if said.Cardbroker.Mode == api.ModeElected && a.Header.Get(api.EpochHeader) != strconv.FormatUint(said.Cardbroker.Epoch, 10) {
		e.t.Errorf("the header says term %s, /info %d", a.Header.Get(api.EpochHeader), said.Cardbroker.Epoch)
	}
	return said.Cardbroker.Mode, said.Cardbroker.Epoch
}

// registered waits until the registry that has the mode knows these agents, at the ports that they have had from the beginning, and the agents know it.
func (e *electorate) registered(mode string, agents ...stage.Ready) {
	e.t.Helper()
	for _, agent := range agents {
		var status struct {
			Mode, State string
			Port        int
		}
		e.until(fmt.Sprintf("%s %s", agent.Session, mode), func() bool {
			out, err := e.Run(e.user, "cardbroker", e.args(agent.Session, "agent", "status", "--json")...)
			if err != nil {
				e.t.Fatal(err)
			}
			return out.Status == 0 && json.Unmarshal(out.Stdout, &status) == nil && status.Mode == mode && status.State == "REGISTERED"
		})
		if status.Port != agent.Port {
			e.t.Errorf("%s has port %d, and had %d", agent.Session, status.Port, agent.Port)
		}
	}
}

// TestElection follows a user's agents on a host without a service: they elect one of them, which pages ask as they ask a service; it is killed; a
// service starts, and is killed. All that time the agents keep their ports.
func TestElection(t *testing.T) {
	t.Parallel() // it mostly waits until a service is taken for gone
	h, alice, bob := newAttack(t)
	h.setConsent("")
	h.answers(alice, "echo allow")
	e := newElectorate(h, alice)

	first, one := e.stand("one")
	mode, begun := e.info()
	if mode != api.ModeElected || begun == 0 {
		t.Fatalf("the first agent's registry says %q, term %d", mode, begun)
	}
	_, state, agent := h.consent(alice, shop)
	if state.State != api.ConsentApproved || agent.APIPort != strconv.Itoa(one.Port) {
		t.Fatalf("consent through the elected registry is %+v at %+v", state, agent)
	}
	if got := h.ask(alice, "tcp4", one.Listen[0], page(shop, "GET", one.Listen[0], "/v3/readers", "")); got.Status != 200 {
		t.Errorf("then the agent answers %d %s", got.Status, got.Body)
	}
	if got := h.ask(bob, "tcp4", e.at, request("GET", e.at, "/info", "")); got.reason() != "caller_refused scope_same_user" {
		t.Errorf("bob at her registry: %d %s", got.Status, got.Body)
	}
	var refused api.ErrorBody
	h.run(alice, 2, &refused, e.args("one", "agent", "offer", e.reader("one"), "issuer")...)
	if refused.Reason != cardbroker.Unsupported {
		t.Errorf("an offer is refused with %+v", refused)
	}

	_, two := e.stand("two")
	third, three := e.stand("three")
	first.Kill()
	h.until("another term", func() bool { mode, epoch := e.info(); return mode == api.ModeElected && epoch > begun })
	e.registered(api.ModeElected, two, three)

	h.start()
	h.until("a service", func() bool { mode, _ := e.info(); return mode == api.ModeService })
	e.registered(api.ModeService, two, three)
	for _, s := range h.sessions() {
		if s.State != cardbroker.Registered || !s.ListenerOK {
			t.Errorf("the service has %+v", s)
		}
	}

	h.broker.Kill()
	gone := time.Now()
	h.until("a registry after the service", func() bool { mode, _ := e.info(); return mode == api.ModeElected })
	if took := time.Since(gone); took < 9*time.Second || took > 40*time.Second {
		t.Errorf("the agents have elected again after %v, want 10 s", took)
	}
	e.registered(api.ModeElected, two, three)
	if err := third.Stop(); err != nil {
		t.Errorf("an agent that was told to stop: %v", err)
	}
	e.registered(api.ModeElected, two)
	if a, valid, at := h.validate(alice, shop, state.Consent); valid.State != api.ConsentApproved || at.APIPort != strconv.Itoa(two.Port) {
		t.Errorf("in the end the consent is %d %s", a.Status, a.Body)
	}
	var d api.Diagnosis
	h.until("who was elected", func() bool { // who was before leaves the port first, and then the file that names him
		d, _ = h.diagnose(alice, e.args("two", "--policy", h.policy)...)
		return slices.ContainsFunc(d.Checks, func(c api.Check) bool {
			return c.ID == "registry" && c.Status == "ok" && strings.Contains(c.Detail, "elected: process")
		})
	})
	if d.Mode != api.ModeElected {
		t.Errorf("the doctor says mode %s", d.Mode)
	}
	log, err := os.ReadFile(h.Path("agent-two.log"))
	if n := strings.Count(string(log), "the registry is"); err != nil || n != 3 {
		t.Errorf("the log has %d changes of the registry, want 3: %s, %v", n, log, err)
	}
}

// reader returns the id of the session's reader.
func (e *electorate) reader(session string) string {
	var list struct{ Readers []api.CardReader }
	e.run(e.user, 0, &list, e.args(session, "agent", "readers")...)
	if len(list.Readers) != 1 {
		e.t.Fatalf("readers = %+v, want one", list.Readers)
	}
	return string(list.Readers[0].ID)
}
