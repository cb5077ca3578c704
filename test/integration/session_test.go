// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/test/stage"
)

// lookUps makes this program a client that asks the broker for its agent again and again, each time on a new connection.
const lookUps = "CARDBROKER_TEST_LOOKUPS"

// task is what the client is to do.
type task struct {
	To          string
	Times       int
	First, Last int // source ports that it shares with other clients; each is used for a moment only
}

// lookUp waits for a line, asks, and prints how often it was given which answer.
func lookUp(text string) int {
	var t task
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		fmt.Println(err)
		return 1
	}
	bufio.NewReader(os.Stdin).ReadString('\n')
	answers := map[string]int{}
	todo, done := make(chan struct{}), make(chan string)
	var askers sync.WaitGroup
	for range 6 {
		askers.Go(func() {
			for range todo {
				done <- t.once()
			}
		})
	}
	go func() {
		for range t.Times {
			todo <- struct{}{}
		}
		close(todo)
	}()
	for range t.Times {
		answers[<-done]++
	}
	askers.Wait()
	json.NewEncoder(os.Stdout).Encode(answers)
	return 0
}

// once asks until it is not too often, and returns the session, or why there is none.
func (t task) once() string {
	for {
		conn, err := t.dial()
		if err != nil {
			continue // the port is somebody else's at the moment
		}
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(conn, "GET /cb/v1/agent HTTP/1.1\r\nHost: "+t.To+"\r\n\r\n")
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			conn.Close()
			return err.Error()
		}
		var answer struct{ Session, Reason string }
		err = json.NewDecoder(response.Body).Decode(&answer)
		conn.(*net.TCPConn).SetLinger(0) // the port is free at once, for anybody
		conn.Close()
		switch {
		case err != nil:
			return err.Error()
		case answer.Reason == string(cardbroker.RateLimited):
			<-time.After(time.Duration(10+rand.N(40)) * time.Millisecond) // and again, as the answer says
		case answer.Reason != "":
			return answer.Reason
		default:
			return answer.Session
		}
	}
}

func (t task) dial() (net.Conn, error) {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	if rand.N(4) > 0 {
		dialer.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: t.First + rand.N(t.Last-t.First+1)}
	}
	return dialer.Dial("tcp4", t.To)
}

// scope makes the cgroup of a logind session, as logind does, and returns its directory.
func (h *host) scope(p *stage.Person, session string) *os.File {
	h.t.Helper()
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		mount, kind, _ := strings.Cut(line, " - ")
		if fields := strings.Fields(mount); strings.HasPrefix(kind, "cgroup2 ") && len(fields) > 4 {
			top := filepath.Join(fields[4], fmt.Sprintf("cardbroker-test-%d", os.Getpid()))
			path := filepath.Join(top, fmt.Sprintf("user-%d.slice", p.Cred.Uid), "session-"+session+".scope")
			if err := os.MkdirAll(path, 0o755); err != nil {
				testenv.Skip(h.t, "needs a writable cgroup v2: "+err.Error())
			}
			dir, err := os.Open(path)
			if err != nil {
				h.t.Fatal(err)
			}
			h.t.Cleanup(func() {
				dir.Close()
				h.until("an empty cgroup", func() bool { return os.Remove(path) == nil })
				os.Remove(filepath.Dir(path)) // the last who can does
				os.Remove(top)
			})
			return dir
		}
	}
	testenv.Skip(h.t, "needs cgroup v2")
	return nil
}

// asker is a client in a session that waits for its start.
type asker struct {
	session string
	in      io.WriteCloser
	out     *bufio.Reader
}

func startAsker(t *testing.T, cmd *exec.Cmd, session string) asker {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		late := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
		cmd.Wait()
		late.Stop()
	})
	return asker{session, in, bufio.NewReader(out)}
}

// race has all ask at once, and counts the answers: each asker's own session is right, others is that nobody guesses.
func race(t *testing.T, askers []asker) (right, others int) {
	t.Helper()
	for _, a := range askers {
		io.WriteString(a.in, "go\n")
	}
	for _, a := range askers {
		var answers map[string]int
		line, err := a.out.ReadString('\n')
		if err == nil {
			err = json.Unmarshal([]byte(line), &answers)
		}
		if err != nil {
			t.Fatalf("the client of session %s: %v", a.session, err)
		}
		for answer, n := range answers {
			switch answer {
			case a.session:
				right += n
			case string(cardbroker.SessionAmbiguous):
				others += n
			default:
				t.Errorf("the client of session %s was answered %q, %d times", a.session, answer, n)
			}
		}
	}
	return right, others
}

// four are two users with two sessions each.
func four(h *host) map[string]stage.Person {
	cast := map[string]stage.Person{}
	for i, session := range []string{"3", "4", "5", "6"} {
		p := h.Users[i/2]
		p.Name += session
		cast[session] = p
	}
	return cast
}

// TestRacingLookUps has programs of four sessions, of two users, ask for their agents 1,000 times at once, from source ports
// that go from hand to hand: none is ever led to another session's agent.
func TestRacingLookUps(t *testing.T) {
	h, _, _ := newAttack(t)
	h.start()
	var askers []asker
	first := int(h.freePort())
	for session, p := range four(h) {
		p.Cgroup = h.scope(&p, session)
		agent, ready := h.logon(&p)
		t.Cleanup(func() { agent.Stop() }) // before its cgroup goes
		if ready.Session != session {
			t.Fatalf("the agent is in session %q, want %s", ready.Session, session)
		}
		askers = append(askers, startAsker(t, h.lookUp(&p, first), session))
	}
	right, others := race(t, askers)
	if right != 1000 || others != 0 {
		t.Errorf("%d answers are right and %d that it is not known, want 1000 and 0", right, others)
	}
}

// lookUp is a client of a user that is to ask 250 times.
func (h *host) lookUp(p *stage.Person, first int) *exec.Cmd {
	cmd := h.Command(p, "actor")
	text, _ := json.Marshal(task{To: h.ready.Listen[0], Times: 250, First: first, Last: first + 30})
	cmd.Env = append(cmd.Env, lookUps+"="+string(text))
	return cmd
}

// TestRacingProcesses is the same without cgroups: agents and clients have a shell above them, each session one, as after su.
func TestRacingProcesses(t *testing.T) {
	h, _, _ := newAttack(t)
	h.start()
	var askers []asker
	first := int(h.freePort())
	for session, p := range four(h) {
		client := h.lookUp(&p, first)
		const script = `"$0" agent run --software-card --socket "$1" --state "$2" --session "$3" --ready-fd 3 3>/dev/null 2>"$2.log" &
			"$4"; kill $!; wait`
		cmd := exec.Command("/bin/sh", "-c", script, h.Path("bin", "cardbroker"), h.socket, p.Home+"/state"+session, session, h.Path("bin", "actor"))
		cmd.Dir, cmd.Env, cmd.SysProcAttr = client.Dir, client.Env, client.SysProcAttr
		askers = append(askers, startAsker(t, cmd, session))
	}
	h.until("four agents", func() bool {
		n := 0
		for _, s := range h.sessions() {
			if s.State == cardbroker.Registered {
				n++
			}
		}
		return n == 4
	})
	start := time.Now()
	right, others := race(t, askers)
	t.Logf("%d right, %d not known, in %v", right, others, time.Since(start))
	if right+others != 1000 || right < 900 {
		t.Errorf("%d answers are right and %d that it is not known, want 1000, and most of them right", right, others)
	}
}

// TestAmbiguousSession asks from where nothing tells: the answer is the list.
func TestAmbiguousSession(t *testing.T) {
	h, alice, bob := newAttack(t)
	h.start()
	h.puppet(alice, "a")
	h.puppet(alice, "b")
	h.puppet(bob, "a")
	own := request("GET", h.ready.Listen[0], "/cb/v1/agent", "")
	got := h.ask(alice, "tcp4", h.ready.Listen[0], own)
	if got.Status != 409 || got.reason() != "session_ambiguous session_ambiguous" || !strings.Contains(string(got.Body), "a, b") {
		t.Errorf("alice is answered %d %s, want 409 with the list", got.Status, got.Body)
	}
	if got := h.ask(bob, "tcp4", h.ready.Listen[0], own); got.Status != 200 {
		t.Errorf("bob is answered %d %s, want his one agent", got.Status, got.Body)
	}
}

// TestDisplaysOfOneSession has a user's session of logind, or what goes for one, have several displays with an agent each, as nested desktops and
// a shell that starts two have. Programs are led by their display to its agent; from a display without agent, and without a display where no agent
// goes by the session's name, nobody guesses.
func TestDisplaysOfOneSession(t *testing.T) {
	h, alice, _ := newAttack(t)
	h.start()
	first := int(h.freePort())
	scope := h.scope(alice, "7")
	on := func(display string) *stage.Person {
		p := *alice
		p.Cgroup = scope
		p.Env = append(p.Env, display)
		return &p
	}
	const ambiguous = string(cardbroker.SessionAmbiguous)
	logon := func(p *stage.Person, session string) {
		t.Helper()
		p.Name = "alice-" + session
		service, _ := h.runAgent(p, "--software-card", "--session", session)
		t.Cleanup(func() { service.Stop() }) // before its cgroup goes
	}
	asks := func(display, want string) {
		t.Helper()
		right, others := race(t, []asker{startAsker(t, h.lookUp(on(display), first), want)})
		if right != 250 || others > 0 {
			t.Errorf("from %q: %d answers are %s, and %d that it is not known", display, right, want, others)
		}
	}
	logon(on("DISPLAY=:41"), "first")
	logon(on("DISPLAY=:42"), "second")
	logon(on("WAYLAND_DISPLAY=/run/wayland-9"), "third")
	asks("DISPLAY=:41.0", "first")
	asks("DISPLAY=:42", "second")
	asks("WAYLAND_DISPLAY=/run/wayland-9", "third")
	asks("DISPLAY=:43", ambiguous)
	asks("DISPLAY=", ambiguous)
	logon(on("DISPLAY=:44"), "7") // by the session's own name, as without --session
	asks("DISPLAY=:42", "second")
	asks("DISPLAY=:44", "7")
	asks("DISPLAY=:43", ambiguous)
	asks("DISPLAY=", "7")
}

// TestReusedSessionNumber has a session end and another with its number begin before the broker has let go of the first: it is
// served, and has neither claim, route nor offers of the first.
func TestReusedSessionNumber(t *testing.T) {
	h, alice, bob := newAttack(t)
	h.start()
	old := h.puppet(alice, "7")
	offers := api.Offers{Offers: []api.OfferedReader{{Tenant: "issuer", ID: "0123456789abcdef", Name: "the old one's"}}}
	if err := old.WriteJSON(api.FromAgent{Offers: &offers}); err != nil {
		t.Fatal(err)
	}
	var list api.RemoteReaders
	listed := func() int {
		h.run(nil, 0, &list, "reader", "list", "--broker", h.ready.Backend, "--ca", h.Path("door.pem"), "--token-file", h.Path("token"))
		return len(list.Readers)
	}
	h.until("the offer", func() bool { return listed() == 1 })
	old.Close()
	h.await("the old agent stale", func(s api.Session) bool { return s.State == cardbroker.Stale })
	for _, l := range old.listeners {
		l.Close()
	}

	next := h.puppet(alice, "7")
	if n := listed(); n != 0 {
		t.Errorf("%d readers of the old session are offered: %+v", n, list.Readers)
	}
	if _, answer := h.link(alice, old.claim, false); answer.Failed == nil || answer.Failed.Rule != cardbroker.RuleClaim {
		t.Errorf("the old claim is answered %+v, want a refusal by rule claim", answer)
	}
	ended := h.backEnd("issuer", old.Route, "-")
	open := next.opened(t) // the route leads to the session's next agent, which has not minted the ticket
	refused := api.TunnelRefused{ID: open.ID, Error: api.Describe(cardbroker.Refusef(cardbroker.Unauthenticated, cardbroker.RuleTicket, "the ticket is not valid"))}
	if err := next.WriteJSON(api.FromAgent{Refused: &refused}); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; cardbroker.RuleOf(err) != cardbroker.RuleTicket {
		t.Errorf("a ticket of the old session: %v, want a refusal", err)
	}
	if got := h.ask(alice, "tcp4", h.ready.Listen[0], request("GET", h.ready.Listen[0], "/cb/v1/agent", "")); got.Status != 200 {
		t.Errorf("the new session is answered %d %s", got.Status, got.Body)
	}
	if his := h.puppet(bob, "7"); his.Route == next.Route || his.Port == next.Port {
		t.Error("bob's session of that number has something of alice's")
	}
}

// TestKick has an administrator end alice's agent, and bob try the same.
func TestKick(t *testing.T) {
	h, alice, bob := newAttack(t)
	h.start()
	agent, line := h.logon(alice)
	h.puppet(bob, cardbroker.SessionID(line.Session))
	h.run(bob, 3, nil, "host", "kick", line.Session, "--socket", h.socket)
	h.run(nil, 4, nil, "host", "kick", "no-such", "--socket", h.socket)
	h.run(nil, 2, nil, "host", "kick", line.Session, "--socket", h.socket)
	h.run(nil, 0, nil, "host", "kick", line.Session, "--user", fmt.Sprint(alice.Cred.Uid), "--socket", h.socket)
	if status := agent.Wait(); status != 3 {
		t.Errorf("the agent ended with status %d, want 3", status)
	}
	for _, s := range h.sessions() {
		if *s.UID == alice.Cred.Uid {
			t.Errorf("the broker still has %+v", s)
		}
	}
	if _, err := os.Stat(alice.Home + "/state/secret"); err != nil {
		t.Errorf("its files are gone: %v", err)
	}
	h.logon(alice) // she may start another
}

// TestHangUp takes an agent's terminal away: it ends in order, and its port is free at once.
func TestHangUp(t *testing.T) {
	h := newHost(t)
	h.start()
	agent, line := h.logon(&h.Users[0])
	syscall.Kill(line.PID, syscall.SIGHUP)
	if status := agent.Wait(); status != 0 {
		t.Errorf("the agent ended with status %d, want 0", status)
	}
	if s := h.sessions(); len(s) != 0 {
		t.Errorf("the broker still has %+v", s)
	}
}
