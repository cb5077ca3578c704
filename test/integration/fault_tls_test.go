// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/test/stage"
)

// subscribe asks an agent for events over a connection and reads the first of them: a request that goes on.
func subscribe(t *testing.T, conn net.Conn, to string) *bufio.Reader {
	t.Helper()
	fmt.Fprintf(conn, "GET /cb/v1/events HTTP/1.1\r\nHost: %s\r\n\r\n", to)
	in := bufio.NewReader(conn)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatalf("no event: %v", err)
		}
		if strings.HasPrefix(line, "event:") {
			return in
		}
	}
}

// untilEnd waits until a connection has no more to say.
func untilEnd(t *testing.T, in io.Reader) {
	t.Helper()
	if _, err := io.Copy(io.Discard, in); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection goes on")
	}
}

// TestAgentDiesBehindTheBroker kills an agent in the middle of an answer: the page's connection ends, the next is told to come
// back, by TLS and without, and finds the next agent on the same port.
func TestAgentDiesBehindTheBroker(t *testing.T) {
	h, alice, _ := newTLS(t, "")
	service, line := h.logon(alice)
	to := line.Listen[0]
	conns := h.ways(alice, to)
	var open []io.Reader
	for _, conn := range conns {
		conn.SetDeadline(time.Now().Add(limit / 2))
		open = append(open, subscribe(t, conn, to))
	}
	service.Kill()
	for _, in := range open {
		untilEnd(t, in)
	}
	h.await("a stale agent", func(s api.Session) bool { return s.State == "STALE" && s.ListenerOK })
	for scheme, conn := range h.ways(alice, to) {
		if a := get(t, conn, to, "/v3/readers"); a.reason() != "agent_restarting" || a.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %s, want agent_restarting", scheme, a.Status, a.Body)
		}
	}
	if _, again := h.logon(alice); again.Port != line.Port {
		t.Errorf("the next agent has port %d, want %d", again.Port, line.Port)
	}
	for scheme, conn := range h.ways(alice, to) {
		if a := get(t, conn, to, "/v3/readers"); a.Status != 200 {
			t.Errorf("%s: %d %s", scheme, a.Status, a.Body)
		}
	}
}

// TestBrokerDiesInFront kills the broker under pages, then starts it anew: with TLS, without, and with it again. The agent is
// reached on the same port each time, and nobody else gets it.
func TestBrokerDiesInFront(t *testing.T) {
	h, alice, _ := newTLS(t, "")
	_, line := h.logon(alice)
	to := line.Listen[0]
	conn := h.secure(alice, to)
	conn.SetDeadline(time.Now().Add(limit / 2))
	in := subscribe(t, conn, to)
	withTLS := h.config
	for i, config := range []string{withTLS, "limits: {}\n", withTLS} {
		h.broker.Kill()
		if i == 0 {
			untilEnd(t, in)
		}
		h.config = config
		h.start()
		held := config == withTLS
		h.await("the agent", func(s api.Session) bool {
			return s.State == "REGISTERED" && s.ListenerOK && s.Held == held && int(s.Port) == line.Port
		})
		h.run(alice, 0, nil, "agent", "readers", "--socket", h.socket, "--state", alice.Home+"/state")
		if held {
			conn := h.secure(alice, to)
			if a := get(t, conn, to, "/v3/readers"); a.Status != 200 {
				t.Errorf("start %d: %d %s", i, a.Status, a.Body)
			}
		}
	}
}

// TestFixedPortWithoutTLS forwards to agents that listen themselves.
func TestFixedPortWithoutTLS(t *testing.T) {
	h, alice, bob := newAttack(t)
	h.config = "fixed_ports: [{port: 0}]\n"
	h.start()
	_, line := h.logon(alice)
	for _, to := range []string{h.ready.Fixed[0], h.ready.Fixed[1], line.Listen[0]} {
		if a := get(t, h.mustDial(alice, "tcp", to), to, "/info"); a.Status != 200 || !strings.Contains(string(a.Body), fmt.Sprintf(`"apiPort":%d`, line.Port)) {
			t.Errorf("alice on %s: %d %s, want her agent of port %d", to, a.Status, a.Body, line.Port)
		}
	}
	to := h.ready.Fixed[0]
	if a := get(t, h.mustDial(bob, "tcp", to), to, "/info"); a.reason() != "no_agent no_agent" {
		t.Errorf("bob on %s: %d %s", to, a.Status, a.Body)
	}
	if again, err := h.Run(nil, "cardbroker", "host", "run", "--state", h.Path("state2"), "--socket", h.Path("run2", "s"),
		"--listen", "127.0.0.1:0", "--config", h.write("second.yaml", "fixed_ports: [{port: "+to[strings.LastIndex(to, ":")+1:]+"}]")); err != nil || again.Status != 7 {
		t.Errorf("a second broker on the same fixed port: exit status %d, %v", again.Status, err)
	}
}

// write writes a file on stage.
func (h *host) write(name, text string) string {
	h.t.Helper()
	if err := os.WriteFile(h.Path(name), []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
	return h.Path(name)
}

// TestCertificateIsRenewed replaces the administrator's certificate while pages are connected: they stay, new ones see the new
// certificate, and a broken one changes nothing.
func TestCertificateIsRenewed(t *testing.T) {
	h, alice, _ := newAttack(t)
	cert, key := h.Path("web.pem"), h.Path("web.key")
	issue := func() {
		if err := stage.IssueDoor(cert, key); err != nil {
			t.Fatal(err)
		}
	}
	issue()
	h.config = fmt.Sprintf("tls: {cert: %s, key: %s, name: cards.example}\n", cert, key)
	h.start()
	_, line := h.logon(alice)
	to := line.Listen[0]
	dial := func() (*tls.Conn, string) {
		conn := tls.Client(h.mustDial(alice, "tcp", to), &tls.Config{InsecureSkipVerify: true})
		if err := conn.Handshake(); err != nil {
			t.Fatal(err)
		}
		return conn, conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	old, before := dial()
	after := before
	alias := strings.Replace(to, "127.0.0.1", "Cards.Example", 1)
	if a := get(t, old, alias, "/info"); a.Status != 200 || !strings.Contains(string(a.Body), `"url":"https://cards.example"`) {
		t.Errorf("by the configured name: %d %s", a.Status, a.Body)
	}
	issue()
	shown := func() string {
		conn, serial := dial()
		conn.Close()
		return serial
	}
	h.until("the new certificate", func() bool { after = shown(); return after != before })
	os.WriteFile(key, []byte("broken"), 0o600)
	h.until("the broker's word on a broken key", func() bool {
		if shown() != after {
			t.Fatal("a broken key has changed the certificate")
		}
		log, _ := os.ReadFile(h.Path("broker.log"))
		return strings.Contains(string(log), "the old one stays")
	})
	if a := get(t, old, to, "/v3/readers"); a.Status != 200 {
		t.Errorf("on the old connection: %d %s", a.Status, a.Body)
	}
	var d api.Diagnosis
	h.run(nil, 0, &d, "host", "doctor", "--socket", h.socket)
	for _, check := range d.Checks {
		if check.ID == "tls" && check.Status != "warn" { // it lasts a day
			t.Errorf("doctor: %+v, want a warning", check)
		}
	}
}

// TestManyPages opens 500 connections of two users to their agents, uses all at the same time, and closes them: all is given
// back.
func TestManyPages(t *testing.T) {
	h, alice, bob := newAttack(t)
	h.config = "tls: {local_ca: true}\nlimits: {connectionsPerUser: 300}\n"
	h.start()
	_, hers := h.logon(alice)
	_, his := h.logon(bob)
	before := [3]int{descriptors(t, h.ready.PID), descriptors(t, hers.PID), descriptors(t, his.PID)}
	type page struct {
		*tls.Conn
		to string
	}
	var pages []page
	for i := range 500 {
		who, to := alice, hers.Listen[0]
		if i%2 == 1 {
			who, to = bob, his.Listen[0]
		}
		pages = append(pages, page{h.secure(who, to), to})
	}
	var asking sync.WaitGroup
	refused, served := make([]string, len(pages)), make([]bool, len(pages))
	for i, p := range pages {
		asking.Go(func() {
			a, err := exchange(p, "GET /info HTTP/1.1\r\nHost: "+p.to+"\r\n\r\n")
			if err != nil || a.Status != 200 && a.Status != 429 { // the rate of one user's requests is what it was
				refused[i] = fmt.Sprintf("%d %s %v", a.Status, a.Body, err)
			}
			served[i] = a.Status == 200
		})
	}
	asking.Wait()
	for i, why := range refused {
		if why != "" {
			t.Errorf("page %d: %s", i, why)
		}
	}
	n := 0
	for _, yes := range served {
		if yes {
			n++
		}
	}
	if n < 2*64 { // what an agent serves of one user at a time, whatever the broker lets through
		t.Errorf("%d of 500 pages were served, want at least %d", n, 2*64)
	}
	for _, p := range pages {
		p.Close()
	}
	h.settle(h.ready.PID, before[0])
	h.settle(hers.PID, before[1])
	h.settle(his.PID, before[2])
}

// TestSlowHandshakes has bob open all the connections that he may and say nothing, half a TLS record, or garbage: alice is
// served meanwhile, and his are closed after five seconds.
func TestSlowHandshakes(t *testing.T) {
	h, alice, bob := newTLS(t, "")
	_, line := h.logon(alice)
	to := line.Listen[0]
	begun := time.Now()
	var slow []net.Conn
	for i := range 64 {
		conn := h.mustDial(bob, "tcp", to)
		conn.SetDeadline(time.Now().Add(limit / 2))
		switch i % 4 {
		case 1:
			conn.Write([]byte{0x16})
		case 2:
			conn.Write([]byte{0x16, 3, 1, 2, 0, 1, 0})
		case 3:
			conn.Write([]byte("G"))
		}
		slow = append(slow, conn)
	}
	for scheme, conn := range h.ways(bob, to) {
		if a := get(t, conn, to, "/info"); a.reason() != "rate_limited connection_limit" {
			t.Errorf("bob's connection too many, by %s: %d %s", scheme, a.Status, a.Body)
		}
	}
	if worst := h.slowestTLS(alice, 20, to); worst > starved {
		t.Errorf("alice waited %v", worst)
	}
	for _, conn := range slow {
		untilEnd(t, conn)
	}
	if took := time.Since(begun); took > 25*time.Second {
		t.Errorf("slow connections lasted %v, want 5 s, 10 at most", took)
	}
	garbage := h.mustDial(alice, "tcp", to)
	garbage.SetDeadline(time.Now().Add(limit / 2))
	garbage.Write([]byte("\x16\x03\x01\x00\x05hello"))
	untilEnd(t, garbage)
}

// slowestTLS measures the worst of n requests of p, each with a handshake of its own.
func (h *host) slowestTLS(p *stage.Person, n int, to string) (worst time.Duration) {
	h.t.Helper()
	for range n {
		start := time.Now()
		conn := h.secure(p, to)
		if a := get(h.t, conn, to, "/info"); a.Status != 200 {
			h.t.Errorf("%s is answered %d %s", p.Name, a.Status, a.Body)
		}
		conn.Close()
		worst = max(worst, time.Since(start))
	}
	return worst
}

// heldPuppet is an agent of p, behind the broker, whose every word is ours.
func (h *host) heldPuppet(p *stage.Person) puppet {
	h.t.Helper()
	claim := newClaim("held")
	var reservation api.Reservation
	if a := h.local(p, "POST", "/local/v1/reserve", claim); json.Unmarshal(a.Body, &reservation) != nil || len(reservation.Listen) == 0 {
		h.t.Fatalf("reserve: %d %s, want a port that the broker holds", a.Status, a.Body)
	}
	conn, answer := h.link(p, claim, false)
	if answer.Registered == nil {
		h.t.Fatalf("register: %+v", answer)
	}
	return puppet{Conn: conn, claim: claim, Registered: *answer.Registered}
}

// fetch brings the leg of a forwarded connection, as p.
func (h *host) fetch(p *stage.Person, id string) (*bufio.Reader, answer) {
	h.t.Helper()
	conn := h.mustDial(p, "unix", h.socket)
	fmt.Fprintf(conn, "GET /local/v1/forwards/%s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", id, api.ForwardProtocol)
	in := bufio.NewReader(conn)
	response, err := http.ReadResponse(in, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	a := answer{Status: response.StatusCode, Header: response.Header}
	if a.Status != http.StatusSwitchingProtocols {
		a.Body, _ = io.ReadAll(response.Body)
	}
	return in, a
}

// TestForeignForwards has bob reach for alice's connections: her agent's leg, its id, another's; he gets none, and what her page
// sends is seen by her agent alone, once.
func TestForeignForwards(t *testing.T) {
	h, alice, bob := newTLS(t, "")
	hers := h.heldPuppet(alice)
	h.heldPuppet(bob)
	to := fmt.Sprintf("127.0.0.1:%d", hers.Port)
	if a := get(t, h.secure(bob, to), to, "/info"); a.reason() != "caller_refused other_user" { // and her agent hears nothing of it
		t.Errorf("bob on alice's port: %d %s", a.Status, a.Body)
	}
	page := h.secure(alice, to)
	io.WriteString(page, "GET /secret")
	message, err := hear(hers.Conn)
	if err != nil || message.Forward == nil || message.Forward.User().UID != alice.Cred.Uid || !message.Forward.TLS ||
		message.Forward.Client.String() != page.LocalAddr().String() || message.Forward.Server.String() != to {
		t.Fatalf("the link said %+v, %v, want alice's connection", message.Forward, err)
	}
	id := message.Forward.ID
	for _, attempt := range []string{id, strings.ToUpper(id), id[:31], "..", "%2e%2e"} {
		if _, a := h.fetch(bob, attempt); a.Status == 101 {
			t.Errorf("bob has fetched %q", attempt)
		}
	}
	if a := h.local(alice, "GET", "/local/v1/forwards/"+id, nil); a.reason() != "invalid" {
		t.Errorf("without an upgrade: %d %s", a.Status, a.Body)
	}
	in, a := h.fetch(alice, id)
	if a.Status != 101 {
		t.Fatalf("alice's agent: %d %s", a.Status, a.Body)
	}
	if _, again := h.fetch(alice, id); again.reason() != "unauthenticated forward" {
		t.Errorf("a second leg: %d %s", again.Status, again.Body)
	}
	got := make([]byte, len("GET /secret"))
	if _, err := io.ReadFull(in, got); err != nil || string(got) != "GET /secret" {
		t.Errorf("alice's agent read %q, %v", got, err)
	}
	page.Close()
	if rest, _ := io.ReadAll(in); len(rest) > 0 {
		t.Errorf("after the page has gone: %q", rest)
	}
}
