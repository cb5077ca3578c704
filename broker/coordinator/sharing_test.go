// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/broker/registry"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/store"
)

// startRegistry runs a registry on a real store until the end of the test.
var (
	alice = cardbroker.UserID{UID: 61001}
	bob   = cardbroker.UserID{UID: 61002}
)

func startRegistry(t *testing.T) *registry.Registry {
	t.Helper()
	ports, err := cardbroker.ParsePorts(cardbroker.DefaultPorts)
	if err != nil {
		t.Fatal(err)
	}
	ledger, err := store.Open(filepath.Join(t.TempDir(), "registry.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := registry.New(t.Context(), registry.Config{Ports: ports}, ledger, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	group := run.New(t.Context())
	group.Go("registry", r.Run)
	t.Cleanup(func() {
		group.Stop()
		ledger.Close()
	})
	return r
}

// TestSharingTurns: the host is shared while agents of two users are on it, in whatever state, and each turn is counted
// and told once.
func TestSharingTurns(t *testing.T) {
	h := startRegistry(t)
	claims := map[string]registry.Claim{}
	steps := []struct {
		name string
		do   func() error
		want registry.Sharing
	}{
		{"nobody", func() error { return nil }, registry.Sharing{}},
		{"alice", func() error { _, err := h.Reserve(t.Context(), claims["alice"], nil); return err }, registry.Sharing{}},
		{"alice twice", func() error { _, err := h.Reserve(t.Context(), claims["alice 2"], nil); return err }, registry.Sharing{}},
		{"bob", func() error { _, err := h.Reserve(t.Context(), claims["bob"], nil); return err }, registry.Sharing{Shared: true, Turns: 1}},
		{"alice leaves", func() error { return h.Release(t.Context(), claims["alice"]) }, registry.Sharing{Shared: true, Turns: 1}},
		{"alice leaves altogether", func() error { return h.Release(t.Context(), claims["alice 2"]) }, registry.Sharing{Turns: 2}},
	}
	claims["alice"] = registry.Claim{Key: cardbroker.AgentKey{User: alice, Session: "1"}, Hash: [32]byte{1}}
	claims["alice 2"] = registry.Claim{Key: cardbroker.AgentKey{User: alice, Session: "2"}, Hash: [32]byte{2}}
	claims["bob"] = registry.Claim{Key: cardbroker.AgentKey{User: bob, Session: "1"}, Hash: [32]byte{3}}
	var before registry.Sharing
	for _, step := range steps {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		got := h.View().Sharing()
		if got != step.want {
			t.Errorf("%s: Sharing() = %+v, want %+v", step.name, got, step.want)
		}
		select {
		case <-h.Turned():
			if got.Turns == before.Turns {
				t.Errorf("%s: a turn is told that was none", step.name)
			}
		default:
			if got.Turns != before.Turns {
				t.Errorf("%s: a turn is not told", step.name)
			}
		}
		before = got
	}
}

// TestSharingIsTold: each agent with a link hears of a turn, and one whose link is stuck keeps nobody waiting.
func TestSharingIsTold(t *testing.T) {
	h := startRegistry(t)
	c := New(Config{Registry: h, Log: slog.New(slog.DiscardHandler)})
	group := run.New(t.Context())
	group.Go("hub", c.Hub.Run)
	c.conns = run.New(group.Context())
	group.Go("sharing", c.tellSharing)
	defer group.Stop()
	stuck := make(chan struct{})
	defer c.conns.Stop()
	defer close(stuck)
	told := make(chan api.Sharing, 8)
	for i, send := range []func(api.FromBroker) error{
		func(api.FromBroker) error { <-stuck; return nil },
		func(m api.FromBroker) error { told <- *m.Sharing; return nil },
	} {
		agent := cardbroker.Agent{Route: cardbroker.Route([]string{"0123456789abcdef", "1123456789abcdef"}[i])}
		if err := c.Hub.Join(t.Context(), &Link{View: View{Agent: agent}, Send: send}); err != nil {
			t.Fatal(err)
		}
	}
	for i, user := range []cardbroker.UserID{alice, bob} {
		if _, err := h.Reserve(t.Context(), registry.Claim{Key: cardbroker.AgentKey{User: user, Session: "1"}, Hash: [32]byte{byte(i)}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	select {
	case got := <-told:
		if want := (api.Sharing{Shared: true, Turns: 1}); got != want {
			t.Errorf("the agent was told %+v, want %+v", got, want)
		}
	case <-ctx.Done():
		t.Error("the agent was not told")
	}
}
