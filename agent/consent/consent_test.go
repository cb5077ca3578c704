// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package consent_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/consent"
	"github.com/cardbroker/cardbroker/internal/config"
)

const (
	shop = cardbroker.Origin("https://shop.example")
	evil = cardbroker.Origin("https://evil.example")
	day  = 24 * time.Hour
)

// asked is a user: he answers what he is asked as he is told to, and remembers how often he was.
type asked struct {
	mu      sync.Mutex
	seen    []consent.Question
	open    int
	answers chan bool // nil: he never answers
	fail    error
}

func (a *asked) AskConsent(ctx context.Context, q consent.Question) (bool, error) {
	a.mu.Lock()
	a.seen = append(a.seen, q)
	a.open++
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		a.open--
		a.mu.Unlock()
	}()
	if a.fail != nil {
		return false, a.fail
	}
	select {
	case yes := <-a.answers:
		return yes, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

func (a *asked) count() (seen, open int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.seen), a.open
}

// events are what was recorded.
type events struct {
	mu   sync.Mutex
	list []cardbroker.Event
}

func (e *events) record(event cardbroker.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, event)
}

func (e *events) names() (names []cardbroker.EventName) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, event := range e.list {
		names = append(names, event.Name)
	}
	return names
}

// book runs the book of one session until the test ends, or stop.
type book struct {
	*consent.Book
	events events
	stop   func()
}

// newBook begins a session; in a bubble, the test stops it.
func newBook(t testing.TB, dir string, prompter consent.Prompter, policy config.Consent) *book {
	t.Helper()
	return startBook(t, dir, prompter, policy, func(*consent.Book) {})
}

func startBook(t testing.TB, dir string, prompter consent.Prompter, policy config.Consent, prepare func(*consent.Book)) *book {
	t.Helper()
	b := &book{}
	b.Book = consent.New(consent.Config{
		Dir: dir, Session: "one", Policy: policy, Prompter: prompter, DeviceKey: func() string { return "thumb" }, Record: b.events.record,
		Log: slog.New(slog.DiscardHandler),
	})
	prepare(b.Book)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	b.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	t.Cleanup(b.stop)
	return b
}

func want(t *testing.T, what string, err error, reason cardbroker.Reason) {
	t.Helper()
	if got := cardbroker.ReasonOf(err); got != reason {
		t.Errorf("%s: %v, want %q", what, err, reason)
	}
}

// TestGrant: what the user has said yes to counts, for as long as policy lets it, and survives the agent.
func TestGrant(t *testing.T) {
	dir := t.TempDir()
	b := newBook(t, dir, nil, config.Consent{})
	if b.Consented(shop) || b.While(shop).Err() == nil {
		t.Error("nobody was asked, and it is consented to")
	}
	c, err := b.Grant(t.Context(), consent.Question{Origin: shop, Days: 365})
	want(t, "Grant", err, "")
	if c.Expires.Sub(c.Granted) != 30*day || c.By != cardbroker.ConsentByUser || c.Session != "one" || c.DeviceKeyThumbprint != "thumb" {
		t.Errorf("the consent is %+v", c)
	}
	if !b.Consented(shop) || b.Consented(evil) || b.Consented(shop+":8443") || b.While(shop).Err() != nil {
		t.Error("the consent does not count, or for others")
	}
	b.stop()
	again := newBook(t, dir, nil, config.Consent{})
	if list := again.List(); len(list) != 1 || list[0] != c {
		t.Errorf("the list is %+v, want %+v", list, c)
	}
	again.stop()
	strict := newBook(t, dir, nil, config.Consent{Days: 1})
	if got, _ := strict.Current(shop); got.Expires.Sub(got.Granted) != day {
		t.Errorf("with a stricter policy it is %+v", got)
	}
}

// TestPolicy: deny beats allow, and both beat the user.
func TestPolicy(t *testing.T) {
	dir := t.TempDir()
	before := newBook(t, dir, nil, config.Consent{})
	_, err := before.Grant(t.Context(), consent.Question{Origin: evil})
	want(t, "Grant", err, "")
	before.stop()
	user := &asked{answers: make(chan bool)}
	b := newBook(t, dir, user, config.Consent{
		Allow: []cardbroker.OriginPattern{"https://*.example"}, Deny: []cardbroker.OriginPattern{"https://evil.example"},
	})
	if !b.Consented(shop) || b.Consented(evil) || len(b.List()) != 0 {
		t.Error("policy does not beat the user")
	}
	_, err = b.Ask(t.Context(), consent.Question{Origin: evil})
	want(t, "Ask for what is denied", err, cardbroker.Forbidden)
	_, err = b.Grant(t.Context(), consent.Question{Origin: evil})
	want(t, "Grant of what is denied", err, cardbroker.Forbidden)
	want(t, "Revoke of what is allowed", b.Revoke(t.Context(), shop), cardbroker.Forbidden)
	c, err := b.Ask(t.Context(), consent.Question{Origin: shop})
	want(t, "Ask for what is allowed", err, "")
	if seen, _ := user.count(); c.By != cardbroker.ConsentByPolicy || seen != 0 {
		t.Errorf("the consent is %+v after %d questions", c, seen)
	}
}

// TestOnePrompt: however many requests wait, and however often a page repeats them, the user is asked once.
func TestOnePrompt(t *testing.T) {
	user := &asked{answers: make(chan bool)}
	b := newBook(t, t.TempDir(), user, config.Consent{})
	const parallel = 100
	errs := make(chan error, parallel)
	for range parallel {
		go func() {
			c, err := b.Ask(context.Background(), consent.Question{Origin: shop, Days: 3})
			if err == nil && c.Expires.Sub(c.Granted) != 3*day {
				t.Errorf("the consent is %+v", c)
			}
			errs <- err
		}()
	}
	user.answers <- true
	for range parallel {
		want(t, "Ask", <-errs, "")
	}
	for range 3 {
		_, err := b.Ask(t.Context(), consent.Question{Origin: shop})
		want(t, "Ask again", err, "")
	}
	if seen, open := user.count(); seen != 1 || open != 0 || user.seen[0].Days != 3 {
		t.Errorf("the user was asked %d times, %d prompts are open: %+v", seen, open, user.seen)
	}
	if names := b.events.names(); len(names) != 1 || names[0] != cardbroker.EventConsentGranted {
		t.Errorf("recorded %q", names)
	}
}

// bubble runs a test whose time is not real; the books in it are stopped inside.
func bubble(t *testing.T, user consent.Prompter, f func(t *testing.T, b *book)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b := startBook(t, dir, user, config.Consent{}, (*consent.Book).WatchNothing)
		defer b.stop()
		f(t, b)
	})
}

// TestRefusalHolds: a no counts for a minute, in which nobody is asked; then he is asked again.
func TestRefusalHolds(t *testing.T) {
	user := &asked{}
	bubble(t, user, func(t *testing.T, b *book) {
		user.answers = make(chan bool, 1)
		ask := func() error {
			_, err := b.Ask(t.Context(), consent.Question{Origin: shop})
			return err
		}
		user.answers <- false
		want(t, "a no", ask(), cardbroker.ConsentRequired)
		start := time.Now()
		for range 3 { // as clients repeat it
			want(t, "after a no", ask(), cardbroker.ConsentRequired)
		}
		time.Sleep(59 * time.Second)
		want(t, "59 s after a no", ask(), cardbroker.ConsentRequired)
		if seen, _ := user.count(); seen != 1 || time.Since(start) != 59*time.Second {
			t.Errorf("the user was asked %d times in %v", seen, time.Since(start))
		}
		time.Sleep(time.Second)
		user.answers <- true
		want(t, "60 s after a no", ask(), "")
	})
}

// TestTimeout: no answer for a minute is a no, for all who wait, whenever they came; and closes the prompt.
func TestTimeout(t *testing.T) {
	user := &asked{}
	bubble(t, user, func(t *testing.T, b *book) {
		start := time.Now()
		errs := make(chan error, 2)
		ask := func() {
			_, err := b.Ask(context.Background(), consent.Question{Origin: shop})
			errs <- err
		}
		go ask()
		time.Sleep(50 * time.Second)
		go ask()
		for range 2 {
			want(t, "no answer", <-errs, cardbroker.ConsentRequired)
		}
		synctest.Wait()
		seen, open := user.count()
		if seen != 1 || open != 0 || time.Since(start) != consent.AskTimeout {
			t.Errorf("%d prompts, %d still open, after %v", seen, open, time.Since(start))
		}
		_, err := b.Ask(t.Context(), consent.Question{Origin: shop})
		want(t, "a repeat", err, cardbroker.ConsentRequired)
	})
}

// TestLastAskerLeaves: the prompt closes with the last who asks, not before; and a page that asks and leaves for ever has not
// windows open for ever.
func TestLastAskerLeaves(t *testing.T) {
	user := &asked{}
	bubble(t, user, func(t *testing.T, b *book) {
		first, leave := context.WithCancel(context.Background())
		second, leaveToo := context.WithCancel(context.Background())
		errs := make(chan error, 2)
		for _, ctx := range []context.Context{first, second} {
			go func() {
				_, err := b.Ask(ctx, consent.Question{Origin: shop})
				errs <- err
			}()
		}
		synctest.Wait()
		leave()
		want(t, "who leaves", <-errs, cardbroker.Canceled)
		synctest.Wait()
		if _, open := user.count(); open != 1 || len(b.Waiting()) != 1 {
			t.Errorf("%d prompts are open for who is left", open)
		}
		leaveToo()
		want(t, "the last", <-errs, cardbroker.Canceled)
		synctest.Wait()
		if _, open := user.count(); open != 0 || len(b.Waiting()) != 0 {
			t.Errorf("%d prompts are open for nobody", open)
		}
		for range 10 {
			ctx, leave := context.WithTimeout(context.Background(), time.Second)
			b.Ask(ctx, consent.Question{Origin: shop})
			leave()
		}
		if seen, _ := user.count(); seen != 3 {
			t.Errorf("%d windows were opened by who never waits", seen)
		}
	})
}

// TestManyOrigins: one prompt at a time, so many origins at most, and after three refusals in a row a pause: whoever has a
// domain has origins without end.
func TestManyOrigins(t *testing.T) {
	user := &asked{}
	bubble(t, user, func(t *testing.T, b *book) {
		user.answers = make(chan bool)
		errs := make(chan error, 32)
		for i := range 9 {
			go func() {
				_, err := b.Ask(context.Background(), consent.Question{Origin: cardbroker.Origin("https://" + string(rune('a'+i)) + ".evil.example")})
				errs <- err
			}()
		}
		want(t, "one too many", <-errs, cardbroker.Overloaded)
		synctest.Wait()
		if seen, open := user.count(); seen != 1 || open != 1 || len(b.Waiting()) != 8 {
			t.Errorf("%d prompts, %d open, %d wait", seen, open, len(b.Waiting()))
		}
		for range 3 {
			user.answers <- false
			want(t, "a no", <-errs, cardbroker.ConsentRequired)
			synctest.Wait()
		}
		_, err := b.Ask(t.Context(), consent.Question{Origin: shop})
		want(t, "after three", err, cardbroker.ConsentRequired)
		for range 5 {
			want(t, "who waits", <-errs, cardbroker.ConsentRequired)
		}
		if seen, open := user.count(); seen != 3 || open != 0 {
			t.Errorf("%d prompts, %d open, after three in a row", seen, open)
		}
		time.Sleep(time.Minute)
		go func() { user.answers <- true }()
		_, err = b.Ask(t.Context(), consent.Question{Origin: shop})
		want(t, "after a minute", err, "")
	})
}

// TestAnsweredElsewhere: the agent's page and the command line answer an open question, and its prompt closes; also where
// there is no prompt, or it fails.
func TestAnsweredElsewhere(t *testing.T) {
	for name, user := range map[string]*asked{"prompt": {}, "failing": {fail: cardbroker.Errorf(cardbroker.Unavailable, "no display")}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, user, func(t *testing.T, b *book) {
				errs := make(chan error, 1)
				ask := func(o cardbroker.Origin) {
					_, err := b.Ask(context.Background(), consent.Question{Origin: o})
					errs <- err
				}
				go ask(shop)
				synctest.Wait()
				if w := b.Waiting(); len(w) != 1 || w[0].Origin != shop || w[0].Days != 30 {
					t.Errorf("waiting: %+v", w)
				}
				_, err := b.Grant(t.Context(), consent.Question{Origin: shop})
				want(t, "Grant", err, "")
				want(t, "Ask", <-errs, "")
				go ask(evil)
				synctest.Wait()
				want(t, "Refuse", b.Refuse(t.Context(), evil), "")
				want(t, "Ask", <-errs, cardbroker.ConsentRequired)
				synctest.Wait()
				if _, open := user.count(); open != 0 {
					t.Errorf("%d prompts are open", open)
				}
				want(t, "Refuse of what is granted", b.Refuse(t.Context(), shop), "")
				if b.Consented(shop) {
					t.Error("what was refused is consented to")
				}
			})
		})
	}
}

// TestRevokeAndExpire: what hangs on a consent ends with it.
func TestRevokeAndExpire(t *testing.T) {
	bubble(t, nil, func(t *testing.T, b *book) {
		_, err := b.Grant(t.Context(), consent.Question{Origin: shop, Days: 1})
		want(t, "Grant", err, "")
		during := b.While(shop)
		want(t, "Revoke", b.Revoke(t.Context(), shop), "")
		if during.Err() == nil || b.Consented(shop) {
			t.Error("a revoked consent counts")
		}
		want(t, "Revoke again", b.Revoke(t.Context(), shop), cardbroker.ObjectUnknown)
		_, err = b.Grant(t.Context(), consent.Question{Origin: shop, Days: 1})
		want(t, "Grant", err, "")
		during = b.While(shop)
		time.Sleep(day - time.Second)
		if during.Err() != nil || !b.Consented(shop) {
			t.Error("a consent ends early")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if during.Err() == nil || b.Consented(shop) || len(b.List()) != 0 {
			t.Error("an expired consent counts")
		}
		_, err = b.Ask(t.Context(), consent.Question{Origin: evil})
		want(t, "without a prompt", err, cardbroker.ConsentRequired)
	})
}
