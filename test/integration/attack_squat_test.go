// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/test/stage"
)

// TestFalseBroker has alice's programs look for the broker where bob has put one of his own: none of them says a word to it.
func TestFalseBroker(t *testing.T) {
	h, alice, bob := newAttack(t)
	h.start()
	open := h.Path("open")
	var theirs net.Listener
	h.as(bob, func() {
		var err error
		if theirs, err = net.Listen("unix", bob.Home+"/broker.sock"); err != nil {
			t.Error(err)
		}
	})
	defer theirs.Close()
	heard := make(chan string, 1)
	go func() {
		for {
			conn, err := theirs.Accept()
			if err != nil {
				close(heard)
				return
			}
			if text, _ := io.ReadAll(conn); len(text) > 0 {
				heard <- string(text)
			}
			conn.Close()
		}
	}()
	for _, err := range []error{
		os.Chmod(bob.Home, 0o755), os.Chmod(bob.Home+"/broker.sock", 0o666),
		os.Mkdir(open, 0o777), os.Chmod(open, 0o777), os.Symlink(bob.Home+"/broker.sock", open+"/link"), os.Link(bob.Home+"/broker.sock", open+"/hard"),
		os.Symlink(h.socket, bob.Home+"/to-the-real-one"), os.Symlink(h.socket, open+"/to-the-real-one"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, socket := range []string{bob.Home + "/broker.sock", open + "/link", open + "/hard", bob.Home + "/to-the-real-one", open + "/to-the-real-one"} {
		for _, args := range [][]string{
			{"agent", "status"}, {"agent", "offer", "0123456789abcdef", "issuer"},
		} {
			var body api.ErrorBody
			h.run(alice, 3, &body, append(args, "--socket", socket, "--state", alice.Home+"/state")...)
			if body.Rule != "socket_foreign" {
				t.Errorf("%v at %s: %+v, want rule socket_foreign", args, socket, body)
			}
		}
	}
	h.swapped(alice, bob, open)
	theirs.Close()
	if text, ok := <-heard; ok {
		t.Errorf("bob's broker has heard %q", text)
	}
}

// swapped has bob lead a path to the real broker and to his own by turns, while alice's agent looks for the broker there: what
// it checks and what it connects to may be two. It is the directory that decides, so it never matters.
func (h *host) swapped(alice, bob *stage.Person, open string) {
	h.t.Helper()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			os.Symlink([]string{h.socket, bob.Home + "/broker.sock"}[i%2], open+"/next")
			os.Rename(open+"/next", open+"/swapped")
		}
	}()
	agent := h.Command(alice, "cardbroker", "agent", "run", "--socket", open+"/swapped", "--state", alice.Home+"/swapped", "--software-card")
	agent.Cancel = func() error { return agent.Process.Signal(syscall.SIGTERM) }
	out, err := agent.StdoutPipe()
	if err == nil {
		err = agent.Start()
	}
	if err != nil {
		h.t.Fatal(err)
	}
	for range 30 {
		if answer, err := h.Run(alice, "cardbroker", "agent", "status", "--socket", open+"/swapped", "--state", alice.Home+"/state"); err != nil || answer.Status != 3 && answer.Status != 4 {
			h.t.Errorf("agent status by a path that bob turns about: %d %s, %v", answer.Status, answer.Stderr, err)
		}
	}
	agent.Process.Signal(syscall.SIGTERM)
	if ready, _ := io.ReadAll(out); len(ready) > 0 {
		h.t.Errorf("an agent has registered by that path: %s", ready)
	}
	agent.Wait()
	close(stop)
	<-stopped
}

// TestUnsafeSocketDirectory starts a broker whose socket would be in a directory of bob's, or in one that he can write to: it
// started, and anybody there could have had root make any file world-writable, by a link in the socket's place.
func TestUnsafeSocketDirectory(t *testing.T) {
	h, _, bob := newAttack(t)
	open := h.Path("open")
	if err := os.Mkdir(open, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{bob.Home, open} {
		var body api.ErrorBody
		h.run(nil, 3, &body, "host", "run", "--socket", dir+"/broker.sock", "--state", h.Path("state2"), "--listen", "127.0.0.1:0")
		if body.Rule != "socket_foreign" {
			t.Errorf("host run with a socket in %s: %+v, want rule socket_foreign", dir, body)
		}
	}
}

// TestTakenPorts has bob bind the well-known port on one address or all of them: the broker does not start beside him.
func TestTakenPorts(t *testing.T) {
	h, _, bob := newAttack(t)
	port := fmt.Sprint(":", h.freePort())
	for _, address := range []string{"127.0.0.1", "[::1]", "0.0.0.0", "[::]"} {
		squatter := h.listenAs(bob, address+port)
		var body api.ErrorBody
		h.run(nil, 7, &body, "host", "run", "--socket", h.socket, "--state", h.Path("state"), "--listen", "127.0.0.1"+port)
		if !strings.Contains(body.Description, "taken by another program") {
			t.Errorf("host run beside %s%s: %+v", address, port, body)
		}
		squatter.Close()
	}
}

// TestUnsafeState starts alice's agent where others can read or write: it does not start, and follows no link of bob's.
func TestUnsafeState(t *testing.T) {
	h, alice, bob := newAttack(t)
	h.start()
	shared := h.Path("shared")
	for _, err := range []error{
		os.Mkdir(shared, 0o777), os.Chmod(shared, 0o777|os.ModeSticky),
		os.Mkdir(shared+"/open", 0o755), os.Chown(shared+"/open", int(alice.Cred.Uid), -1),
		os.Mkdir(shared+"/his", 0o700), os.Chown(shared+"/his", int(bob.Cred.Uid), -1),
		os.Symlink(bob.Home, shared+"/link"), os.WriteFile(shared+"/file", nil, 0o600),
		os.WriteFile(shared+"/card", []byte("{}"), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"open", "his", "link", "file"} {
		var body api.ErrorBody
		h.run(alice, 2, &body, "agent", "run", "--socket", h.socket, "--state", shared+"/"+name, "--software-card")
		if !strings.Contains(body.Description, "state directory") {
			t.Errorf("agent run in %s: %+v", name, body)
		}
	}
	if left, _ := os.ReadDir(bob.Home); len(left) != 0 {
		t.Errorf("in bob's directory is %v", left)
	}
	if s := h.sessions(); len(s) != 0 {
		t.Errorf("sessions: %+v", s)
	}
}

// listenAs listens as p until the test ends.
func (h *host) listenAs(p *stage.Person, address string) (listener net.Listener) {
	h.t.Helper()
	network := "tcp4"
	if address[0] == '[' {
		network = "tcp6"
	}
	var err error
	h.as(p, func() { listener, err = httpserver.Listen(h.Context(), network, address) })
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { listener.Close() })
	return listener
}

// freePort returns a port that nobody has, below those that clients of the host get for their own ends.
func (h *host) freePort() (port cardbroker.Port) {
	h.t.Helper()
	h.until("a free port", func() bool {
		port = cardbroker.Port(20000 + rand.N(4000))
		listeners, err := httpserver.ListenLoopback(h.Context(), port)
		for _, listener := range listeners {
			listener.Close()
		}
		return err == nil
	})
	return port
}

// TestRangeIsTaken has bob bind all ports that agents could get, and let go of them: alice is told why, and gets one then.
func TestRangeIsTaken(t *testing.T) {
	h, alice, bob := newAttack(t)
	h.ports = "19000-19040" // which no other test has
	h.start()
	var squatters []net.Listener
	h.as(bob, func() {
		for port := 19000; port <= 19040; port++ {
			listener, err := httpserver.Listen(h.Context(), "tcp4", fmt.Sprintf("127.0.0.1:%d", port))
			if err == nil { // else somebody has it anyhow
				squatters = append(squatters, listener)
			}
		}
	})
	claim := newClaim("1")
	if got := h.local(alice, "POST", "/local/v1/reserve", claim); got.reason() != "ports_exhausted" {
		t.Errorf("a reservation without a free port is answered %d %s", got.Status, got.Body)
	}
	for _, listener := range squatters {
		listener.Close()
	}
	if got := h.local(alice, "POST", "/local/v1/reserve", claim); got.Status != 200 {
		t.Errorf("a reservation after that is answered %d %s", got.Status, got.Body)
	}
}
