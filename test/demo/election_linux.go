// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/test/stage"
)

// electorate is a host without a service, next to the demo's: a well-known port of its own, at which agents of alice's look for their registry.
type electorate struct {
	*story
	alice  *stage.Person
	at     string // address of the registry
	socket string // of the service that is not there yet
	flags  []string
	agents []stage.Ready  // that run, in the order in which they have started
	leader *stage.Service // the first of them
	epoch  uint64         // of the last term that was seen
}

// elect shows what agents do on a host without a service, until one starts.
func (st *story) elect() error {
	st.scene("A host without a service: alice's agents elect their registry")
	e := &electorate{story: st, alice: &st.Users[0], socket: st.Path("run", "late.sock")}
	for _, part := range []func() error{e.configure, e.firstStands, e.finds, e.othersStand, e.leaderDies, e.serviceComes} {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

// configure chooses a port, and tells agents of it in a configuration file.
func (e *electorate) configure() error {
	at, err := e.Reserve() // who is elected listens there
	if err != nil {
		return err
	}
	e.at = at
	file := e.Path("elect.yaml")
	e.flags = []string{"--config", file, "--socket", e.socket, "--state", filepath.Join(e.alice.Home, "elected")}
	return os.WriteFile(file, fmt.Appendf(nil, "elect: {listen: %q}\n", e.at), 0o644)
}

// run runs a command of the agent of a session, as alice.
func (e *electorate) run(session string, args ...string) (stage.Outcome, error) {
	return e.Run(e.alice, "cardbroker", append(append([]string{"agent"}, args...), append(e.flags, "--session", session, "--json")...)...)
}

// stand starts the agent of a session.
func (e *electorate) stand(session string) (*stage.Service, error) {
	service, line, err := e.Start(e.alice, "agent-"+session, append([]string{"agent", "run", "--elect", "--software-card", "--session", session}, e.flags...)...)
	e.agents = append(e.agents, line)
	return service, err
}

// firstStands starts an agent, which is alone and therefore elected.
func (e *electorate) firstStands() (err error) {
	if e.leader, err = e.stand("one"); err != nil {
		return err
	}
	answer, err := e.getAs(e.alice, "http://"+e.at+"/info")
	if err != nil {
		return err
	}
	var info api.Info
	json.Unmarshal(answer.Body, &info)
	e.epoch = info.Cardbroker.Epoch
	e.check(info.Cardbroker.Mode == api.ModeElected && e.epoch > 0, "an agent that stands alone is elected, and answers where the broker would",
		fmt.Sprintf("process %d at %s, epoch %d", e.agents[0].PID, e.at, e.epoch))
	if len(e.Users) < 2 {
		return nil
	}
	if answer, err = e.getAs(&e.Users[1], "http://"+e.at+"/info"); err != nil {
		return err
	}
	var body api.ErrorBody
	json.Unmarshal(answer.Body, &body)
	e.check(body.Rule == cardbroker.RuleScopeSameUser, "bob is refused there: it serves alice alone", fmt.Sprintf("%d %s", answer.Status, body.Rule))
	return nil
}

// finds has a page find its agent: it asks the leader, which asks the agent, which asks alice.
func (e *electorate) finds() error {
	asked := make(chan error, 1)
	var answer consented
	go func() {
		said, err := e.page(e.alice, shop, http.MethodPost, "http://"+e.at+"/v3/consent", consentRequest)
		asked <- errors.Join(err, json.Unmarshal(said.Body, &answer))
	}()
	out, err := e.run("one", "consent", "approve", shop)
	if err != nil || out.Status != 0 {
		return fmt.Errorf("agent consent approve: %w %s", err, out.Stderr)
	}
	if err := <-asked; err != nil {
		return err
	}
	port, err := portOf(answer.Data.Consent)
	e.check(err == nil && port == strconv.Itoa(e.agents[0].Port), "a page asks there for consent, alice says yes, and the page learns her agent's port", port)
	return e.lists(e.agents[0], "the page lists the readers there")
}

// lists has the page ask an agent for readers.
func (e *electorate) lists(agent stage.Ready, what string) error {
	said, err := e.page(e.alice, shop, http.MethodGet, "http://"+agent.Listen[0]+"/v3/readers", "")
	if err == nil {
		e.check(said.Status == http.StatusOK, what, fmt.Sprint(said.Status))
	}
	return err
}

// othersStand starts two agents more, of other sessions of alice's.
func (e *electorate) othersStand() error {
	for _, session := range []string{"two", "three"} {
		if _, err := e.stand(session); err != nil {
			return err
		}
	}
	return e.kept(api.ModeElected, "agents of two more sessions of hers have bound ports themselves, and told it")
}

// leaderDies has alice kill the leader, and looks at who is next.
func (e *electorate) leaderDies() error {
	out, err := e.Run(e.alice, "actor", "depose", strconv.Itoa(e.agents[0].PID), "http://"+e.at+"/info")
	if err != nil || out.Status != 0 {
		return fmt.Errorf("the next leader: %w %s", err, out.Stdout)
	}
	e.leader.Wait()
	var next succession
	if err := json.Unmarshal(out.Stdout, &next); err != nil {
		return err
	}
	e.check(next.Epoch > e.epoch, "the leader is killed (-9): another answers there", fmt.Sprintf("after %.1f ms, epoch %d", next.MS, next.Epoch))
	e.agents, e.epoch = e.agents[1:], next.Epoch
	if err := e.kept(api.ModeElected, "the others have kept their ports"); err != nil {
		return err
	}
	if err := e.lists(e.agents[0], "the page's consent is good at them: it is alice's, and no registry has it"); err != nil {
		return err
	}
	return e.says(api.ModeElected, "alice's doctor says who leads now, and why")
}

// kept checks that the agents are registered, where they were, with a registry of the mode.
func (e *electorate) kept(mode, what string) error {
	var seen []string
	held := true
	for _, agent := range e.agents {
		var status struct {
			Mode, State string
			Port        int
		}
		for begun := time.Now(); status.Mode != mode || status.State != string(cardbroker.Registered); {
			out, err := e.run(agent.Session, "status")
			if err != nil {
				return err
			}
			if json.Unmarshal(out.Stdout, &status); time.Since(begun) > 40*time.Second {
				return fmt.Errorf("agent %s is not registered: %s%s", agent.Session, out.Stdout, out.Stderr)
			}
		}
		held = held && status.Port == agent.Port
		seen = append(seen, fmt.Sprint(status.Port))
	}
	e.check(held, what, strings.Join(seen, ", "))
	return nil
}

// says has alice ask her doctor what registry there is.
func (e *electorate) says(mode, what string) error {
	_, port, _ := strings.Cut(e.at, ":")
	out, err := e.run(e.agents[0].Session, "doctor", "--port", port)
	if err != nil {
		return err
	}
	var said api.Diagnosis
	if err := json.Unmarshal(out.Stdout, &said); err != nil {
		return fmt.Errorf("agent doctor: %w %s", err, out.Stderr)
	}
	registry := api.Check{}
	for _, c := range said.Checks {
		if c.ID == "registry" {
			registry = c
		}
	}
	e.check(said.Mode == mode && registry.Status == "ok", what, "mode "+said.Mode)
	e.note("%-10s %-4s %s", registry.ID, registry.Status, registry.Detail)
	return nil
}

// serviceComes starts a service, for which the leader leaves the port.
func (e *electorate) serviceComes() error {
	begun := time.Now()
	_, line, err := e.Start(nil, "late-broker", "host", "run", "--state", e.Path("late"), "--socket", e.socket, "--listen", e.at)
	if err != nil {
		return err
	}
	e.check(len(line.Listen) > 0 && line.Listen[0] == e.at, "a service starts, and wins: the leader leaves it the port", fmt.Sprintf("%s, ready after %d ms", e.at, time.Since(begun).Milliseconds()))
	if err := e.kept(api.ModeService, "the agents go on with the service, at their ports"); err != nil {
		return err
	}
	return e.says(api.ModeService, "alice's doctor says so")
}
