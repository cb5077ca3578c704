// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package registry_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
)

const (
	stormAgents  = 1000
	stormReaders = 50
)

// stormAgent returns the i-th agent of a storm: as many users as agents.
func (h *testHost) stormAgent(i int) *testAgent { return h.logon(uint32(10000+i), "1") }

// storm has all agents reserve and register at once, and returns them with their routes.
func (h *testHost) storm(t testing.TB) ([]*testAgent, []cardbroker.Agent) {
	agents, registered := make([]*testAgent, stormAgents), make([]cardbroker.Agent, stormAgents)
	var wg sync.WaitGroup
	for i := range agents {
		agents[i] = h.stormAgent(i)
		wg.Go(func() {
			if _, err := h.Reserve(t.Context(), agents[i].Claim, nil); err != nil {
				t.Errorf("Reserve() = %v", err)
			}
			agent, err := h.Register(t.Context(), agents[i].Claim)
			if err != nil {
				t.Errorf("Register() = %v", err)
			}
			registered[i] = agent
		})
	}
	wg.Wait()
	return agents, registered
}

// TestDeadlock is a logon storm: a thousand agents at once, readers that never stop, agents that die and come back, and
// processes that register twice. The system that this one follows locked up in it.
func TestDeadlock(t *testing.T) {
	h := newTestHost(t, "")
	done := make(chan struct{})
	var readers sync.WaitGroup
	var looks atomic.Int64
	for n := range stormReaders {
		readers.Go(func() {
			for i := n; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				v := h.View()
				for _, a := range v.ByUser(cardbroker.UserID{UID: uint32(10000 + i%stormAgents)}) {
					if other, ok := v.ByPort(a.Port); !ok || other != a {
						t.Errorf("ByPort(%d) = %+v, want %+v", a.Port, other, a)
						return
					}
				}
				looks.Add(1)
				runtime.Gosched() // else 50 of them would be the storm
			}
		})
	}
	agents, registered := h.storm(t)
	var wg sync.WaitGroup
	for i, a := range agents {
		switch {
		case i%10 == 0: // killed, and started again
			wg.Go(func() {
				if err := h.Detach(t.Context(), registered[i]); err != nil {
					t.Errorf("Detach() = %v", err)
				}
				next := h.stormAgent(i)
				if _, err := h.Reserve(t.Context(), next.Claim, nil); err != nil {
					t.Errorf("Reserve() of a successor = %v", err)
				}
				if again, err := h.Register(t.Context(), next.Claim); err != nil || again.Port != registered[i].Port {
					t.Errorf("Register() of a successor = %+v, %v, want port %d", again, err, registered[i].Port)
				}
			})
		case i%20 == 1: // a second one in the session
			wg.Go(func() {
				_, err := h.Reserve(t.Context(), h.stormAgent(i).Claim, nil)
				wantRefusal(t, "Reserve() of a duplicate", err, cardbroker.Conflict, "")
				_, err = h.Register(t.Context(), a.Claim)
				wantRefusal(t, "Register() of a duplicate", err, cardbroker.Conflict, "")
			})
		}
	}
	wg.Wait()
	close(done)
	readers.Wait()
	h.check()
	for _, a := range agents {
		h.wantState(a, cardbroker.Registered)
	}
	if looks.Load() == 0 {
		t.Error("the readers never looked")
	}
}

// TestLookUpsDuringAStall looks agents up while the disk does not answer for three seconds.
func TestLookUpsDuringAStall(t *testing.T) {
	h := newTestHost(t, "")
	h.storm(t)
	h.disk.slow.Store(int64(3 * time.Second))
	var stalled sync.WaitGroup
	stalled.Go(func() { h.Reserve(context.Background(), h.logon(1, "1").Claim, nil) })
	<-h.disk.entered
	took := h.lookUps(t, 100_000)
	if p99 := took[len(took)*99/100]; p99 > time.Millisecond {
		t.Errorf("look-up p99 = %s during a stalled commit, want at most 1ms", p99)
	}
	select { // the stall must still last, or this measured nothing
	case <-h.disk.entered:
		t.Fatal("another commit has begun")
	default:
	}
	h.wantState(h.logon(1, "1"), "")
	stalled.Wait()
	h.wantState(h.logon(1, "1"), cardbroker.Reserved)
}

// lookUps returns how long each of n look-ups took, ascending.
func (h *testHost) lookUps(t testing.TB, n int) []time.Duration {
	took := make([]time.Duration, n)
	for i := range took {
		user := cardbroker.UserID{UID: uint32(10000 + i%stormAgents)}
		begin := time.Now()
		found := h.View().ByUser(user)
		took[i] = time.Since(begin)
		if len(found) != 1 {
			t.Fatalf("ByUser(%s) = %+v, want one agent", user, found)
		}
	}
	slices.Sort(took)
	return took
}

// BenchmarkStorm is 1,000 agents that reserve and register at once, each change durable before it is answered.
func BenchmarkStorm(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		h := newTestHost(b, "")
		commits := h.disk.commits.Load()
		b.StartTimer()
		h.storm(b)
		b.StopTimer()
		b.ReportMetric(float64(h.disk.commits.Load()-commits), "commits/op")
		h.stop()
		b.StartTimer()
	}
}

// BenchmarkReserve is one agent alone: a reservation and its release, each durable.
func BenchmarkReserve(b *testing.B) {
	for _, others := range []int{0, stormAgents} {
		b.Run(fmt.Sprintf("others=%d", others), func(b *testing.B) {
			h := newTestHost(b, "")
			if others > 0 {
				h.storm(b)
			}
			a := h.logon(1, "1")
			for b.Loop() {
				if _, err := h.Reserve(b.Context(), a.Claim, nil); err != nil {
					b.Fatal(err)
				}
				if err := h.Release(b.Context(), a.Claim); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkLookUpStalled looks agents up while a commit does not return.
func BenchmarkLookUpStalled(b *testing.B) {
	h := newTestHost(b, "")
	h.storm(b)
	h.disk.slow.Store(int64(3 * time.Second))
	var stalled sync.WaitGroup
	stalled.Go(func() { h.Reserve(context.Background(), h.logon(1, "1").Claim, nil) })
	<-h.disk.entered
	var took []time.Duration
	for b.Loop() {
		took = h.lookUps(b, 100_000)
	}
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "p50-ns")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
	b.ReportMetric(float64(took[len(took)-1].Nanoseconds()), "max-ns")
	stalled.Wait()
}
