// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package election_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
)

func nobody(context.Context) error {
	return cardbroker.Errorf(cardbroker.Unavailable, "nobody is there")
}

// TestDials has nobody there and no office to take: tries begin after 2 to 5 ms and end up at 100.
func TestDials(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		a := h.add("a", 1)
		start := time.Now()
		var at []time.Duration
		err := a.Seek(t.Context(), start.Add(time.Hour), func(context.Context) error {
			if at = append(at, time.Since(start)); len(at) == 20 {
				return nil
			}
			return nobody(t.Context())
		})
		if err != nil || at[0] != 0 {
			t.Fatalf("Seek() = %v, with tries after %v, want nil, and a try at once", err, at)
		}
		for i, most := 1, 5*time.Millisecond; i < len(at); i, most = i+1, min(2*most, 100*time.Millisecond) {
			if pause := at[i] - at[i-1]; i > 1 && i < 6 && pause > most || pause > 100*time.Millisecond || pause < 2*time.Millisecond {
				t.Errorf("try %d after %v, want %v at most", i, pause, most)
			}
		}
		if last := at[len(at)-1] - at[len(at)-2]; last != 100*time.Millisecond {
			t.Errorf("tries each %v in the end, want 100ms", last)
		}
	})
}

// TestFollowersComeLater: who has lost somebody and is no voter lets those take office first who are; who never saw anybody waits for
// nobody (TestDials).
func TestFollowersComeLater(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		a := h.add("a", 1)
		found := func(context.Context) error { return nil }
		if err := a.Seek(t.Context(), time.Time{}, found); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := a.Seek(t.Context(), time.Time{}, found); err != nil {
			t.Fatal(err)
		}
		if after := time.Since(start); after < 15*time.Millisecond || after > 50*time.Millisecond {
			t.Errorf("the first try comes after %v, want 15 to 50 ms", after)
		}
		ctx, leave := context.WithCancel(t.Context())
		leave()
		if err := a.Seek(ctx, time.Time{}, found); !errors.Is(err, context.Canceled) {
			t.Errorf("Seek() = %v, want that it ends", err)
		}
	})
}

// TestSomebodyElseIsThere returns what dial says, at once.
func TestSomebodyElseIsThere(t *testing.T) {
	for _, reason := range []cardbroker.Reason{cardbroker.CallerRefused, cardbroker.Timeout, cardbroker.StaleEpoch} {
		onHost(t, func(t *testing.T, h *host) {
			a := h.add("a", 1)
			h.run(a)
			start := time.Now()
			err := a.Seek(t.Context(), time.Time{}, func(context.Context) error { return cardbroker.Errorf(reason, "he says") })
			if cardbroker.ReasonOf(err) != reason || time.Since(start) > 0 || len(h.terms) > 0 {
				t.Errorf("Seek() = %v after %v, %d terms, want %s at once and none", err, time.Since(start), len(h.terms), reason)
			}
		})
	}
}

func TestSeekEndsWithItsContext(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		a := h.add("a", 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		err := a.Seek(ctx, time.Time{}, nobody)
		if cardbroker.ReasonOf(err) != cardbroker.Timeout || time.Since(start) != time.Second {
			t.Errorf("Seek() = %v after %v, want timeout after 1s", err, time.Since(start))
		}
		err = a.Seek(canceled(), time.Time{}, func(ctx context.Context) error { return ctx.Err() })
		if cardbroker.ReasonOf(err) != cardbroker.Canceled {
			t.Errorf("Seek() = %v, want canceled", err)
		}
	})
}

// TestNotBefore has a service be gone for less than policy wants.
func TestNotBefore(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		a := h.add("a", 1)
		h.run(a)
		start := time.Now()
		if err := a.Seek(t.Context(), start.Add(10*time.Second), a.dial); err != nil {
			t.Fatalf("Seek() = %v, want nil", err)
		}
		if took := time.Since(start); took < 10*time.Second || took > 10100*time.Millisecond || !a.Leads() {
			t.Errorf("leads: %v, after %v, want true after 10s", a.Leads(), took)
		}
	})
}

// TestManySeek has ten seek with one Elector: it takes office once, which all find.
func TestManySeek(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		a := h.add("a", 1)
		h.run(a)
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if err := a.Seek(t.Context(), time.Time{}, a.dial); err != nil {
					t.Errorf("Seek() = %v, want nil", err)
				}
			})
		}
		wg.Wait()
		h.settle(1)
	})
}

// TestPortIsHeldByWhoDoesNotListen has somebody bind the port who is no registry: we try less and less often, and take office
// when he has gone.
func TestPortIsHeldByWhoDoesNotListen(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		a := h.add("a", 1)
		tries := h.denies(a, cardbroker.Errorf(cardbroker.Conflict, "the port is taken"))
		h.start(a)
		h.pass(time.Minute)
		if n := tries(); n < 10 || n > 30 {
			t.Errorf("tried %d times in a minute, want 10 to 30", n)
		}
		a.set(func() { a.deny = nil })
		if _, took := h.elected(); took > 10*time.Second {
			t.Errorf("took office %v after the port was free, want 10s at most", took)
		}
	})
}

// TestCannotTakeOffice has an agent fail that is next: another leads, and it goes on as an agent.
func TestCannotTakeOffice(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		agents := h.starts(5)
		leader, _ := h.elected()
		h.settle(1)
		agents = slices.DeleteFunc(agents, func(a *agent) bool { return a == leader })
		h.denies(agents[0], errors.New("no space left on device"))
		leader.kill()
		leader, took := h.elected()
		if leader != agents[1] || took != 15*time.Millisecond {
			t.Errorf("%s leads after %v, want %s after 15ms", leader.self.Name, took, agents[1].self.Name)
		}
		h.settle(2)
	})
}

// TestConflictIsNoFailure has an agent come second to the port, whose holder is gone a moment later: it tries again at once.
func TestConflictIsNoFailure(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		a := h.add("a", 1)
		tries := h.denies(a, cardbroker.Errorf(cardbroker.Conflict, "the port is taken"))
		h.start(a)
		for tries() == 0 {
			h.pass(time.Millisecond)
		}
		a.set(func() { a.deny = nil })
		if _, took := h.elected(); took > 45*time.Millisecond {
			t.Errorf("took office after %v, want 45ms at most", took)
		}
	})
}
