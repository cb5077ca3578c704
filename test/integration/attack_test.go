// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/test/stage"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// newAttack sets the stage for an attack by the second user on the first: it needs two users, and so root.
func newAttack(t *testing.T) (h *host, alice, bob *stage.Person) {
	t.Helper()
	testenv.Root(t)
	h = newHost(t)
	return h, &h.Users[0], &h.Users[1]
}

// as runs f as p, in the eyes of the kernel.
func (h *host) as(p *stage.Person, f func()) {
	h.t.Helper()
	if err := stage.As(p.Cred.Uid, f); err != nil {
		h.t.Fatal(err)
	}
}

// dial connects as p; from is his own end, "" for any.
func (h *host) dial(p *stage.Person, network, from, to string) (conn net.Conn, err error) {
	var dialer net.Dialer
	if from != "" {
		if dialer.LocalAddr, err = net.ResolveTCPAddr(network, from); err != nil {
			return nil, err
		}
	}
	h.as(p, func() { conn, err = dialer.DialContext(h.Context(), network, to) })
	return conn, err
}

// mustDial connects as p until the test ends.
func (h *host) mustDial(p *stage.Person, network, to string) net.Conn {
	h.t.Helper()
	conn, err := h.dial(p, network, "", to)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	return conn
}

// answer is what a server said.
type answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// reason returns the reason and rule of an error; both are empty for a success.
func (a answer) reason() string {
	var body api.ErrorBody
	json.Unmarshal(a.Body, &body)
	return strings.TrimSuffix(string(body.Reason)+" "+string(body.Rule), " ")
}

// ask sends the text of a request on a connection of its own, and returns the answer.
func (h *host) ask(p *stage.Person, network, to, request string) answer {
	h.t.Helper()
	conn, err := h.dial(p, network, "", to)
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close()
	a, err := exchange(conn, request)
	if err != nil {
		h.t.Fatalf("%s asked %.60q: %v", p.Name, request, err)
	}
	return a
}

// exchange sends the text of a request and reads the answer.
func exchange(conn net.Conn, request string) (answer, error) {
	conn.SetDeadline(time.Now().Add(limit / 2))
	if _, err := io.WriteString(conn, request); err != nil {
		return answer{}, err
	}
	return readAnswer(conn)
}

// readAnswer reads the answer to what was sent.
func readAnswer(conn net.Conn) (answer, error) {
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return answer{Status: response.StatusCode, Header: response.Header, Body: body}, err
}

// local asks the broker's local socket, with v as JSON; nil: no body.
func (h *host) local(p *stage.Person, method, path string, v any) answer {
	h.t.Helper()
	var body []byte
	if v != nil {
		var err error
		if body, err = json.Marshal(v); err != nil {
			h.t.Fatal(err)
		}
	}
	return h.ask(p, "unix", h.socket, fmt.Sprintf("%s %s HTTP/1.1\r\nHost: cardbroker\r\nContent-Length: %d\r\n\r\n%s",
		method, path, len(body), body))
}

// upgrade opens a WebSocket on the local socket as p.
func (h *host) upgrade(p *stage.Person, subprotocol, path string) (*socket.Conn, error) {
	conn, response, err := socket.NewMaker(subprotocol).Dial(h.Context(), socket.Dial{
		URL: "ws://cardbroker" + path,
		Net: func(context.Context) (net.Conn, error) { return h.dial(p, "unix", "", h.socket) },
	})
	if response != nil {
		return nil, api.ReadError(response)
	}
	return conn, err
}

// link opens a link as p and says its first word.
func (h *host) link(p *stage.Person, claim api.Claim, ipv6 bool) (*socket.Conn, api.FromBroker) {
	h.t.Helper()
	conn, err := h.upgrade(p, api.LinkProtocol, "/local/v1/link")
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	if err := conn.WriteJSON(api.FromAgent{Register: &api.Register{Claim: claim, IPv6: ipv6}}); err != nil {
		h.t.Fatal(err)
	}
	answer, err := hear(conn)
	if err != nil {
		h.t.Fatal(err)
	}
	return conn, answer
}

// hear returns the broker's next message but for what it says of the host, which comes when it comes.
func hear(conn *socket.Conn) (api.FromBroker, error) {
	for {
		var message api.FromBroker
		if err := conn.NextJSON(&message); err != nil || message.Sharing == nil {
			return message, err
		}
	}
}

// puppet is an agent of p whose every word is ours.
type puppet struct {
	*socket.Conn
	claim     api.Claim
	listeners []net.Listener
	api.Registered
}

// puppet enrols an agent of p: it reserves, binds and registers.
func (h *host) puppet(p *stage.Person, session cardbroker.SessionID) puppet {
	h.t.Helper()
	claim := newClaim(session)
	var reservation api.Reservation
	if a := h.local(p, "POST", "/local/v1/reserve", claim); json.Unmarshal(a.Body, &reservation) != nil || a.Status != 200 {
		h.t.Fatalf("reserve: %d %s", a.Status, a.Body)
	}
	var ipv6 bool
	var listeners []net.Listener
	h.as(p, func() { listeners = h.listen(reservation.Port); ipv6 = len(listeners) == 2 })
	conn, answer := h.link(p, claim, ipv6)
	if answer.Registered == nil {
		h.t.Fatalf("register: %+v", answer)
	}
	return puppet{Conn: conn, claim: claim, listeners: listeners, Registered: *answer.Registered}
}

// opened returns the next tunnel that the broker asks for.
func (p puppet) opened(t *testing.T) api.TunnelOpen {
	t.Helper()
	message, err := hear(p.Conn)
	if err != nil || message.Open == nil {
		t.Fatalf("the link said %+v, %v, want open", message, err)
	}
	return *message.Open
}

// bring brings the leg of a tunnel, as p.
func (h *host) bring(p *stage.Person, id string) (*socket.Conn, error) {
	conn, err := h.upgrade(p, wire.Subprotocol, "/local/v1/tunnels/"+id)
	if err == nil {
		h.t.Cleanup(func() { conn.Close() })
	}
	return conn, err
}

// descriptors counts the open files of a process.
func descriptors(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// settle waits until a process has no more files open than before, but for what is opened when it is first needed: sockets to
// ask the kernel with, the audit log, and the runtime's two files of its cgroup.
func (h *host) settle(pid, before int) {
	h.t.Helper()
	h.until("its files closed", func() bool { return descriptors(h.t, pid) <= before+8 })
}

// starved is how long a request takes, or more, that waits until others have had enough of a server. One that is served takes
// milliseconds; how many is measured by the benchmarks, on a machine that does nothing else.
const starved = 10 * time.Second

// slowest measures the worst of n requests of p, each on a connection of its own.
func (h *host) slowest(p *stage.Person, n int, network, to, request string) (worst time.Duration) {
	h.t.Helper()
	for range n {
		start := time.Now()
		if a := h.ask(p, network, to, request); a.Status != 200 {
			h.t.Errorf("%s is answered %d %s", p.Name, a.Status, bytes.TrimSpace(a.Body))
		}
		worst = max(worst, time.Since(start))
	}
	return worst
}
