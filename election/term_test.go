// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package election_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/run"
)

// hang is a health check, or a term, that does not look at its ctx until the test is over.
func hang(release chan struct{}) func(context.Context) error {
	return func(context.Context) error { <-release; return errors.New("released") }
}

// TestHungLeaderLeaves has the leader's answers hang: another is elected within the limit of a question, and it stands back,
// but for one turn.
func TestHungLeaderLeaves(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.starts(2)
		leader, _ := h.elected()
		h.settle(1)
		leader.set(func() { leader.health = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() } })
		start := time.Now()
		for h.leader() == leader {
			h.pass(time.Millisecond)
		}
		next, _ := h.elected()
		if took := time.Since(start); next == leader || took > 3500*time.Millisecond {
			t.Errorf("%s leads after %v, want another within 3.5s", next.self.Name, took)
		}
		leader.set(func() { leader.health = nil })
		h.settle(2)
		next.kill()
		if again, took := h.elected(); again != leader || took > 50*time.Millisecond {
			t.Errorf("%s leads after %v, want %s, which is a candidate again", again.self.Name, took, leader.self.Name)
		}
		if len(leader.abandoned) > 0 {
			t.Error("a term that ended was abandoned")
		}
	})
}

// TestStarvedLeaderStays has a leader who waits for a processor three quarters of the time: answers that are late for that alone, and a
// term that ends late for it, cost him neither office nor process. An answer that never comes still does.
func TestStarvedLeaderStays(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		a := h.add("a", 1)
		a.Starve(300 * time.Millisecond)
		a.health = func(ctx context.Context) error {
			if !run.Pause(ctx, 6*time.Second) {
				return ctx.Err()
			}
			return nil
		}
		ended := make(chan struct{})
		a.term = func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(3 * time.Second)
			close(ended)
			return nil
		}
		h.start(a)
		h.elected()
		h.pass(time.Minute)
		if len(h.terms) > 1 || !a.Leads() {
			t.Fatalf("leads: %v after %d terms, want true after one: it answers, and late", a.Leads(), len(h.terms))
		}
		a.set(func() { a.health, a.term = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, nil })
		start := time.Now()
		<-ended
		if took := time.Since(start); took < 10*time.Second || took > 19*time.Second {
			t.Errorf("its term ended after %v, want 10 to 19 s: four times what a leader has, after an answer", took)
		}
		if len(a.abandoned) > 0 {
			t.Error("a term that ended, and late, was abandoned")
		}
		a.set(func() { a.health = nil })
	})
}

// TestStarvedLeaderLeavesAtLast has a leader who hangs, and gets so little of a processor that he hardly counts.
func TestStarvedLeaderLeavesAtLast(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		a := h.add("a", 1)
		a.Starve(4900 * time.Millisecond)
		a.health = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		h.start(a)
		h.elected()
		start := time.Now()
		for h.leader() == a {
			h.pass(10 * time.Millisecond)
		}
		if took := time.Since(start); took < 5*time.Second || took > 12*time.Second {
			t.Errorf("left after %v, want 5 to 12 s: five times what a leader has, at most", took)
		}
		a.set(func() { a.health = nil })
	})
}

// TestAloneLeaderStandsBack has the only agent resign: it waits as a watcher does.
func TestAloneLeaderStandsBack(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.starts(1)
		leader, _ := h.elected()
		h.settle(1)
		if err := leader.Resign(t.Context(), "a test"); err != nil || leader.Leads() || h.leader() != nil {
			t.Errorf("Resign() = %v, leads: %v, want an end", err, leader.Leads())
		}
		if _, took := h.elected(); took < 300*time.Millisecond || took > 450*time.Millisecond {
			t.Errorf("leads again after %v, want 300 to 450 ms", took)
		}
	})
}

// TestFailingHealth fails once, which may pass, and then twice in a row.
func TestFailingHealth(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.starts(1)
		leader, _ := h.elected()
		answers := make(chan error, 8)
		leader.set(func() { leader.health = func(context.Context) error { return <-answers } })
		bad := errors.New("bad")
		for _, err := range []error{bad, nil, bad, nil} {
			answers <- err
		}
		h.pass(4500 * time.Millisecond)
		if !leader.Leads() || len(answers) > 0 {
			t.Fatalf("leads: %v, with %d questions to come: want true and none", leader.Leads(), len(answers))
		}
		answers <- bad
		answers <- bad
		h.pass(2 * time.Second)
		if h.leader() != nil && len(h.terms) == 1 {
			t.Error("leads after two bad answers")
		}
		close(answers)
	})
}

// TestTermThatDoesNotEndIsAbandoned has terms, and their health checks, that hang.
func TestTermThatDoesNotEndIsAbandoned(t *testing.T) {
	for name, tt := range map[string]struct {
		termHangs, healthHangs bool
		end                    func(*agent)
		within                 time.Duration
		want                   string
	}{
		"told to resign":         {termHangs: true, end: func(a *agent) { a.Resign(canceled(), "policy") }, within: time.Second, want: "policy"},
		"without health":         {termHangs: true, healthHangs: true, end: func(*agent) {}, within: 4 * time.Second, want: "no answer in 2s"},
		"only the health hangs":  {healthHangs: true, end: func(*agent) {}, within: 4 * time.Second, want: "no answer in 2s"},
		"at the program's end":   {termHangs: true, end: func(a *agent) { a.end(errors.New("bye")) }, within: time.Second, want: "bye"},
		"all stands, as stopped": {termHangs: true, healthHangs: true, end: func(a *agent) { a.h.pass(2900 * time.Millisecond) }, within: 1200 * time.Millisecond, want: "no answer"},
	} {
		t.Run(name, func(t *testing.T) {
			onHost(t, func(t *testing.T, h *host) {
				release := make(chan struct{})
				a := h.add("old", 1)
				if tt.termHangs {
					a.term = hang(release)
				}
				if tt.healthHangs {
					a.health = hang(release)
				}
				h.start(a)
				h.elected()
				h.start(h.add("young", 2))
				h.pass(10 * time.Millisecond)
				start := time.Now()
				tt.end(a)
				if tt.termHangs && (!a.Leads() || h.leader() != a) {
					t.Error("leads no more, though the term has not ended")
				}
				since := time.Now()
				why := <-a.abandoned
				if took := time.Since(since); took > tt.within || !strings.Contains(why.Error(), tt.want) {
					t.Errorf("abandoned after %v (%v): %v, want %v and %q", took, time.Since(start), why, tt.within, tt.want)
				}
				close(release)
				synctest.Wait() // its term ends, and it lets go of the office
				if next, _ := h.elected(); next == a {
					t.Error("leads on, though abandoned")
				}
			})
		})
	}
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// TestTermEndsByItself returns with an error, or without, and somebody else takes over.
func TestTermEndsByItself(t *testing.T) {
	for name, err := range map[string]error{"done": nil, "failed": errors.New("no more descriptors")} {
		t.Run(name, func(t *testing.T) {
			onHost(t, func(t *testing.T, h *host) {
				h.starts(3)
				leader, _ := h.elected()
				h.settle(1)
				leader.kill()
				ends := make(chan struct{})
				for _, a := range h.agents {
					a.set(func() {
						a.term = func(ctx context.Context) error {
							select {
							case <-ends:
								return err
							case <-ctx.Done():
								return nil
							}
						}
					})
				}
				leader, _ = h.elected()
				h.settle(2)
				ends <- struct{}{}
				synctest.Wait()
				next, took := h.elected()
				if next == leader || took > 30*time.Millisecond || leader.Leads() {
					t.Errorf("%s leads after %v, and the former %v; want another within 30ms", next.self.Name, took, leader.Leads())
				}
				h.settle(3)
			})
		})
	}
}

func TestResignWithoutOffice(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		agents := h.starts(2)
		leader, _ := h.elected()
		h.settle(1)
		for _, a := range agents {
			if a == leader {
				continue
			}
			if err := a.Resign(t.Context(), "nothing"); err != nil || a.Leads() {
				t.Errorf("Resign() = %v, want nil", err)
			}
		}
		h.settle(1)
	})
}

// TestResignDoesNotWaitForEver asks a term that hangs, with a limit.
func TestResignDoesNotWaitForEver(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		release := make(chan struct{})
		a := h.add("a", 1)
		a.term = hang(release)
		h.start(a)
		h.elected()
		h.settle(1)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := a.Resign(ctx, "now"); cardbroker.ReasonOf(err) != cardbroker.Timeout {
			t.Errorf("Resign() = %v, want timeout", err)
		}
		<-a.abandoned
		close(release)
	})
}

// TestNoOfficeAfterRun ends an elector in office, and one that seeks: neither takes office again, and its Term has ended when
// Run returns.
func TestNoOfficeAfterRun(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		a := h.add("a", 1)
		a.deny = cardbroker.Errorf(cardbroker.Conflict, "the port is taken")
		ctx, end := context.WithCancel(t.Context())
		ran := make(chan error)
		go func() { ran <- a.Run(ctx) }()
		sought := make(chan error)
		seek, stop := context.WithCancel(t.Context())
		go func() { sought <- a.Seek(seek, time.Time{}, a.dial) }()
		h.pass(time.Second)
		end()
		if err := <-ran; err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
		a.set(func() { a.deny = nil })
		h.pass(time.Minute)
		stop()
		if err := <-sought; cardbroker.ReasonOf(err) != cardbroker.Canceled || len(h.terms) > 0 {
			t.Errorf("Seek() = %v with %d terms, want canceled and none", err, len(h.terms))
		}
	})
}

// TestEndWhileTakingOffice ends Run while Take is under way: the Term is run, so that it lets go of what was taken.
func TestEndWhileTakingOffice(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		a := h.add("a", 1)
		h.start(a)
		h.elected()
		a.end(nil)
		a.wg.Wait()
		if h.leader() != nil || a.Leads() {
			t.Errorf("the port is held: %v, leads: %v, want neither", h.leader() != nil, a.Leads())
		}
	})
}
