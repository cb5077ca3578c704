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
	"net/http"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/test/stage"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

func newClaim(session cardbroker.SessionID) api.Claim {
	return api.Claim{Session: session, Claim: string(cardbroker.RandomSecret().Reveal())}
}

// listen binds the reserved port as an agent does.
func (h *host) listen(port cardbroker.Port) []net.Listener {
	h.t.Helper()
	listeners, err := httpserver.ListenLoopback(h.Context(), port)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		for _, l := range listeners {
			l.Close()
		}
	})
	return listeners
}

// register opens a link and says the first word. The link is nil if the broker refused.
func (h *host) register(claim api.Claim, ipv6 bool) (*socket.Conn, api.FromBroker) {
	h.t.Helper()
	link, err := h.client().Link(h.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { link.Close() })
	hello, err := json.Marshal(api.FromAgent{Register: &api.Register{Claim: claim, IPv6: ipv6}})
	if err != nil {
		h.t.Fatal(err)
	}
	if err := link.Write(hello); err != nil {
		h.t.Fatal(err)
	}
	text, err := link.Next()
	if err != nil {
		h.t.Fatal(err)
	}
	var answer api.FromBroker
	if err := json.Unmarshal(text, &answer); err != nil {
		h.t.Fatal(err)
	}
	return link, answer
}

func wantRefused(t *testing.T, answer api.FromBroker, reason cardbroker.Reason, rule cardbroker.Rule) {
	t.Helper()
	if answer.Failed == nil || answer.Failed.Reason != reason || answer.Failed.Rule != rule {
		t.Fatalf("register answered %+v, want %s by rule %q", answer, reason, rule)
	}
}

func TestClaims(t *testing.T) {
	h := newHost(t)
	h.start()
	claim := newClaim("1")
	reservation, err := h.client().Reserve(h.Context(), claim)
	if err != nil {
		t.Fatal(err)
	}
	ipv6 := len(h.listen(reservation.Port)) == 2

	t.Run("renew", func(t *testing.T) {
		renewed, err := h.client().Renew(h.Context(), claim)
		if err != nil || renewed.Port != reservation.Port || !renewed.Deadline.After(reservation.Deadline) {
			t.Errorf("Renew = %+v, %v, want port %d until after %v", renewed, err, reservation.Port, reservation.Deadline)
		}
		if _, err := h.client().Renew(h.Context(), newClaim("1")); cardbroker.RuleOf(err) != cardbroker.RuleClaim {
			t.Errorf("Renew with another claim = %v, want a refusal by rule claim", err)
		}
	})
	t.Run("wrong claim", func(t *testing.T) {
		_, answer := h.register(newClaim("1"), ipv6)
		wantRefused(t, answer, cardbroker.Unauthenticated, cardbroker.RuleClaim)
	})
	t.Run("right claim", func(t *testing.T) {
		_, answer := h.register(claim, ipv6)
		if answer.Registered == nil || answer.Registered.Port != reservation.Port {
			t.Fatalf("register answered %+v, want port %d", answer, reservation.Port)
		}
	})
	t.Run("second claim", func(t *testing.T) {
		_, answer := h.register(claim, ipv6)
		wantRefused(t, answer, cardbroker.Conflict, "")
	})
	t.Run("second agent", func(t *testing.T) {
		_, err := h.client().Reserve(h.Context(), newClaim("1"))
		if cardbroker.ReasonOf(err) != cardbroker.Conflict {
			t.Fatalf("Reserve = %v, want conflict", err)
		}
	})
}

func TestNobodyListens(t *testing.T) {
	h := newHost(t)
	h.start()
	claim := newClaim("1")
	if _, err := h.client().Reserve(h.Context(), claim); err != nil {
		t.Fatal(err)
	}
	_, answer := h.register(claim, true)
	wantRefused(t, answer, cardbroker.CallerRefused, cardbroker.RuleListenerMissing)
}

// squatAs has a user listen on an address until the test ends.
func (h *host) squatAs(p *stage.Person, address string) {
	h.t.Helper()
	cmd := h.Command(p, "actor")
	cmd.Env = append(cmd.Env, squat+"="+address)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		stdin.Close()
		cmd.Wait()
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "squatting\n" {
		h.t.Fatalf("the squatter on %s said %q, %v", address, line, err)
	}
}

// TestSquatterOnIPv6 takes [::1] of a reserved port before the agent binds: a page that asks localhost would reach the
// squatter.
func TestSquatterOnIPv6(t *testing.T) {
	testenv.Root(t)
	h := newHost(t)
	h.start()
	claim := newClaim("1")
	reservation, err := h.client().Reserve(h.Context(), claim)
	if err != nil {
		t.Fatal(err)
	}
	h.squatAs(&h.Users[1], fmt.Sprintf("[::1]:%d", reservation.Port))

	if _, err := httpserver.ListenLoopback(h.Context(), reservation.Port); cardbroker.ReasonOf(err) != cardbroker.Conflict {
		t.Errorf("ListenLoopback(%d) = %v, want conflict", reservation.Port, err)
	}
	v4, err := httpserver.Listen(h.Context(), "tcp4", fmt.Sprintf("127.0.0.1:%d", reservation.Port))
	if err != nil {
		t.Fatal(err)
	}
	defer v4.Close()
	for _, ipv6 := range []bool{true, false} {
		_, answer := h.register(claim, ipv6)
		wantRefused(t, answer, cardbroker.CallerRefused, cardbroker.RuleListenerForeign)
	}

	claim.Avoid = []cardbroker.Port{reservation.Port}
	again, err := h.client().Reserve(h.Context(), claim)
	if err != nil || again.Port == reservation.Port {
		t.Fatalf("Reserve, avoiding %d = %+v, %v", reservation.Port, again, err)
	}
	h.listen(again.Port)
	if _, answer := h.register(claim, true); answer.Registered == nil {
		t.Errorf("register on another port answered %+v", answer)
	}
}

// TestForeignPortIsNotHandedOut takes ports that the broker would choose: it proves a port before it promises it.
func TestForeignPortIsNotHandedOut(t *testing.T) {
	testenv.Root(t)
	h := newHost(t)
	h.start()
	first, err := h.client().Reserve(h.Context(), newClaim("1"))
	if err != nil {
		t.Fatal(err)
	}
	h.squatAs(&h.Users[1], fmt.Sprintf("[::1]:%d", first.Port))
	again, err := h.client().Reserve(h.Context(), newClaim("1"))
	if err != nil || again.Port == first.Port {
		t.Fatalf("Reserve beside a squatter on port %d = %+v, %v", first.Port, again, err)
	}
}

func TestBrokerKilledBetweenReserveAndRegister(t *testing.T) {
	h := newHost(t)
	h.start()
	claim := newClaim("1")
	reservation, err := h.client().Reserve(h.Context(), claim)
	if err != nil {
		t.Fatal(err)
	}
	ipv6 := len(h.listen(reservation.Port)) == 2
	h.broker.Kill()
	h.start()
	_, answer := h.register(claim, ipv6)
	if answer.Registered == nil || answer.Registered.Port != reservation.Port {
		t.Fatalf("register after a restart answered %+v, want port %d", answer, reservation.Port)
	}
	if answer.Registered.Epoch < 2 {
		t.Errorf("epoch %d after a restart, want more than 1", answer.Registered.Epoch)
	}
}

// TestBrokerRestart keeps ports and tickets: a page's port and a back end's ticket outlive the broker.
func TestBrokerRestart(t *testing.T) {
	h := newHost(t)
	h.start()
	alice := &h.Users[0]
	_, line := h.logon(alice)
	offered := h.offer(alice)
	for range 2 {
		h.broker.Kill()
		h.start()
		s := h.await("the agent registered again", func(s api.Session) bool { return s.State == cardbroker.Registered })
		if int(s.Port) != line.Port {
			t.Fatalf("port %d after a restart, want %d", s.Port, line.Port)
		}
	}
	h.apdu(0, offered.Ticket, "80EE0000020102")
}

// TestAgentKilled has the broker keep a dead agent's port from everybody but his successor.
func TestAgentKilled(t *testing.T) {
	h := newHost(t)
	h.start()
	alice := &h.Users[0]
	agent, line := h.logon(alice)
	agent.Kill()
	h.await("the agent stale", func(s api.Session) bool { return s.State == cardbroker.Stale })

	url := fmt.Sprintf("http://127.0.0.1:%d/info", line.Port)
	var body api.ErrorBody
	for body.Reason != cardbroker.AgentRestarting { // the guard binds as soon as the kernel has let go of the port
		response, err := http.Get(url)
		if err == nil {
			text, _ := io.ReadAll(response.Body)
			response.Body.Close()
			json.Unmarshal(text, &body)
		}
		if h.Context().Err() != nil {
			t.Fatalf("GET %s = %v, %+v, want agent_restarting", url, err, body)
		}
	}
	_, again := h.logon(alice)
	if again.Port != line.Port {
		t.Errorf("the successor has port %d, want %d", again.Port, line.Port)
	}
}

// TestCleanStop leaves neither socket nor reservation behind.
func TestCleanStop(t *testing.T) {
	h := newHost(t)
	h.start()
	alice := &h.Users[0]
	agent, _ := h.logon(alice)
	h.offer(alice) // so that a sandbox runs
	if err := agent.Stop(); err != nil {
		t.Errorf("the agent's stop: %v", err)
	}
	if sessions := h.sessions(); len(sessions) != 0 {
		t.Errorf("sessions after the agent's stop: %+v", sessions)
	}
	if err := h.broker.Stop(); err != nil {
		t.Errorf("the broker's stop: %v", err)
	}
	var body api.ErrorBody
	h.run(nil, 4, &body, "host", "sessions", "--socket", h.socket)
	if !strings.Contains(body.Description, "no broker answers") {
		t.Errorf("after the stop: %+v", body)
	}
}
