// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package httpserver_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/peer"
	"github.com/cardbroker/cardbroker/internal/testenv"
)

// TestCaller: a handler sees who asks, as the kernel says, and whoever reads refusals sees it too.
func TestCaller(t *testing.T) {
	callers := make(chan httpserver.Caller, 1)
	cfg := config()
	cfg.Authorize = func(r *http.Request, access httpserver.Access) error {
		caller := httpserver.CallerOf(r.Context())
		if caller.User.UID == bob {
			return cardbroker.Refusef(cardbroker.CallerRefused, cardbroker.RuleOtherUser, "not you")
		}
		callers <- caller
		return nil
	}
	l := newLoopback(t, cfg)
	request := "GET /self HTTP/1.1\r\nHost: " + l.v4 + "\r\nConnection: close\r\n\r\n"
	for uid, want := range map[uint32]int{alice: 200, bob: 403} {
		p := start(t, uid)
		client := p.do("dial - %s", l.v4)
		a := p.ask(request)
		if a.StatusCode != want {
			t.Errorf("user %d is answered %d %s, want %d", uid, a.StatusCode, a.text, want)
		}
		var got httpserver.Caller
		if want == 200 {
			got = <-callers
		} else {
			got = l.refused.list[0].Caller
		}
		if got.User.UID != uid || got.Client.String() != client || got.Server.String() != l.v4 || got.Inode == 0 {
			t.Errorf("the caller is %+v, want user %d from %s to %s", got, uid, client, l.v4)
		}
	}
}

// TestClientLeavesBeforeTheAction: the last look at the caller is after the body was read and right before the handler
// runs, and a handler that has waited looks again.
func TestClientLeavesBeforeTheAction(t *testing.T) {
	leave := make(chan func()) // what the client does while the server stands still
	stand := func(r *http.Request) {
		(<-leave)()
		for httpserver.StillThere(r.Context()) == nil { // until the server's end has felt it
			runtime.Gosched()
		}
	}
	outcome := make(chan error, 1)
	cfg := config()
	cfg.Authorize = func(r *http.Request, _ httpserver.Access) error {
		if r.URL.Path == "/before" {
			stand(r)
		}
		return nil
	}
	cfg.Routes = []httpserver.Route{
		{Method: "GET", Path: "/before", Access: httpserver.Self, Handle: func(http.ResponseWriter, *http.Request) error {
			outcome <- nil
			return nil
		}},
		{Method: "GET", Path: "/during", Access: httpserver.Self, Handle: func(_ http.ResponseWriter, r *http.Request) error {
			stand(r)
			return httpserver.StillThere(r.Context())
		}},
	}
	cfg.Refused = func(r httpserver.Refusal) { outcome <- r.Err }
	l := newLoopback(t, cfg)
	for name, way := range map[string]func(conn *net.TCPConn){
		"closes":        func(conn *net.TCPConn) { conn.Close() },
		"resets":        func(conn *net.TCPConn) { conn.SetLinger(0); conn.Close() },
		"sends no more": func(conn *net.TCPConn) { conn.CloseWrite() },
	} {
		for _, path := range []string{"/before", "/during"} {
			client := dial(t, l.v4)
			io.WriteString(client, "GET "+path+" HTTP/1.1\r\nHost: "+l.v4+"\r\n\r\n")
			leave <- func() { way(client) }
			if rule := cardbroker.RuleOf(<-outcome); rule != cardbroker.RuleSocketGone {
				t.Errorf("the client %s %s: the rule is %q, want socket_gone", name, path, rule)
			}
		}
	}
}

// TestBodyShorterThanItsWord: the client sends less than it said and waits for the answer.
func TestBodyShorterThanItsWord(t *testing.T) {
	l := newLoopback(t, config())
	conn := dial(t, l.v4)
	ask(t, conn, "GET /self HTTP/1.1\r\nHost: "+l.v4+"\r\n\r\n") // it is accepted
	io.WriteString(conn, "POST /self HTTP/1.1\r\nHost: "+l.v4+"\r\nContent-Length: 10\r\n\r\n{}")
	conn.CloseWrite()
	a, err := readAnswer(bufio.NewReader(conn), "POST")
	if err != nil || a.error.Reason != cardbroker.Invalid {
		t.Errorf("answered %v %s, %v, want invalid", a.Response, a.text, err)
	}
}

// TestTooLargeIsReadable: the answer reaches a client that goes on sending.
func TestTooLargeIsReadable(t *testing.T) {
	l := newLoopback(t, config())
	conn := dial(t, l.v4)
	go io.Copy(conn, io.MultiReader(strings.NewReader("POST /self HTTP/1.1\r\nHost: "+l.v4+"\r\nContent-Length: 8388608\r\n\r\n"),
		bytes.NewReader(make([]byte, 8<<20))))
	a, err := readAnswer(bufio.NewReader(conn), "POST")
	if err != nil || a.error.Reason != cardbroker.TooLarge {
		t.Errorf("answered %v %s, %v, want too_large", a.Response, a.text, err)
	}
}

// TestConnectionLimit: on the connections after the last nothing is served but the reason, in a way that a page can read; of
// many, before a word is said. Others are served meanwhile, and one that ends makes room.
func TestConnectionLimit(t *testing.T) {
	l := newLoopback(t, config())
	p := start(t, alice)
	p.do("hold 64 %s", l.v4)
	refused := func(text string) answer {
		t.Helper()
		p.do("dial - %s", l.v4)
		a := p.ask(text)
		if a.StatusCode != 429 || a.error.Rule != cardbroker.RuleConnectionLimit || a.Header.Get("Retry-After") != "1" || !a.Close {
			t.Fatalf("a connection after the last is answered %d %s", a.StatusCode, a.text)
		}
		return a
	}
	for range 20 {
		a := refused("GET /self HTTP/1.1\r\nHost: " + l.v4 + "\r\nOrigin: https://evil.example\r\n\r\n")
		if a.Header.Get("Access-Control-Allow-Origin") != "https://evil.example" {
			t.Fatalf("a page cannot read why it is refused: %v", a.Header)
		}
	}
	p.do("dial - %s", l.v4)
	if a := p.ask("OPTIONS /self HTTP/1.1\r\nHost: " + l.v4 + "\r\nOrigin: https://evil.example\r\nConnection: close\r\n\r\n"); a.StatusCode != 204 {
		t.Errorf("a preflight after the last is answered %d %s, want 204", a.StatusCode, a.text)
	}
	p.do("hold 16 %s", l.v4)
	for range 20 {
		refused("") // nothing is sent
	}
	if told := l.refused.take(); len(told) != 40 || told[0] != cardbroker.RuleConnectionLimit {
		t.Errorf("told %q, want connection_limit 40 times", told)
	}
	p.do("drop 16")
	request := "GET /self HTTP/1.1\r\nHost: " + l.v4 + "\r\nConnection: close\r\n\r\n"
	other := start(t, bob)
	other.do("dial - %s", l.v4)
	if a := other.ask(request); a.StatusCode != 200 {
		t.Errorf("another user is answered %d %s", a.StatusCode, a.text)
	}
	p.do("drop 1")
	for { // until the server has felt it
		p.do("dial - %s", l.v4)
		if a := p.ask(request); a.StatusCode == 200 {
			break
		}
	}
}

// TestRefusedConnectionReadable: a client that sends its request all the same reads why it is not served.
func TestRefusedConnectionReadable(t *testing.T) {
	cfg := config()
	cfg.MaxConns = 1
	l := newLoopback(t, cfg)
	request := "GET /self HTTP/1.1\r\nHost: " + l.v4 + "\r\n\r\n"
	ask(t, dial(t, l.v4), request) // stays open
	for range 500 {
		conn := dial(t, l.v4)
		io.WriteString(conn, request) // may fail: the server has closed
		a, err := readAnswer(bufio.NewReader(conn), "GET")
		if err != nil || a.error.Rule != cardbroker.RuleConnectionLimit {
			t.Fatalf("answered %v %s, %v, want connection_limit", a.Response, a.text, err)
		}
	}
}

// TestLocal serves a Unix socket, whose callers have a process too.
func TestLocal(t *testing.T) {
	path := t.TempDir() + "/s"
	listener, err := httpserver.Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	callers := make(chan httpserver.Caller, 1)
	cfg := config()
	cfg.Authorize = func(r *http.Request, _ httpserver.Access) error {
		callers <- httpserver.CallerOf(r.Context())
		return nil
	}
	serve(t, cfg, httpserver.Listener{Listener: listener, Kind: httpserver.Local{}})
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if a := ask(t, conn, "GET /self HTTP/1.1\r\nHost: any\r\n\r\n"); a.StatusCode != 200 {
		t.Fatalf("answered %d %s", a.StatusCode, a.text)
	}
	if got, want := <-callers, (httpserver.Caller{User: peer.Self(), PID: os.Getpid()}); got != want {
		t.Errorf("the caller is %+v, want %+v", got, want)
	}
}

// TestRemote serves other machines over TLS, and counts by address.
func TestRemote(t *testing.T) {
	listener, err := httpserver.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := config()
	cfg.MaxConns = 1
	s := serve(t, cfg, httpserver.Listener{
		Listener: listener, Kind: httpserver.Remote{},
		TLS: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{certificate(t)}},
	})
	dial := func() (*tls.Conn, error) {
		return tls.Dial("tcp", listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	}
	conn, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if a := ask(t, conn, "GET /self HTTP/1.1\r\nHost: any.example\r\n\r\n"); a.StatusCode != 200 {
		t.Errorf("answered %d %s", a.StatusCode, a.text)
	}
	second, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if a := ask(t, second, "GET /self HTTP/1.1\r\nHost: any.example\r\n\r\n"); a.error.Rule != cardbroker.RuleConnectionLimit {
		t.Errorf("the second connection of an address is answered %d %s, where one is allowed", a.StatusCode, a.text)
	}
	s.refused.mu.Lock()
	defer s.refused.mu.Unlock()
	if len(s.refused.list) != 1 || s.refused.list[0].Caller.User.SID != "address:127.0.0.1" {
		t.Errorf("told %+v", s.refused.list)
	}
}

// TestUnnamedCallers: a caller that the kernel cannot name is told so, and all of them count as one, who is not root.
func TestUnnamedCallers(t *testing.T) {
	listener := newPipes()
	cfg := config()
	cfg.MaxConns = 2
	s := serve(t, cfg, httpserver.Listener{Listener: listener, Kind: nobody{}})
	for range 2 {
		if a := ask(t, listener.dial(1), get); a.error.Rule != cardbroker.RulePeerNotFound || a.StatusCode != 403 {
			t.Errorf("answered %d %s, want peer_not_found", a.StatusCode, a.text)
		}
	}
	if a := ask(t, listener.dial(2), get); a.error.Rule != cardbroker.RuleConnectionLimit {
		t.Errorf("the third is answered %s, want connection_limit", a.text)
	}
	if a := ask(t, listener.dial(0), get); a.StatusCode != 200 {
		t.Errorf("root is answered %d %s", a.StatusCode, a.text)
	}
	s.stop()
	if told := s.refused.take(); len(told) != 3 {
		t.Errorf("told %q", told)
	}
}

// TestPanicEndsTheProcess: the standard library would keep a handler's panic to itself.
func TestPanicEndsTheProcess(t *testing.T) {
	out, err := command("panic", nil).CombinedOutput()
	ended, ok := errors.AsType[*exec.ExitError](err)
	if !ok || ended.ExitCode() != 2 || bytes.Contains(out, []byte("it was answered")) || !bytes.Contains(out, []byte("BUG: a handler panicked: its fault")) || !bytes.Contains(out, []byte("playPanic")) {
		t.Errorf("the process ended with %v and said %s", err, out)
	}
}

// TestNothingIsLeft counts goroutines and descriptors of a server that had every kind of client.
func TestNothingIsLeft(t *testing.T) {
	round := func() {
		kernel := peer.NewKernel()
		defer kernel.Close()
		listener, err := httpserver.Listen(t.Context(), "tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := serve(t, config(), httpserver.Listener{Listener: listener, Kind: httpserver.Loopback{Kernel: kernel}})
		address := listener.Addr().String()
		for _, text := range []string{"", "GET /", "GET /self HTTP/1.1\r\nHost: " + address + "\r\n\r\n", "GET /hang HTTP/1.1\r\nHost: " + address + "\r\n\r\n"} {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			io.WriteString(conn, text)
		}
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	}
	round() // opens what stays open
	settled := testenv.Leaks(t)
	round()
	settled()
}

// TestListenLoopback takes ports that others have.
func TestListenLoopback(t *testing.T) {
	taken := map[string]net.Listener{}
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		listener, err := httpserver.Listen(t.Context(), "tcp", address)
		if err != nil {
			testenv.Skip(t, "needs IPv6: "+err.Error())
		}
		defer listener.Close()
		taken[address] = listener
	}
	for address, listener := range taken {
		port := cardbroker.Port(addrPort(listener.Addr().String()).Port())
		listeners, err := httpserver.ListenLoopback(t.Context(), port)
		if cardbroker.ReasonOf(err) != cardbroker.Conflict || listeners != nil {
			t.Errorf("ListenLoopback on a port that %s has = %v, %v, want conflict", address, listeners, err)
		}
	}
	listeners, err := httpserver.ListenLoopback(t.Context(), 0)
	if err != nil || len(listeners) != 2 {
		t.Fatalf("ListenLoopback(0) = %v, %v", listeners, err)
	}
	defer listeners[0].Close()
	defer listeners[1].Close()
	v4, v6 := addrPort(listeners[0].Addr().String()), addrPort(listeners[1].Addr().String())
	if v4.Port() != v6.Port() || v4.Addr().String() != "127.0.0.1" || v6.Addr().String() != "::1" {
		t.Errorf("ListenLoopback(0) listens on %v and %v", v4, v6)
	}
}

// TestListenLoopbackGivesBack: where ::1 has the port, 127.0.0.1 is free again afterwards. Another program may get it at that moment,
// though not each time.
func TestListenLoopbackGivesBack(t *testing.T) {
	var failed error
	for range 5 {
		other, err := httpserver.Listen(t.Context(), "tcp", "[::1]:0")
		if err != nil {
			testenv.Skip(t, "needs IPv6: "+err.Error())
		}
		defer other.Close()
		port := addrPort(other.Addr().String()).Port()
		httpserver.ListenLoopback(t.Context(), cardbroker.Port(port))
		free, err := httpserver.Listen(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			free.Close()
			return
		}
		failed = err
	}
	t.Errorf("127.0.0.1 is not given back: %v", failed)
}

// TestListenLoopbackPrivileged: a port that only root may have is no conflict.
func TestListenLoopbackPrivileged(t *testing.T) {
	listeners, err := httpserver.ListenLoopback(t.Context(), 1)
	for _, listener := range listeners {
		listener.Close()
	}
	if err != nil && cardbroker.ReasonOf(err) != cardbroker.Unavailable {
		t.Errorf("ListenLoopback(1) = %v, want unavailable", err)
	}
}

// TestListenLoopbackElsewhere listens in networks of its own: one without IPv6, and one where half of the ports that are
// free on 127.0.0.1 are taken on [::1].
func TestListenLoopbackElsewhere(t *testing.T) {
	testenv.Root(t)
	for part, want := range map[string]string{"no ipv6": "127.0.0.1 <nil>\n", "few ports": "127.0.0.1 ::1 <nil>\n"} {
		out, err := command(part, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}).CombinedOutput()
		if err != nil {
			testenv.Skip(t, "needs network namespaces: "+err.Error()+" "+string(out))
		}
		if string(out) != strings.Repeat(want, 8) {
			t.Errorf("%s: ListenLoopback(0) listens eight times on\n%s, want %s", part, out, want)
		}
	}
}
