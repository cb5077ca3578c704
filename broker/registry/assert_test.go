// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package registry_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardbroker/cardbroker"
)

func (a *testAgent) assert(t *testing.T, port cardbroker.Port, want cardbroker.Reason) cardbroker.Agent {
	t.Helper()
	agent, err := a.h.Assert(t.Context(), a.Claim, port)
	if cardbroker.ReasonOf(err) != want || want == "" && (agent.Port != port || agent.State != cardbroker.Registered || agent.Route == "") {
		t.Errorf("Assert(%d) = %+v, %v, want %q", port, agent, err, want)
	}
	return agent
}

// TestAssert: a port that is bound is its agent's, unless another has it.
func TestAssert(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHost(t, "30000-30003")
		defer h.stop()
		first, second, other := h.logon(1000, "1"), h.logon(1000, "2"), h.logon(1001, "1")
		agent := first.assert(t, 30000, "")
		first.assert(t, 30001, cardbroker.Conflict) // its link is alive
		second.assert(t, 30000, cardbroker.Conflict)
		other.assert(t, 30000, cardbroker.Conflict)
		other.assert(t, 29999, cardbroker.Conflict)
		reserved, err := other.h.Reserve(t.Context(), other.Claim, []cardbroker.Port{30000})
		if err != nil {
			t.Fatal(err)
		}
		second.assert(t, reserved.Port, cardbroker.Conflict) // promised
		if err := h.Detach(t.Context(), agent); err != nil {
			t.Fatal(err)
		}
		again, free := h.logon(1000, "1"), cardbroker.Port(30001) // with another claim
		if free == reserved.Port {
			free++
		}
		if moved := again.assert(t, free, ""); moved.Route != agent.Route {
			t.Errorf("the session's route was %s, is %s", agent.Route, moved.Route)
		}
		if _, err := h.Register(t.Context(), first.Claim); cardbroker.RuleOf(err) != cardbroker.RuleClaim {
			t.Errorf("Register with the older claim = %v, want rule claim", err)
		}
		second.assert(t, 30000, "") // which the first has left, and nobody else can have bound
		h.check()
		h.restart() // as all that was acknowledged
		h.wantState(again, cardbroker.Stale)
		other.assert(t, free, "") // the kernel says that it is his now
		h.wantState(again, "")
		h.check()
	})
}

// TestAssertQuota: one user has so many agents, however they came.
func TestAssertQuota(t *testing.T) {
	h := newTestHost(t, "30000-30099")
	for i := range 17 {
		want := cardbroker.Reason("")
		if i == 16 {
			want = cardbroker.RateLimited
		}
		h.logon(1000, cardbroker.SessionID(rune('a'+i))).assert(t, cardbroker.Port(30000+i), want)
	}
	h.logon(1001, "1").assert(t, 30050, "")
}

// TestAssertAndLeave: an asker that leaves while its assertion is committed has a Link that nobody ends, so it does not count.
func TestAssertAndLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHost(t, "30000-30003")
		defer h.stop()
		a := h.logon(1000, "1")
		h.disk.slow.Store(int64(time.Second))
		ctx, leave := context.WithTimeout(t.Context(), time.Millisecond)
		defer leave()
		if _, err := h.Assert(ctx, a.Claim, 30000); cardbroker.ReasonOf(err) != cardbroker.Timeout {
			t.Errorf("Assert = %v, want timeout", err)
		}
		h.disk.slow.Store(0)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		h.wantState(a, cardbroker.Stale)
	})
}
