// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package loop_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/loop"
)

// list is an owner whose state is a list of words. What a batch appends stays only if it is committed.
type list struct {
	words   []string
	due     time.Time
	failing error
	commit  func(ctx context.Context) // called by each Commit, if set
	commits int
	ticks   []time.Time
}

type tx struct{ words []string }

func (l *list) Begin() *tx { return &tx{} }

func (l *list) Commit(ctx context.Context, tx *tx) error {
	l.commits++
	if l.commit != nil {
		l.commit(ctx)
	}
	if l.failing != nil {
		return l.failing
	}
	l.words = append(l.words, tx.words...)
	return nil
}

func (l *list) Deadline() time.Time { return l.due }

func (l *list) Tick(_ *tx, now time.Time) {
	l.ticks = append(l.ticks, now)
	l.due = time.Time{}
}

// start runs a loop for the owner until the test ends, and returns it with a function that stops it sooner.
func start(t *testing.T, owner *list) (*loop.Loop[*tx], func()) {
	ctx, cancel := context.WithCancel(context.Background())
	l := loop.New[*tx]()
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := l.Run(ctx, owner); err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
	})
	stop := func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	return l, stop
}

func say(word string) func(*tx) error {
	return func(tx *tx) error { tx.words = append(tx.words, word); return nil }
}

func TestOneCommitForAllThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		owner := &list{commit: func(context.Context) { <-release }}
		l, stop := start(t, owner)
		var wg sync.WaitGroup
		for range 1 + 300 { // the first commits alone; of the others 256 and 44 wait together
			wg.Go(func() {
				if err := l.Do(t.Context(), say("x")); err != nil {
					t.Errorf("Do() = %v, want nil", err)
				}
			})
			synctest.Wait()
		}
		close(release)
		wg.Wait()
		stop()
		if len(owner.words) != 301 || owner.commits != 3 {
			t.Errorf("%d words in %d commits, want 301 in 3", len(owner.words), owner.commits)
		}
	})
}

func TestAnswers(t *testing.T) {
	refused, broken := errors.New("refused"), cardbroker.Errorf(cardbroker.Unavailable, "disk full")
	for _, c := range []struct {
		name    string
		apply   error
		failing error
		want    error
		words   []string
	}{
		{name: "committed", words: []string{"a"}},
		{name: "refused by the command", apply: refused, want: refused},
		{name: "commit failed", failing: broken, want: broken},
		{name: "refused, and commit failed", apply: refused, failing: broken, want: refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			owner := &list{failing: c.failing}
			l, stop := start(t, owner)
			err := l.Do(t.Context(), func(tx *tx) error {
				if c.apply == nil {
					tx.words = append(tx.words, "a")
				}
				return c.apply
			})
			stop()
			if err != c.want || !slices.Equal(owner.words, c.words) {
				t.Errorf("Do() = %v and words %q, want %v and %q", err, owner.words, c.want, c.words)
			}
		})
	}
}

func TestAskerLeavesAStalledCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		owner := &list{commit: func(context.Context) { time.Sleep(3 * time.Second) }}
		l, stop := start(t, owner)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		begin := time.Now()
		err := l.Do(ctx, say("a"))
		if cardbroker.ReasonOf(err) != cardbroker.Timeout || time.Since(begin) != 200*time.Millisecond {
			t.Errorf("Do() = %v after %s, want timeout after 200ms", err, time.Since(begin))
		}
		if err := l.Do(ctx, say("b")); cardbroker.ReasonOf(err) != cardbroker.Timeout {
			t.Errorf("Do() with an ended context = %v, want timeout", err)
		}
		time.Sleep(time.Minute)
		stop()
		if want := []string{"a"}; !slices.Equal(owner.words, want) { // what was applied stays, what never began does not
			t.Errorf("words = %q, want %q", owner.words, want)
		}
	})
}

func TestFullMailboxIsOverloaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		l, _ := start(t, &list{commit: func(context.Context) { <-release }})
		var wg sync.WaitGroup
		overloaded := make(chan error, 4096)
		for range 4096 {
			wg.Go(func() {
				if err := l.Do(t.Context(), say("x")); err != nil {
					overloaded <- err
				}
			})
		}
		synctest.Wait()
		refused := len(overloaded)
		if refused == 0 || refused > 2048 {
			t.Errorf("%d of 4096 refused at once, want 1 to 2048", refused)
		}
		close(release)
		wg.Wait()
		if len(overloaded) != refused {
			t.Errorf("%d refused later, want none", len(overloaded)-refused)
		}
		if err := <-overloaded; cardbroker.ReasonOf(err) != cardbroker.Overloaded {
			t.Errorf("Do() = %v, want overloaded", err)
		}
	})
}

// TestMustWaitsForRoom has a command come to a full mailbox: what an asker leaves behind, a lease for one, was lost then,
// and the reader busy for good.
func TestMustWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		owner := &list{commit: func(context.Context) { <-release }}
		l, stop := start(t, owner)
		var wg sync.WaitGroup
		for range 4096 {
			wg.Go(func() { l.Do(t.Context(), say("x")) })
		}
		synctest.Wait()
		wg.Go(func() {
			if err := l.Must(say("must")); err != nil {
				t.Errorf("Must() = %v, want nil", err)
			}
		})
		synctest.Wait()
		close(release)
		wg.Wait()
		stop()
		if !slices.Contains(owner.words, "must") {
			t.Error("Must() has returned, but its command was not applied")
		}
		if err := l.Must(say("late")); cardbroker.ReasonOf(err) != cardbroker.Unavailable {
			t.Errorf("Must() after the end = %v, want unavailable", err)
		}
	})
}

func TestEndedLoopIsUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		l, stop := start(t, &list{commit: func(context.Context) { <-release }})
		answers := make(chan error, 2)
		go func() { answers <- l.Do(t.Context(), say("in the last batch")) }()
		synctest.Wait()
		go func() { answers <- l.Do(t.Context(), say("never applied")) }()
		synctest.Wait()
		go stop()
		synctest.Wait()
		close(release)
		for range 2 {
			// The second may still be served: a loop that ends takes a waiting batch or not.
			if err := <-answers; err != nil && cardbroker.ReasonOf(err) != cardbroker.Unavailable {
				t.Errorf("Do() = %v, want nil or unavailable", err)
			}
		}
		stop()
		if err := l.Do(t.Context(), say("late")); cardbroker.ReasonOf(err) != cardbroker.Unavailable {
			t.Errorf("Do() after the end = %v, want unavailable", err)
		}
	})
}

func TestTickComesWhenDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		due := time.Now().Add(30 * time.Second)
		owner := &list{due: due}
		l, stop := start(t, owner)
		time.Sleep(10 * time.Second)
		if err := l.Do(t.Context(), say("sooner")); err != nil { // wakes the loop, but nothing is due
			t.Fatalf("Do() = %v, want nil", err)
		}
		time.Sleep(time.Hour)
		stop()
		if want := []time.Time{due}; !slices.EqualFunc(owner.ticks, want, time.Time.Equal) {
			t.Errorf("ticks at %v, want %v", owner.ticks, want)
		}
		if owner.commits != 2 {
			t.Errorf("%d commits, want 2: an idle loop does nothing", owner.commits)
		}
	})
}

func TestBusyLoopTicksToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		owner := &list{due: time.Now().Add(time.Second)}
		l, stop := start(t, owner)
		for range 30 {
			time.Sleep(100 * time.Millisecond)
			if err := l.Do(t.Context(), say("x")); err != nil {
				t.Fatalf("Do() = %v, want nil", err)
			}
		}
		stop()
		if len(owner.ticks) != 1 {
			t.Errorf("%d ticks, want 1", len(owner.ticks))
		}
	})
}
