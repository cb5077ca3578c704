// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package registry_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/broker/registry"
)

func TestReservationEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHost(t, "")
		alice := h.logon(1000, "3")
		alice.reserve()
		begin := time.Now()
		time.Sleep(100 * time.Second)
		r, err := h.Renew(t.Context(), alice.Claim)
		if want := begin.Add(220 * time.Second); err != nil || !r.Deadline.Equal(want) {
			t.Errorf("Renew() = until %v, %v, want %v", r.Deadline, err, want)
		}
		time.Sleep(100 * time.Second)
		alice.reserve() // asking again renews too: until 320 s
		time.Sleep(119 * time.Second)
		h.wantState(alice, cardbroker.Reserved)
		time.Sleep(2 * time.Second)
		h.wantState(alice, "")
		h.check()
		h.restart()
		h.wantState(alice, "")
	})
}

func TestGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHost(t, "")
		alice, bob := h.logon(1000, "3"), h.logon(1001, "5")
		alice.reserve()
		bob.reserve()
		registered := alice.register()
		bobs := bob.register()
		time.Sleep(24 * time.Hour) // REGISTERED has no deadline: the link is the proof
		h.wantState(alice, cardbroker.Registered)
		alice.detach(registered)
		bob.detach(bobs)
		time.Sleep(29 * time.Second)
		bob.register()
		time.Sleep(2 * time.Second)
		h.wantState(alice, "")
		h.wantState(bob, cardbroker.Registered)
		h.check()
	})
}

func TestQuarantineEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHost(t, "30000")
		alice, bob := h.logon(1000, "3"), h.logon(1001, "5")
		alice.reserve()
		alice.release()
		time.Sleep(59 * time.Second)
		_, err := h.Reserve(t.Context(), bob.Claim, nil)
		wantRefusal(t, "Reserve() in quarantine", err, cardbroker.PortsExhausted, "")
		time.Sleep(2 * time.Second)
		bob.reserve()
	})
}

func TestDeadlinesBeginAnewAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHost(t, "")
		alice, bob := h.logon(1000, "3"), h.logon(1001, "5")
		alice.reserve()
		bob.reserve()
		bob.register()
		time.Sleep(119 * time.Second)
		h.restart()
		time.Sleep(29 * time.Second)
		h.wantState(bob, cardbroker.Stale)
		time.Sleep(2 * time.Second)
		h.wantState(bob, "")
		time.Sleep(88 * time.Second)
		h.wantState(alice, cardbroker.Reserved)
		time.Sleep(2 * time.Second)
		h.wantState(alice, "")
	})
}

// An idle Registry sleeps: nothing is due, so nothing is committed and no View is made.
func TestIdleRegistrySleeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHost(t, "")
		alice := h.logon(1000, "3")
		alice.reserve()
		alice.register()
		commits, view := h.disk.commits.Load(), h.View()
		time.Sleep(24 * time.Hour)
		if got := h.disk.commits.Load(); got != commits || h.View() != view {
			t.Errorf("%d commits and another View %v, want none", got-commits, h.View() != view)
		}
	})
}

func TestBrokenDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHost(t, "30000-30001")
		alice, bob := h.logon(1000, "3"), h.logon(1001, "5")
		alice.reserve()
		registered := alice.register()
		h.disk.broken.Store(true)

		for range 3 { // no port leaks: there are but two
			_, err := h.Reserve(t.Context(), bob.Claim, nil)
			wantRefusal(t, "Reserve() on a broken disk", err, cardbroker.Unavailable, "")
			h.check()
		}
		h.wantState(bob, "")
		wantRefusal(t, "Degraded()", h.Degraded(), cardbroker.Unavailable, "")
		h.wantState(alice, cardbroker.Registered)

		alice.detach(registered) // changes nothing that must last
		h.wantState(alice, cardbroker.Stale)
		commits := h.disk.commits.Load()
		time.Sleep(10 * time.Minute) // alice's grace ends meanwhile: it cannot be committed, and must not spin
		if got := h.disk.commits.Load() - commits; got < 500 || got > 601 {
			t.Errorf("%d commits tried in 10 minutes, want one a second", got)
		}
		h.wantState(alice, cardbroker.Stale)

		h.disk.broken.Store(false)
		time.Sleep(3 * time.Second)
		if err := h.Degraded(); err != nil {
			t.Errorf("Degraded() = %v, want nil once the disk works", err)
		}
		h.wantState(alice, "")
		bob.reserve()
		h.restart()
		h.wantState(bob, cardbroker.Reserved)
		h.wantState(alice, "")
	})
}

// A commit that fails may have been written all the same: the next one must put that right, or an agent would have two
// ports after a restart.
func TestFailedCommitThatWasWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHost(t, "")
		alice := h.logon(1000, "3")
		h.disk.liar.Store(true)
		_, err := h.Reserve(t.Context(), alice.Claim, nil)
		wantRefusal(t, "Reserve()", err, cardbroker.Unavailable, "")
		h.disk.liar.Store(false)
		first, err := h.kept(t)
		if err != nil || len(first) != 1 {
			t.Fatalf("the store has %v, %v, want the reservation that was refused", first, err)
		}
		second := alice.reserve(first[0].Agent.Port)
		h.restart()
		h.check()
		if a, ok := h.View().ByKey(alice.Key); !ok || a.Port != second {
			t.Errorf("ByKey() = %+v, want port %d", a, second)
		}
		if kept, err := h.kept(t); err != nil || len(kept) != 1 {
			t.Errorf("the store has %v, %v, want one record", kept, err)
		}
	})
}

// kept returns the records in the store.
func (h *testHost) kept(t *testing.T) ([]cardbroker.Record, error) {
	kept, err := h.disk.Load(t.Context())
	return kept.Records, err
}

func TestStalledDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHost(t, "")
		alice, bob := h.logon(1000, "3"), h.logon(1001, "5")
		alice.reserve()
		alice.register()
		h.disk.slow.Store(int64(3 * time.Second))
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		begin := time.Now()
		_, err := h.Reserve(ctx, bob.Claim, nil)
		wantRefusal(t, "Reserve() in a stall", err, cardbroker.Timeout, "")
		if took := time.Since(begin); took != 200*time.Millisecond {
			t.Errorf("Reserve() took %s, want 200ms", took)
		}
		h.disk.slow.Store(0)
		if err := h.Degraded(); err != nil {
			t.Errorf("Degraded() = %v after 200ms, want nil", err)
		}
		time.Sleep(2 * time.Second)
		wantRefusal(t, "Degraded()", h.Degraded(), cardbroker.Unavailable, "")
		begin = time.Now()
		_, err = h.Reserve(t.Context(), bob.Claim, nil)
		wantRefusal(t, "Reserve() in a long stall", err, cardbroker.Unavailable, "")
		if took := time.Since(begin); took != 0 {
			t.Errorf("Reserve() took %s, want to be refused at once", took)
		}
		h.wantState(alice, cardbroker.Registered)
		h.wantState(bob, "")
		time.Sleep(time.Second)
		if err := h.Degraded(); err != nil {
			t.Errorf("Degraded() = %v after the stall, want nil", err)
		}
		h.wantState(bob, cardbroker.Reserved) // it was committed in the end, and its deadline will heal it
		h.check()
	})
}

// An asker that leaves while its registration is committed has no link: the agent must not stay REGISTERED, or it could
// never register again.
func TestAskerLeavesDuringItsRegistration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHost(t, "")
		alice := h.logon(1000, "3")
		port := alice.reserve()
		h.disk.slow.Store(int64(time.Second))
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, err := h.Register(ctx, alice.Claim)
		wantRefusal(t, "Register()", err, cardbroker.Timeout, "")
		h.disk.slow.Store(0)
		time.Sleep(2 * time.Second)
		h.wantState(alice, cardbroker.Stale)
		if again := alice.register(); again.Port != port {
			t.Errorf("Register() = %d, want %d", again.Port, port)
		}
	})
}

// Detach has to come through whatever happens: here the mailbox is full and the disk stalled.
func TestDetachComesThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHost(t, "")
		alice := h.logon(1000, "3")
		alice.reserve()
		registered := alice.register()
		h.disk.slow.Store(int64(3 * time.Second))
		for i := range 3000 {
			go h.Reserve(t.Context(), h.logon(uint32(2000+i), "1").Claim, nil)
		}
		<-h.disk.entered
		synctest.Wait()
		_, err := h.Renew(t.Context(), alice.Claim)
		wantRefusal(t, "Renew() with a full mailbox", err, cardbroker.Overloaded, "")
		alice.detach(registered)
		h.wantState(alice, cardbroker.Stale)
		h.disk.slow.Store(0)
		time.Sleep(3 * time.Second)
	})
}

// A Detach that has to wait must not end the registration of an agent that has come back meanwhile, on the same Route.
func TestDetachKnowsItsRegistration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHost(t, "")
		alice := h.logon(1000, "3")
		alice.reserve()
		registered := alice.register()
		h.disk.slow.Store(int64(3 * time.Second))
		go h.Reserve(t.Context(), h.logon(1001, "5").Claim, nil)
		<-h.disk.entered
		h.disk.slow.Store(0)
		go h.Detach(t.Context(), registered) // waits for the commit
		time.Sleep(2500 * time.Millisecond)
		late := make(chan error)
		go func() { late <- h.Detach(t.Context(), registered) }() // is refused while the disk stalls, and tries later
		time.Sleep(501 * time.Millisecond)
		alice.register()
		if err := <-late; err != nil {
			t.Errorf("Detach() = %v, want nil", err)
		}
		h.wantState(alice, cardbroker.Registered)
	})
}

// Two registries on one ledger: the older one must not write any more.
func TestHigherEpochWins(t *testing.T) {
	h := newTestHost(t, "")
	if _, err := registry.New(t.Context(), h.cfg, h.disk, quiet()); err != nil {
		t.Fatalf("New() = %v", err)
	}
	_, err := h.Reserve(t.Context(), h.logon(1000, "3").Claim, nil)
	wantRefusal(t, "Reserve() in an old epoch", err, cardbroker.Unavailable, "")
}
