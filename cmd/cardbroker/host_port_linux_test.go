// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/broker/elected"
	"github.com/cardbroker/cardbroker/broker/registry"
	"github.com/cardbroker/cardbroker/internal/epoch"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	owned "github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/test/stage"
)

var quiet = slog.New(slog.DiscardHandler)

// leader has an agent be elected at the well-known port that resigns when it is asked to; again is called when
// its term is over.
func leader(t *testing.T, listeners []net.Listener, resigned *atomic.Bool, again func()) {
	t.Helper()
	term, end := context.WithCancel(context.Background())
	l, err := elected.New(term, elected.Config{
		Listen: listeners, Log: quiet, Resign: func(string) { resigned.Store(true); end() },
		Registry: registry.Config{Ports: cardbroker.Ports{24800}, Epoch: epoch.Now()},
	})
	if err != nil {
		t.Error(err)
		return
	}
	group := owned.New(context.Background())
	group.Go("term", func(context.Context) error {
		err := l.Run(term)
		again()
		return err
	})
	t.Cleanup(func() {
		end()
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
	})
}

// TestTakePort takes the port from a leader, and from another that was elected before we were there: the port passes from one to the other
// without being free in between.
func TestTakePort(t *testing.T) {
	testenv.Root(t) // it resigns for a service alone
	first, err := httpserver.ListenLoopback(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	port := cardbroker.Port(first[0].Addr().(*net.TCPAddr).Port)
	second := sameSockets(t, first)
	var one, other atomic.Bool
	leader(t, first, &one, func() { leader(t, second, &other, func() {}) })
	began := time.Now()
	listeners, err := takePort(t.Context(), port, quiet)
	if err != nil {
		t.Fatalf("takePort = %v after %v", err, time.Since(began))
	}
	defer closeAll(listeners)
	t.Logf("took %v", time.Since(began))
	if !one.Load() || !other.Load() {
		t.Errorf("the first has resigned: %v, the second: %v", one.Load(), other.Load())
	}
}

// sameSockets returns listeners at the very sockets of others, which they outlive.
func sameSockets(t *testing.T, listeners []net.Listener) (same []net.Listener) {
	t.Helper()
	for _, l := range listeners {
		file, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		again, err := net.FileListener(file)
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
		same = append(same, again)
	}
	return same
}

// TestTakePortOfOneThatEnds takes the port from whoever ends in the middle of the question, and so answers nothing: the service did not
// start, because the port seemed to be another program's.
func TestTakePortOfOneThatEnds(t *testing.T) {
	ending, err := httpserver.ListenLoopback(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	group := owned.New(t.Context())
	group.Go("leader", func(context.Context) error {
		conn, err := ending[0].Accept()
		closeAll(ending)
		if err == nil {
			conn.Close()
		}
		return err
	})
	listeners, err := takePort(t.Context(), cardbroker.Port(ending[0].Addr().(*net.TCPAddr).Port), quiet)
	if err != nil {
		t.Errorf("takePort = %v", err)
	}
	closeAll(listeners)
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

// TestWhoHasThePort names the program that has the port.
func TestWhoHasThePort(t *testing.T) {
	listeners, err := httpserver.ListenLoopback(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(listeners)
	go func() {
		for {
			conn, err := listeners[0].Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	port := cardbroker.Port(listeners[0].Addr().(*net.TCPAddr).Port)
	_, err = takePort(t.Context(), port, quiet)
	want := fmt.Sprintf("(uid %d), process %d (", os.Getuid(), os.Getpid())
	if cardbroker.ReasonOf(err) != cardbroker.Conflict || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "taken by another program") {
		t.Errorf("takePort = %v, want a conflict with %q", err, want)
	}
}

// TestSquatterThatSaysItLeaves answers as an elected leader does that resigns, and stays, for as long as it likes to take for an answer; or
// takes the port right after one has left: the service does not start, says whose program is there, and tries no longer than it said. Who
// does not say that he leaves is asked once.
func TestSquatterThatSaysItLeaves(t *testing.T) {
	testenv.Root(t)
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		often  bool // he is asked again
	}{
		"says yes, and stays": {func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("{}")) }, true},
		"says nothing":        {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, false},
		"never ends its answer": {func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				w.Write([]byte(" "))
				w.(http.Flusher).Flush()
			}
		}, false},
		"sends it elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusTemporaryRedirect)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they wait
			const bob = 61002
			var squatted []net.Listener
			err := stage.As(bob, func() { squatted, _ = httpserver.ListenLoopback(context.Background(), 0) })
			if err != nil || len(squatted) == 0 {
				t.Fatalf("bob cannot listen: %v", err)
			}
			var asked atomic.Int32
			squatter := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				test.answer(w, r)
			})}
			group := owned.New(context.Background())
			group.Go("squatter", func(context.Context) error { return squatter.Serve(squatted[0]) })
			defer func() { squatter.Close(); closeAll(squatted); group.Stop() }()
			began := time.Now()
			_, err = takePort(t.Context(), cardbroker.Port(squatted[0].Addr().(*net.TCPAddr).Port), quiet)
			if cardbroker.ReasonOf(err) != cardbroker.Conflict || !strings.Contains(err.Error(), "uid 61002") {
				t.Errorf("takePort = %v, want a conflict with bob", err)
			}
			if n := asked.Load(); (n > 1) != test.often {
				t.Errorf("he was asked %d times", n)
			}
			if took, limit := time.Since(began), handOver+2*time.Second; took > limit {
				t.Errorf("took %v, want %v at most", took, limit)
			}
		})
	}
}

// TestLeaderDoesNotResign says what to do where the leader takes us for no service.
func TestLeaderDoesNotResign(t *testing.T) {
	listeners, err := httpserver.ListenLoopback(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(listeners)
	group := owned.New(t.Context())
	defer group.Stop()
	group.Go("leader", func(context.Context) error {
		return http.Serve(listeners[0], http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			api.WriteError(w, cardbroker.Refusef(cardbroker.CallerRefused, cardbroker.RuleNotAdmin, "only root and the service account may do this"))
		}))
	})
	_, err = takePort(t.Context(), cardbroker.Port(listeners[0].Addr().(*net.TCPAddr).Port), quiet)
	said := api.Describe(err).Description
	for _, want := range []string{"it leaves it to root and to the account that its agent.yaml names", fmt.Sprintf("process %d (", os.Getpid())} {
		if cardbroker.ReasonOf(err) != cardbroker.Conflict || !strings.Contains(said, want) {
			t.Errorf("takePort says %q, want a conflict with %q", said, want)
		}
	}
	closeAll(listeners)
}
