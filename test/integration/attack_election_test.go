// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/test/stage"
)

// electing is a host without a service: agents elect their registry.
type electing struct {
	*host
	port cardbroker.Port // the well-known one
	at   string          // of 127.0.0.1
}

// newElecting sets the stage. Policy is the machine's, YAML; empty: there is none.
func newElecting(t *testing.T, policy string) (e *electing, alice, bob *stage.Person) {
	t.Helper()
	h, alice, bob := newAttack(t)
	e = &electing{host: h, port: h.freePort()}
	e.at = fmt.Sprintf("127.0.0.1:%d", e.port)
	if err := os.WriteFile(h.Path("agent.yaml"), fmt.Appendf(nil, "elect: {enabled: true, listen: %q}\n", e.at), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(h.Path("policy.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.Path("policy.d", "election.yaml"), []byte(policy), 0o644); err != nil {
		t.Fatal(err)
	}
	return e, alice, bob
}

const anyUser = "election: {scope: any_user}\n"

// candidate is an agent that stands for election.
type candidate struct {
	e    *electing
	user *stage.Person
	cmd  *exec.Cmd
	log  string
	said chan stage.Ready // its ready line; closed without one if it ends before
}

// stand starts an agent, which may never be ready. It ends with the test.
func (e *electing) stand(p *stage.Person, session string, flags ...string) *candidate {
	e.t.Helper()
	c := &candidate{e: e, user: p, log: e.Path("agent-" + p.Name + "-" + session + ".log"), said: make(chan stage.Ready, 1)}
	log, err := os.Create(c.log)
	if err != nil {
		e.t.Fatal(err)
	}
	defer log.Close()
	args := append([]string{"agent", "run", "--elect", "--config", e.Path("agent.yaml"), "--policy", e.Path("policy.d"), "--session", session,
		"--socket", e.socket, "--state", p.Home + "/state"}, flags...)
	c.cmd = e.Command(p, "cardbroker", args...)
	c.cmd.Stderr = log
	out, err := c.cmd.StdoutPipe()
	if err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		e.t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(c.said)
		lines := bufio.NewReader(out)
		var line stage.Ready
		if text, err := lines.ReadBytes('\n'); err == nil && json.Unmarshal(text, &line) == nil {
			c.said <- line
		}
		io.Copy(io.Discard, lines)
	}()
	e.t.Cleanup(func() {
		c.cmd.Process.Signal(syscall.SIGTERM)
		<-read
		if err := c.cmd.Wait(); err != nil {
			e.t.Errorf("the agent of %s has ended with %v", p.Name, err)
		}
	})
	return c
}

// ready waits until the agent is registered.
func (c *candidate) ready() stage.Ready {
	c.e.t.Helper()
	select {
	case line, ok := <-c.said:
		if ok {
			return line
		}
		c.e.t.Fatalf("the agent of %s has ended", c.user.Name)
	case <-c.e.Context().Done():
		c.e.t.Fatalf("the agent of %s was never ready", c.user.Name)
	}
	panic("BUG: Fatalf returns")
}

// logged waits until the agent has logged something.
func (c *candidate) logged(what string) {
	c.e.t.Helper()
	c.e.until(what+" in the log", func() bool {
		text, _ := os.ReadFile(c.log)
		return strings.Contains(string(text), what)
	})
}

// diagnosis is what the doctor of a user's agents says.
func (e *electing) diagnosis(p *stage.Person) (d api.Diagnosis) {
	e.t.Helper()
	out, err := e.Run(p, "cardbroker", "agent", "doctor", "--json", "--config", e.Path("agent.yaml"), "--policy", e.Path("policy.d"),
		"--socket", e.socket, "--state", p.Home+"/state")
	if err != nil {
		e.t.Fatal(err)
	}
	if err := json.Unmarshal(out.Stdout, &d); err != nil {
		e.t.Fatalf("agent doctor: exit status %d: %s%s, %v", out.Status, out.Stdout, out.Stderr, err)
	}
	return d
}

// blames says whether a diagnosis has a failed check that names all of it.
func blames(d api.Diagnosis, words ...string) bool {
	for _, check := range d.Checks {
		found := check.Status == "fail"
		for _, word := range words {
			found = found && strings.Contains(check.Detail+" "+check.Fix, word)
		}
		if found {
			return true
		}
	}
	return false
}

// TestElectionSquatter has bob bind the well-known port, whole or in part, before alice's agent comes, which trusts its own user alone. It
// says nothing to him and takes no half of an office; it and its doctor say who is in the way; and once he has gone it leads.
func TestElectionSquatter(t *testing.T) {
	for _, addresses := range [][]string{{"127.0.0.1"}, {"[::1]"}, {"127.0.0.1", "[::1]"}, {"0.0.0.0"}, {"[::]"}} {
		t.Run(strings.Join(addresses, " "), func(t *testing.T) {
			t.Parallel()
			e, alice, bob := newElecting(t, "")
			var squatters []net.Listener
			heard := make(chan string, 16)
			for _, address := range addresses {
				l := e.listenAs(bob, fmt.Sprintf("%s:%d", address, e.port))
				squatters = append(squatters, l)
				go listenTo(l, heard)
			}
			agent := e.stand(alice, "s1", "--software-card")
			reason := "listener_foreign"
			if addresses[0] == "[::1]" || addresses[0] == "[::]" { // the agent cannot take office
				reason = "taken by another program"
			}
			agent.logged(reason)
			if d := e.diagnosis(alice); !blames(d, fmt.Sprint(e.port), fmt.Sprint(bob.Cred.Uid)) {
				t.Errorf("the doctor does not name port %d and user %d: %+v", e.port, bob.Cred.Uid, d)
			}
			select {
			case line := <-agent.said:
				t.Errorf("the agent is ready beside the squatter: %+v", line)
			case text := <-heard:
				t.Errorf("bob has heard %q", text)
			default:
			}
			for _, l := range squatters {
				l.Close()
			}
			agent.ready()
			if got := e.ask(alice, "tcp4", e.at, request("GET", e.at, "/info", "")); got.Status != 200 {
				t.Errorf("/info of the elected registry: %d %s", got.Status, got.Body)
			}
			if d := e.diagnosis(alice); d.Mode != api.ModeElected {
				t.Errorf("the doctor says mode %q", d.Mode)
			}
		})
	}
}

// listenTo reads all that comes to a listener, until it is closed.
func listenTo(l net.Listener, heard chan<- string) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			first := make([]byte, 4096)
			if n, _ := conn.Read(first); n > 0 {
				heard <- string(first[:n])
			}
		}()
	}
}

// TestElectionScope has alice's agent lead, for her alone: bob's programs and pages are refused by name, and his own agent does not trust
// hers.
func TestElectionScope(t *testing.T) {
	e, alice, bob := newElecting(t, "")
	e.stand(alice, "s1", "--software-card").ready()
	his := e.stand(bob, "s1", "--software-card")
	for _, r := range []string{
		request("GET", e.at, "/info", ""), request("GET", e.at, "/cb/v1/agent", ""), request("GET", e.at, "/local/v1/agents", ""),
		request("GET", e.at, "/v3/agents", "", "Origin: https://app.example"), request("GET", e.at, "/info", "", "Origin: https://app.example"),
		request("GET", e.at, "/local/v1/link", "", upgradeTo(api.LinkProtocol)...),
	} {
		if got := e.ask(bob, "tcp4", e.at, r); got.Status != 403 || got.reason() != "caller_refused scope_same_user" {
			t.Errorf("bob is answered %d %s to %.60q, want caller_refused scope_same_user", got.Status, got.Body, r)
		}
	}
	his.logged("listener_foreign")
	if d := e.diagnosis(bob); !blames(d, fmt.Sprint(e.port), fmt.Sprint(alice.Cred.Uid)) {
		t.Errorf("bob's doctor does not name port %d and user %d: %+v", e.port, alice.Cred.Uid, d)
	}
	var list api.Sessions
	got := e.ask(alice, "tcp4", e.at, request("GET", e.at, "/local/v1/agents", ""))
	if err := json.Unmarshal(got.Body, &list); err != nil || len(list.Sessions) != 1 || list.Sessions[0].UID == nil || *list.Sessions[0].UID != alice.Cred.Uid {
		t.Errorf("alice's agents are %d %s", got.Status, got.Body)
	}
}

// upgradeTo are the headers of a WebSocket handshake.
func upgradeTo(subprotocol string) []string {
	return []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
		"Sec-WebSocket-Protocol: " + subprotocol}
}
