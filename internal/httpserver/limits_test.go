// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package httpserver_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
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
	conn := listener.dial(1)
	go io.WriteString(conn, "GET /self HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 32<<10)+"\r\n\r\n")
	if a, err := readAnswer(bufio.NewReader(conn), "GET"); err != nil || a.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a header of 32 KiB is answered %d, %v", a.StatusCode, err)
	}
}
