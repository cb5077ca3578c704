// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/test/stage"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

// quickly is how soon an agent ends that is told to, on a machine that does much else. One that hangs ends by itself after 5 s, with a status.
const quickly = 15 * time.Second

// standing is an agent that stands for election, and may not be registered.
type standing struct {
	e   *electorate
	cmd *exec.Cmd
	log string
}

func (e *electorate) standing(session string) standing {
	e.t.Helper()
	s := standing{e, e.Command(e.user, "cardbroker", e.args(session, "agent", "run", "--software-card", "--policy", e.policy)...), e.Path("standing-" + session + ".log")}
	log, err := os.Create(s.log)
	if err != nil {
		e.t.Fatal(err)
	}
	defer log.Close()
	s.cmd.Stderr = log
	if err := s.cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { s.cmd.Process.Kill() }) // has ended, if all is well
	return s
}

// logged waits until the agent has logged something.
func (s standing) logged(what string) {
	s.e.t.Helper()
	s.e.until(what, func() bool {
		text, _ := os.ReadFile(s.log)
		return strings.Contains(string(text), what)
	})
}

// end tells the agent to end, which it does soon and as if nothing had been wrong.
func (s standing) end(state string) {
	s.e.t.Helper()
	began := time.Now()
	s.cmd.Process.Signal(syscall.SIGTERM)
	late := time.AfterFunc(2*quickly, func() { s.cmd.Process.Kill() })
	defer late.Stop()
	if err := s.cmd.Wait(); err != nil {
		s.e.t.Errorf("an agent that %s ends with %v", state, err)
	}
	if took := time.Since(began); took > quickly {
		s.e.t.Errorf("an agent that %s ends after %v, want %v", state, took, quickly)
	} else {
		s.e.t.Logf("an agent that %s ends after %v", state, took)
	}
}

// waits has the user's doctor and `agent status` say that the agent runs, and why it is not registered; they had said that none runs.
func (s standing) waits(why string) {
	s.e.t.Helper()
	session := s.session()
	d, _ := s.e.diagnose(s.e.user, s.e.args(session, "--policy", s.e.policy)...)
	s.e.finds(d, "agent", "warn", fmt.Sprintf("an agent runs in session %s (process %d, at port ", session, s.cmd.Process.Pid))
	s.e.finds(d, "agent", "warn", "and is not registered, because "+why)
	var said api.ErrorBody
	s.e.run(s.e.user, 4, &said, s.e.args(session, "agent", "status")...)
	if said.Reason != cardbroker.NoAgent || !strings.Contains(said.Description, "runs and is not registered: "+why) {
		s.e.t.Errorf("the status is %+v", said)
	}
}

// gone has the doctor say that no agent runs.
func (s standing) gone() {
	s.e.t.Helper()
	d, _ := s.e.diagnose(s.e.user, s.e.args(s.session(), "--policy", s.e.policy)...)
	s.e.finds(d, "agent", "fail", "no agent runs")
}

func (s standing) session() string {
	name := strings.TrimSuffix(filepath.Base(s.log), ".log")
	return strings.TrimPrefix(name, "standing-")
}

// TestElectionEnds has agents that stand for election told to end in each state that they can be in, with others around them that hang, or
// mean harm.
func TestElectionEnds(t *testing.T) {
	t.Parallel() // it mostly waits
	h, alice, bob := newAttack(t)
	e := newElectorate(h, alice)

	_, port, err := net.SplitHostPort(e.at)
	if err != nil {
		t.Fatal(err)
	}
	foreign := h.listenAs(bob, e.at)
	s := e.standing("kept-out")
	s.logged("caller_refused")
	s.waits("port " + port + ", where the registry of this host is elected")
	s.end("seeks, while another user's program has the port")
	s.gone()
	killed := e.standing("kept-out")
	killed.logged("caller_refused")
	killed.cmd.Process.Kill()
	killed.cmd.Wait()
	killed.gone()
	foreign.Close()

	mute := h.listenAs(alice, e.at)
	s = e.standing("hung")
	conn, err := mute.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s.end("waits for the first answer")
	conn.Close()
	mute.Close()

	h.halfRegistry(e, alice)

	s = e.standing("one")
	e.until("a registry", func() bool { mode, _ := e.info(); return mode == api.ModeElected })
	s.end("has just been elected")

	s = e.standing("one")
	s.logged("this agent is elected, and keeps the registry")
	_, follower := e.stand("two")
	half := h.mustDial(alice, "tcp4", e.at)
	io.WriteString(half, "POST /local/v1/release HTTP/1.1\r\nHost: "+e.at+"\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
	for range 8 { // links on which nothing is said, and of which nothing is read
		link := h.mustDial(alice, "tcp4", e.at)
		io.WriteString(link, request("GET", e.at, "/local/v1/link", "", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
			"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Protocol: "+api.LinkProtocol))
	}
	syscall.Kill(follower.PID, syscall.SIGSTOP)
	s.end("leads, with peers that hang")
	syscall.Kill(follower.PID, syscall.SIGCONT)
	e.until("the next registry", func() bool { mode, _ := e.info(); return mode == api.ModeElected })
}

// halfRegistry has a program of the agent's own user take its link and its first word, and answer nothing.
func (h *host) halfRegistry(e *electorate, p *stage.Person) {
	h.t.Helper()
	listener := h.listenAs(p, e.at)
	heard := make(chan struct{}, 8)
	maker := socket.NewMaker(api.LinkProtocol)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := maker.Upgrade(w, r)
		if err != nil {
			return
		}
		defer conn.Close()
		conn.Next()
		heard <- struct{}{}
		conn.Next()
	})}
	done := make(chan struct{})
	go func() { defer close(done); server.Serve(owner{listener, h, p}) }()
	s := e.standing("unanswered")
	<-heard
	s.end("waits to be registered")
	server.Close()
	<-done
}

// owner accepts as a user, so that the connections are his.
type owner struct {
	net.Listener
	h *host
	p *stage.Person
}

func (o owner) Accept() (conn net.Conn, err error) {
	o.h.as(o.p, func() { conn, err = o.Listener.Accept() })
	return conn, err
}
