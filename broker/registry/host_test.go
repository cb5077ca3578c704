// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package registry_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/broker/registry"
	"github.com/cardbroker/cardbroker/store"
)

// errDisk is what a broken disk says.
var errDisk = errors.New("no space left on device")

// disk is a real store that breaks on demand.
type disk struct {
	*store.Store
	broken  atomic.Bool   // Commit fails
	liar    atomic.Bool   // Commit writes, and fails all the same, as when the last fsync does
	slow    atomic.Int64  // nanoseconds that each Commit takes longer
	commits atomic.Int64  // calls of Commit
	entered chan struct{} // capacity 1: a slow Commit has begun
}

func (d *disk) Commit(ctx context.Context, changes cardbroker.Changes) error {
	d.commits.Add(1)
	if d.broken.Load() {
		return errDisk
	}
	if slow := d.slow.Load(); slow > 0 {
		select {
		case d.entered <- struct{}{}:
		default:
		}
		time.Sleep(time.Duration(slow))
	}
	if err := d.Store.Commit(ctx, changes); err != nil {
		return err
	}
	if d.liar.Load() {
		return errDisk
	}
	return nil
}

// testHost is a Registry on a real store, with agents that are function calls.
type testHost struct {
	*registry.Registry
	t    testing.TB
	cfg  registry.Config
	path string
	disk *disk
	end  context.CancelFunc
	wg   sync.WaitGroup
}

// newTestHost starts a Registry for the given ports, "" being the default ones. It ends with the test.
func newTestHost(t testing.TB, ports string) *testHost {
	t.Helper()
	if ports == "" {
		ports = cardbroker.DefaultPorts
	}
	set, err := cardbroker.ParsePorts(ports)
	if err != nil {
		t.Fatal(err)
	}
	h := &testHost{t: t, cfg: registry.Config{Ports: set}, path: filepath.Join(t.TempDir(), "registry.db")}
	h.start()
	t.Cleanup(h.stop)
	return h
}

func (h *testHost) start() {
	h.t.Helper()
	s, err := store.Open(h.path, store.Options{})
	if err != nil {
		h.t.Fatal(err)
	}
	h.disk = &disk{Store: s, entered: make(chan struct{}, 1)}
	h.Registry, err = registry.New(context.Background(), h.cfg, h.disk, quiet())
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	h.end = cancel
	h.wg.Go(func() { h.Run(ctx) })
}

func (h *testHost) stop() {
	h.end()
	h.wg.Wait()
	h.disk.Close()
}

// restart ends the Registry and starts it anew on the same file.
func (h *testHost) restart() {
	h.t.Helper()
	h.stop()
	h.start()
}

// check fails the test if the table is inconsistent.
func (h *testHost) check() {
	h.t.Helper()
	if err := registry.CheckInvariants(h.t.Context(), h.Registry); err != nil {
		h.t.Fatal(err)
	}
}

// wantState fails the test unless the agent is in the given State; "" means that there is none.
func (h *testHost) wantState(a *testAgent, want cardbroker.State) {
	h.t.Helper()
	agent, _ := h.View().ByKey(a.Key)
	if agent.State != want {
		h.t.Errorf("agent %s of %s is %q, want %q", a.Key.Session, a.Key.User, agent.State, want)
	}
}

// testAgent is an agent of a testHost.
type testAgent struct {
	registry.Claim
	h *testHost
}

// logon returns an agent with a claim of its own.
func (h *testHost) logon(uid uint32, session cardbroker.SessionID) *testAgent {
	return &testAgent{h: h, Claim: registry.Claim{
		Key:  cardbroker.AgentKey{User: cardbroker.UserID{UID: uid}, Session: session},
		PID:  int(uid),
		Hash: cardbroker.RandomSecret().Hash(),
	}}
}

func (a *testAgent) reserve(avoid ...cardbroker.Port) cardbroker.Port {
	a.h.t.Helper()
	r, err := a.h.Reserve(a.h.t.Context(), a.Claim, avoid)
	if err != nil {
		a.h.t.Fatalf("Reserve(%v, %d) = %v", a.Key, avoid, err)
	}
	a.h.check()
	return r.Port
}

func (a *testAgent) register() cardbroker.Agent {
	a.h.t.Helper()
	agent, err := a.h.Register(a.h.t.Context(), a.Claim)
	if err != nil {
		a.h.t.Fatalf("Register(%v) = %v", a.Key, err)
	}
	a.h.check()
	return agent
}

func (a *testAgent) detach(agent cardbroker.Agent) {
	a.h.t.Helper()
	if err := a.h.Detach(a.h.t.Context(), agent); err != nil {
		a.h.t.Fatalf("Detach(%v) = %v", agent, err)
	}
	a.h.check()
}

func (a *testAgent) release() {
	a.h.t.Helper()
	if err := a.h.Release(a.h.t.Context(), a.Claim); err != nil {
		a.h.t.Fatalf("Release(%v) = %v", a.Key, err)
	}
	a.h.check()
}

// wantRefusal fails the test unless err has the given reason and rule.
func wantRefusal(t testing.TB, what string, err error, reason cardbroker.Reason, rule cardbroker.Rule) {
	t.Helper()
	if cardbroker.ReasonOf(err) != reason || cardbroker.RuleOf(err) != rule {
		t.Errorf("%s = %v, want %s [%s]", what, err, reason, rule)
	}
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }
