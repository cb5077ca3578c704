// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package httpserver_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/httpserver"
)

// either returns a listener of TLS and plain HTTP.
func either(t *testing.T, inner net.Listener, kind httpserver.Kind) httpserver.Listener {
	config := &tls.Config{Certificates: []tls.Certificate{certificate(t)}, SessionTicketsDisabled: true}
	return httpserver.Listener{Listener: inner, Kind: kind, TLS: config, Plain: true}
}

// over speaks TLS over a connection.
func over(conn net.Conn) net.Conn { return tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) }

// askOnce is ask on a connection that is closed afterwards, as a bubble does not end before its connections.
func askOnce(t *testing.T, conn net.Conn, request string) answer {
	t.Helper()
	defer conn.Close()
	return ask(t, conn, request)
}

// TestTLSOrNot serves both on one listener, again and again on one connection.
func TestTLSOrNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := newPipes()
		s := serve(t, config(), either(t, listener, pipeKind{}))
		for name, conn := range map[string]net.Conn{"plain": listener.dial(1), "tls": over(listener.dial(1))} {
			for range 2 {
				if a := ask(t, conn, get); a.StatusCode != 200 {
					t.Errorf("%s: %d %s", name, a.StatusCode, a.text)
				}
			}
			conn.Close()
		}
		synctest.Wait()
		s.stop()
	})
}

// TestSilence: whoever says nothing, or begins a handshake and goes no further, is closed after five seconds; who says a part of
// a request, five after that.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := newPipes()
		s := serve(t, config(), either(t, listener, pipeKind{}))
		for said, most := range map[string]time.Duration{"": 5 * time.Second, "\x16": 5 * time.Second, "\x16\x03\x01\x02\x00\x01": 5 * time.Second, "GET /": 10 * time.Second} {
			conn, start := listener.dial(1), time.Now()
			io.WriteString(conn, said)
			io.Copy(io.Discard, conn)
			if took := time.Since(start); took > most {
				t.Errorf("%q: closed after %v, want %v at most", said, took, most)
			}
		}
		s.stop()
	})
}

// TestTake: what is taken is served by nobody else, and what is not is answered with the reason, which pages can read.
func TestTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := newPipes()
		cfg := config()
		cfg.Take = func(_ context.Context, conn *httpserver.Conn) error {
			if conn.Caller().User.UID == 2 {
				return cardbroker.Refusef(cardbroker.NoAgent, cardbroker.RuleNoAgent, "no agent")
			}
			stream := conn.Stream()
			text, _ := bufio.NewReader(stream).ReadString('\n')
			io.WriteString(stream, "taken: "+text)
			return nil
		}
		s := serve(t, cfg, either(t, listener, pipeKind{}))
		for name, wrap := range map[string]func(net.Conn) net.Conn{"plain": func(c net.Conn) net.Conn { return c }, "tls": over} {
			conn := wrap(listener.dial(1))
			io.WriteString(conn, "hello\n")
			if got, _ := bufio.NewReader(conn).ReadString('\n'); got != "taken: hello\n" {
				t.Errorf("%s: %q", name, got)
			}
			conn.Close()
			a := askOnce(t, wrap(listener.dial(2)), get)
			if a.error.Reason != cardbroker.NoAgent || !a.Close {
				t.Errorf("%s: %d %s, close %v, want no_agent and an end", name, a.StatusCode, a.text, a.Close)
			}
			a = askOnce(t, wrap(listener.dial(2)), "OPTIONS /self HTTP/1.1\r\nHost: x\r\nOrigin: "+consented+"\r\nAccess-Control-Request-Method: POST\r\n\r\n")
			if a.StatusCode != http.StatusNoContent {
				t.Errorf("%s: a preflight is answered %d, want 204: the page is to read why", name, a.StatusCode)
			}
		}
		synctest.Wait()
		if rules := s.refused.take(); len(rules) != 2 || rules[0] != cardbroker.RuleNoAgent {
			t.Errorf("told of %v, want two of no_agent", rules)
		}
		s.stop()
	})
}

// TestTakeNobody: a connection whose caller the kernel does not know is never handed on.
func TestTakeNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := newPipes()
		cfg := config()
		cfg.Take = func(context.Context, *httpserver.Conn) error {
			t.Error("it was taken")
			return nil
		}
		s := serve(t, cfg, either(t, listener, nobody{}))
		for _, conn := range []net.Conn{listener.dial(1), over(listener.dial(1))} {
			if a := askOnce(t, conn, get); a.error.Rule != cardbroker.RulePeerNotFound {
				t.Errorf("%d %s, want a refusal", a.StatusCode, a.text)
			}
		}
		s.stop()
	})
}

// TestTakeEnds: the end of the server ends what is taken, and what has not said what it speaks.
func TestTakeEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := newPipes()
		cfg := config()
		cfg.Take = func(ctx context.Context, conn *httpserver.Conn) error {
			io.Copy(io.Discard, conn.Stream()) // until it is closed
			return nil
		}
		s := serve(t, cfg, either(t, listener, pipeKind{}))
		silent, taken := listener.dial(1), listener.dial(1)
		io.WriteString(taken, "x")
		synctest.Wait()
		start := time.Now()
		if err := s.stop(); err != nil || time.Since(start) > time.Second {
			t.Errorf("Serve = %v after %v", err, time.Since(start))
		}
		for _, conn := range []net.Conn{silent, taken} {
			if _, err := conn.Read(make([]byte, 1)); err == nil {
				t.Error("a connection outlives its server")
			}
		}
	})
}

// TestTurnedAwayIsTold: who is turned away may ask why at once, and finds that it was told.
func TestTurnedAwayIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := newPipes()
		cfg := config()
		cfg.MaxConns = 1
		s := serve(t, cfg, httpserver.Listener{Listener: listener, Kind: pipeKind{}})
		for range 1 + 16 { // the last ones wait to be told what they asked in vain
			defer listener.dial(1).Close()
		}
		conn := listener.dial(1)
		synctest.Wait() // its answer is not read yet
		if told := s.refused.take(); len(told) != 1 || told[0] != cardbroker.RuleConnectionLimit {
			t.Errorf("told %q, want connection_limit before anybody has read it", told)
		}
		if a, err := readAnswer(bufio.NewReader(conn), "GET"); err != nil || a.error.Rule != cardbroker.RuleConnectionLimit {
			t.Errorf("answered %s, %v, want connection_limit", a.text, err)
		}
	})
}
