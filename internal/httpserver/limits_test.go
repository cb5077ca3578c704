// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package httpserver_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/httpserver"
)

const get = "GET /self HTTP/1.1\r\nHost: x\r\n\r\n"

// TestTime holds how long each part of a request may take, in the time of a bubble.
func TestTime(t *testing.T) {
	for _, test := range []struct {
		name    string
		request string // what is sent, and then nothing
		reads   bool
		want    time.Duration // until the server closes
	}{
		{"a silent client", "", true, 5 * time.Second},
		{"half a header", "GET /self HTTP/1.1\r\nHost:", true, 5 * time.Second},
		{"half a body", "POST /self HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{", true, 10 * time.Second},
		{"half a chunked body", "POST /self HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{", true, 10 * time.Second},
		{"nothing after an answer", get, true, time.Minute},
		{"a client that does not read", strings.Replace(get, "self", "big", 1), false, 2 * time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				listener := newPipes()
				serve(t, config(), httpserver.Listener{Listener: listener, Kind: pipeKind{}})
				conn := listener.dial(1)
				start := time.Now()
				io.WriteString(conn, test.request)
				if !test.reads {
					time.Sleep(test.want)
					synctest.Wait()
				}
				io.Copy(io.Discard, conn)
				if got := time.Since(start); got < test.want || got > test.want+time.Second {
					t.Errorf("closed after %v, want %v", got, test.want)
				}
			})
		})
	}
}

// TestSlowBodyIsAnswered: who sends half a body is told so, and nothing is done.
func TestSlowBodyIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := newPipes()
		serve(t, config(), httpserver.Listener{Listener: listener, Kind: pipeKind{}})
		a := ask(t, listener.dial(1), "POST /self HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
		if a.error.Reason != cardbroker.Invalid {
			t.Errorf("half a body is answered %d %s, want invalid", a.StatusCode, a.text)
		}
	})
}

// TestRate: 200 requests at once and 100 a second, counted for each user over all of his connections.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := newPipes()
		s := serve(t, config(), httpserver.Listener{Listener: listener, Kind: pipeKind{}})
		many := func(user uint32, n int) (served int) {
			for range n {
				conn := listener.dial(user)
				switch a := ask(t, conn, get); {
				case a.StatusCode == 200:
					served++
				case a.error.Rule != cardbroker.RuleRate || a.StatusCode != 429 || a.Header.Get("Retry-After") != "1":
					t.Fatalf("over the rate, the answer is %d %s", a.StatusCode, a.text)
				}
				conn.Close()
				synctest.Wait()
			}
			return served
		}
		if got := many(1, 300); got != 200 {
			t.Errorf("%d of 300 requests at once are served, want 200", got)
		}
		if got := many(2, 10); got != 10 {
			t.Errorf("%d of 10 requests of another user are served", got)
		}
		if told := s.refused.take(); len(told) != 64 {
			t.Errorf("%d of 100 refusals are told of, want 64", len(told))
		}
		time.Sleep(time.Second)
		if got := many(1, 300); got != 100 {
			t.Errorf("%d of 300 requests a second later are served, want 100", got)
		}
		if told := s.refused.take(); len(told) != 10 {
			t.Errorf("%d of 200 refusals a second later are told of, want 10", len(told))
		}
	})
}

// TestShutdown stops a server with every kind of client, in the time of a bubble: within two seconds, and with nothing
// left running, which is when a bubble ends.
func TestShutdown(t *testing.T) {
	for _, test := range []struct {
		name    string
		request string
		want    time.Duration
		answer  cardbroker.Reason
	}{
		{"no client", "-", 0, ""},
		{"a silent client", "", 2 * time.Second, ""},
		{"half a header", "GET /self", 2 * time.Second, ""},
		{"half a body", "POST /self HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{", 2 * time.Second, ""},
		{"an idle client", get, 0, ""},
		{"a handler that waits", strings.Replace(get, "self", "hang", 1), time.Second, cardbroker.Canceled},
		{"a client that does not read", strings.Replace(get, "self", "big", 1), 2 * time.Second, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				listener := newPipes()
				s := serve(t, config(), httpserver.Listener{Listener: listener, Kind: pipeKind{}})
				answers := make(chan answer, 1)
				if test.request != "-" {
					conn := listener.dial(1)
					defer conn.Close()
					io.WriteString(conn, test.request)
					if test.answer != "" || test.request == get {
						go func() {
							a, _ := readAnswer(bufio.NewReader(conn), "GET")
							answers <- a
						}()
					}
				}
				synctest.Wait()
				start := time.Now()
				if err := s.stop(); err != nil {
					t.Errorf("Serve = %v", err)
				}
				if got := time.Since(start); got > test.want+100*time.Millisecond {
					t.Errorf("stopped after %v, want %v", got, test.want)
				}
				if test.answer != "" {
					if a := <-answers; a.error.Reason != test.answer {
						t.Errorf("answered %s, want %s", a.text, test.answer)
					}
				}
			})
		})
	}
}

// TestStoppedBeforeItServes: a context that has ended stops a server that was not started yet, and closes its listener.
func TestStoppedBeforeItServes(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	listener := newPipes()
	if err := httpserver.New(config()).Serve(ctx, httpserver.Listener{Listener: listener, Kind: pipeKind{}}); err != nil {
		t.Errorf("Serve = %v", err)
	}
	if _, err := listener.Accept(); err == nil {
		t.Error("the listener is open")
	}
}

// TestListenerFails: a listener that breaks ends the server, and the others.
func TestListenerFails(t *testing.T) {
	broken, other := newPipes(), newPipes()
	broken.Close()
	err := httpserver.New(config()).Serve(t.Context(), httpserver.Listener{Listener: broken, Kind: pipeKind{}},
		httpserver.Listener{Listener: other, Kind: pipeKind{}})
	if err == nil {
		t.Error("Serve = nil with a broken listener")
	}
	if _, err := other.Accept(); err == nil {
		t.Error("the other listener is open")
	}
}

// TestBodies sends bodies of every size and kind.
func TestBodies(t *testing.T) {
	const limit = httpserver.MaxBody
	read := make(chan int, 1)
	cfg := config()
	cfg.Routes = []httpserver.Route{{Method: "POST", Path: "/self", Access: httpserver.Self, Handle: func(w http.ResponseWriter, r *http.Request) error {
		body, err := io.ReadAll(r.Body)
		read <- len(body)
		if err != nil {
			return err
		}
		return httpserver.JSON(w, struct{}{})
	}}}
	for _, test := range []struct {
		name   string
		header string
		body   string
		want   cardbroker.Reason
	}{
		{"none", "", "", ""},
		{"empty", "Content-Length: 0", "", ""},
		{"the longest", fmt.Sprint("Content-Length: ", limit), strings.Repeat("x", limit), ""},
		{"a byte too long", fmt.Sprint("Content-Length: ", limit+1), strings.Repeat("x", limit+1), cardbroker.TooLarge},
		{"much too long by its word", "Content-Length: 99999999999", "x", cardbroker.TooLarge},
		{"chunked", "Transfer-Encoding: chunked", chunks(3, "xyz"), ""},
		{"chunked, the longest", "Transfer-Encoding: chunked", chunks(16, strings.Repeat("x", limit/16)), ""},
		{"chunked, too long", "Transfer-Encoding: chunked", chunks(17, strings.Repeat("x", limit/16)), cardbroker.TooLarge},
		{"a malformed chunk", "Transfer-Encoding: chunked", "zz\r\n", cardbroker.Invalid},
	} {
		t.Run(test.name, func(t *testing.T) {
			listener := newPipes()
			serve(t, cfg, httpserver.Listener{Listener: listener, Kind: pipeKind{}})
			conn := listener.dial(1)
			request := "POST /self HTTP/1.1\r\nHost: x\r\n"
			if test.header != "" {
				request += test.header + "\r\n"
			}
			go io.WriteString(conn, request+"\r\n"+test.body)
			a, err := readAnswer(bufio.NewReader(conn), "POST")
			if err != nil || a.error.Reason != test.want {
				t.Errorf("answered %d %.200s, %v, want %q", a.StatusCode, a.text, err, test.want)
			}
			select {
			case n := <-read:
				if test.want != "" {
					t.Errorf("the handler ran, on %d bytes", n)
				}
			default:
				if test.want == "" {
					t.Error("the handler did not run")
				}
			}
		})
	}
}

func chunks(n int, text string) string {
	return strings.Repeat(fmt.Sprintf("%x\r\n%s\r\n", len(text), text), n) + "0\r\n\r\n"
}

// TestExpectContinue: nobody is asked for the body of a request that is refused.
func TestExpectContinue(t *testing.T) {
	listener := newPipes()
	serve(t, config(), httpserver.Listener{Listener: listener, Kind: pipeKind{}})
	for _, test := range []struct {
		name, header string
		want         []string
	}{
		{"served", "", []string{"HTTP/1.1 100 Continue", "HTTP/1.1 200 OK"}},
		{"refused", "Origin: null\r\n", []string{"HTTP/1.1 403 Forbidden"}},
	} {
		conn := listener.dial(1)
		io.WriteString(conn, "POST /self HTTP/1.1\r\nHost: x\r\n"+test.header+"Content-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
		reader := bufio.NewReader(conn)
		first, err := reader.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		got := []string{strings.TrimSpace(first)}
		if got[0] == test.want[0] && len(test.want) == 2 {
			reader.ReadString('\n')
			io.WriteString(conn, "{}")
			second, err := reader.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, strings.TrimSpace(second))
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: answered %q, want %q", test.name, got, test.want)
		}
		conn.Close()
	}
}

// TestLongHeader: the header has an end, too.
func TestLongHeader(t *testing.T) {
	listener := newPipes()
	serve(t, config(), httpserver.Listener{Listener: listener, Kind: pipeKind{}})
	for _, test := range []struct {
		name, target, header string
		want                 int
		readable             bool // by the page that asked
	}{
		{"16 KiB", "/self", strings.Repeat("x", 15<<10), 412, true},
		{"more", "/self", strings.Repeat("x", 17<<10), http.StatusRequestEntityTooLarge, true},
		{"more, in its line", "/self?" + strings.Repeat("x", 17<<10), "", http.StatusRequestEntityTooLarge, true},
		{"many lines", "/self", strings.Repeat("x\r\nX: ", 3<<10), http.StatusRequestEntityTooLarge, true},
		{"much more", "/self", strings.Repeat("x", 70<<10), http.StatusRequestHeaderFieldsTooLarge, false},
	} {
		conn := listener.dial(1)
		go io.WriteString(conn, "GET "+test.target+" HTTP/1.1\r\nHost: x\r\nOrigin: https://evil.example\r\nX: "+test.header+"\r\n\r\n")
		a, err := readAnswer(bufio.NewReader(conn), "GET")
		if err != nil || a.StatusCode != test.want || (a.Header.Get("Access-Control-Allow-Origin") != "") != test.readable {
			t.Errorf("%s: answered %d %v, %v, want %d", test.name, a.StatusCode, a.Header, err, test.want)
		}
		conn.Close()
	}
}

// TestErrorsAreReadable: whatever is wrong, at whichever step, the page that asks can read it: its preflight is answered, and
// the error names its origin.
func TestErrorsAreReadable(t *testing.T) {
	synctest.Test(t, errorsAreReadable)
}

func errorsAreReadable(t *testing.T) {
	const origin = "https://evil.example"
	cfg := config()
	cfg.Authorize = func(r *http.Request, _ httpserver.Access) error {
		if reason := r.URL.Query().Get("fail"); reason != "" {
			return cardbroker.Errorf(cardbroker.Reason(reason), "so it is")
		}
		return nil
	}
	listener, nobodys := newPipes(), newPipes()
	serve(t, cfg, httpserver.Listener{Listener: listener, Kind: pipeKind{}}, httpserver.Listener{Listener: nobodys, Kind: nobody{}})
	check := func(name string, conn net.Conn, request string, want int) {
		t.Helper()
		defer conn.Close()
		head := " HTTP/1.1\r\nHost: x\r\nOrigin: " + origin + "\r\n"
		_, target, _ := strings.Cut(request, " ")
		target, _, _ = strings.Cut(target, "\r\n")
		if a := ask(t, conn, "OPTIONS "+target+head+"Access-Control-Request-Method: POST\r\n\r\n"); a.StatusCode != 204 || a.Header.Get("Access-Control-Allow-Origin") != origin {
			t.Errorf("%s: the preflight is answered %d %v", name, a.StatusCode, a.Header)
		}
		line, rest, _ := strings.Cut(request, "\r\n")
		a := ask(t, conn, line+head+rest+"\r\n")
		if a.StatusCode != want || a.error.Reason == "" || a.Header.Get("Access-Control-Allow-Origin") != origin ||
			a.Header.Get("Access-Control-Allow-Credentials") != "true" || a.Header.Get("Vary") != "Origin" {
			t.Errorf("%s: answered %d %v %s, want %d", name, a.StatusCode, a.Header, a.text, want)
		}
	}
	const token, body = "X-CSRF-Token: x\r\n", "Content-Type: application/json\r\nContent-Length: "
	check("no consent", listener.dial(1), "GET /self", 412)
	check("no token", listener.dial(1), "POST /public", 403)
	check("no such route", listener.dial(1), "GET /x", 404)
	check("no such method", listener.dial(1), "DELETE /self\r\n"+token, 404)
	check("no such path", listener.dial(1), "GET //x", 404)
	check("a long body", listener.dial(1), "POST /x\r\n"+token+body+"2000000\r\n", 413)
	check("a caller without a name", nobodys.dial(1), "GET /public", 403)
	for reason, status := range map[cardbroker.Reason]int{
		cardbroker.Internal: 500, cardbroker.Unavailable: 503, cardbroker.AgentRestarting: 503, cardbroker.Timeout: 504, cardbroker.Unauthenticated: 401,
	} {
		check(string(reason), listener.dial(1), "GET /public?fail="+string(reason), status)
	}
	for a := (answer{Response: &http.Response{StatusCode: 200}}); a.StatusCode == 200; { // until the page has had its share
		conn := listener.dial(2)
		a = ask(t, conn, "GET /public HTTP/1.1\r\nHost: x\r\nOrigin: "+origin+"\r\n\r\n")
		conn.Close()
		synctest.Wait() // it has left, so that it is the rate that ends this
	}
	check("too often", listener.dial(2), "GET /public", 429)
	var held []net.Conn
	for range 16 {
		held = append(held, listener.dial(3))
		ask(t, held[len(held)-1], "GET /public HTTP/1.1\r\nHost: x\r\nOrigin: "+origin+"\r\n\r\n")
	}
	check("too many of a page", listener.dial(3), "GET /public", 429)
	for len(held) < 64 {
		held = append(held, listener.dial(3))
	}
	check("too many of a user", listener.dial(3), "GET /public", 429)
	for _, conn := range held {
		conn.Close()
	}
}
