// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cache_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"math/big"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/cache"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/token"
)

const day = 24 * time.Hour

// certificate returns one that is valid for so long from now on.
func certificate(t testing.TB, name string, life time.Duration) token.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(life)}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return token.Certificate{ID: []byte{1}, Label: name, DER: der, Key: &token.Key{Type: "ec", Bits: 256, Sign: true}}
}

// secret is alice's.
var secret = []byte("0123456789012345678901234567890123456789012")

// configOf is what alice's agent has its cache made of.
func configOf(dir string) cache.Config {
	return cache.Config{
		Dir: dir, Host: "5a1b0c2d3e4f5a1b0c2d3e4f5a1b0c2d", User: cardbroker.UserID{UID: 61001}, Secret: cardbroker.NewSecret(secret),
		Policy: config.Cache{Certificates: config.CacheDisk, Age: 30 * day}, Log: slog.New(slog.DiscardHandler),
	}
}

// start returns a cache that runs. stop ends it, as an agent's end does.
func start(t testing.TB, cfg cache.Config) (c *cache.Cache, stop func()) {
	t.Helper()
	c = cache.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run() = %v", err)
		}
	})
	t.Cleanup(stop)
	return c, stop
}

// card is a card, and counts what it is asked.
type card struct {
	atr            string
	number         string
	list           []token.Certificate
	serials, reads atomic.Int32
}

func (k *card) serial(context.Context) (string, error) {
	k.serials.Add(1)
	return k.number, nil
}

func (k *card) read(context.Context) ([]token.Certificate, error) {
	k.reads.Add(1)
	return k.list, nil
}

func newCard(t testing.TB, number string) *card {
	return &card{atr: "3B00", number: number, list: []token.Certificate{certificate(t, "of "+number, 365*day)}}
}

// get asks the cache for the card's certificates in a reader, and says how often the card was asked for its serial number and read.
func get(t testing.TB, c *cache.Cache, reader string, present *cardbroker.Card, k *card) (serials, reads int32) {
	t.Helper()
	s, r := k.serials.Load(), k.reads.Load()
	list, err := c.Certificates(t.Context(), cache.Key{Module: "opensc", Reader: reader, ATR: k.atr}, present, k.serial, k.read)
	if err != nil || len(list) != len(k.list) || list[0].Label != k.list[0].Label || string(list[0].DER) != string(k.list[0].DER) || list[0].Key.Bits != 256 {
		t.Errorf("Certificates() = %+v, %v, want those of card %s", list, err, k.number)
	}
	return k.serials.Load() - s, k.reads.Load() - r
}

// settle waits until the flights have landed: what was read is on disk.
func settle(t testing.TB, c *cache.Cache) {
	t.Helper()
	for c.Flying() > 0 {
		synctest.Wait()
	}
}

func want(t testing.TB, what string, serials, reads, wantSerials, wantReads int32) {
	t.Helper()
	if serials != wantSerials || reads != wantReads {
		t.Errorf("%s: asked %d times for the serial number and read %d times, want %d and %d", what, serials, reads, wantSerials, wantReads)
	}
}

// TestCard follows a card through insertions, readers and agents.
func TestCard(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c, stop := start(t, configOf(dir))
		alice, bob := newCard(t, "alice"), newCard(t, "bob")
		first := &cardbroker.Card{}
		s, r := get(t, c, "Reader 0", first, alice)
		want(t, "cold", s, r, 2, 1) // the serial number again, to see that it is still that card
		s, r = get(t, c, "Reader 0", first, alice)
		want(t, "the same insertion", s, r, 0, 0)
		settle(t, c)
		s, r = get(t, c, "Reader 0", &cardbroker.Card{}, alice)
		want(t, "put in again", s, r, 1, 0)
		s, r = get(t, c, "Reader 0", nil, alice)
		want(t, "an insertion that is not known", s, r, 1, 0)
		settle(t, c)
		stop()
		c, stop = start(t, configOf(dir))
		second := &cardbroker.Card{}
		s, r = get(t, c, "Reader 0", second, alice)
		want(t, "another agent", s, r, 1, 0)
		s, r = get(t, c, "Reader 0", second, alice)
		want(t, "the same insertion again", s, r, 0, 0)
		settle(t, c)
		s, r = get(t, c, "Reader 1", &cardbroker.Card{}, alice)
		want(t, "another reader", s, r, 1, 0)
		settle(t, c)
		s, r = get(t, c, "Reader 1", &cardbroker.Card{}, bob)
		want(t, "another card in the reader", s, r, 2, 1)
		settle(t, c)
		s, r = get(t, c, "Reader 1", &cardbroker.Card{}, alice)
		want(t, "the first one after another", s, r, 2, 1)
		settle(t, c)
		alice.atr = "3B01"
		s, r = get(t, c, "Reader 1", &cardbroker.Card{}, alice)
		want(t, "another ATR", s, r, 2, 1)
		settle(t, c)
		if got := c.Status(); got.Files != 1 || got.Memory != 2 || got.Mode != config.CacheDisk || got.Bytes == 0 {
			t.Errorf("Status() = %+v", got)
		}
		stop()
	})
}

// TestDrop: what we have written to a token is read anew, also by who has it in memory.
func TestDrop(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c, stop := start(t, configOf(dir))
		defer stop()
		alice, bob, present := newCard(t, "alice"), newCard(t, "bob"), &cardbroker.Card{}
		get(t, c, "Reader 0", present, alice)
		get(t, c, "Reader 1", present, bob)
		settle(t, c)
		if err := c.Drop("opensc", "Reader 0"); err != nil {
			t.Fatal(err)
		}
		s, r := get(t, c, "Reader 0", present, alice)
		want(t, "after Drop", s, r, 2, 1)
		s, r = get(t, c, "Reader 1", present, bob)
		want(t, "another reader after Drop", s, r, 0, 0)
		settle(t, c)
		if err := c.DropAll(); err != nil {
			t.Fatal(err)
		}
		if got := c.Status(); got.Files != 0 || got.Memory != 0 {
			t.Errorf("after DropAll the status is %+v", got)
		}
		s, r = get(t, c, "Reader 1", nil, bob)
		want(t, "after DropAll", s, r, 2, 1)
	})
}

// TestDropWhileReading: a list that was read before a key was written is given to who asked before, and not kept.
func TestDropWhileReading(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c, stop := start(t, configOf(dir))
		defer stop()
		alice, present := newCard(t, "alice"), &cardbroker.Card{}
		key := cache.Key{Module: "opensc", Reader: "Reader 0", ATR: alice.atr}
		go c.Certificates(t.Context(), key, present, alice.serial, func(ctx context.Context) ([]token.Certificate, error) {
			return alice.list, c.Drop("opensc", "Reader 0")
		})
		synctest.Wait()
		if got := c.Status(); got.Files != 0 || got.Memory != 0 {
			t.Errorf("the status is %+v", got)
		}
		s, r := get(t, c, "Reader 0", present, alice)
		want(t, "after it", s, r, 2, 1)
	})
}

// TestAge has lists end: with their age, and when a certificate comes into its last days, a day at a time then.
func TestAge(t *testing.T) {
	for _, tt := range []struct {
		name  string
		life  time.Duration
		until time.Duration
	}{
		{"the age", 365 * day, 30 * day},
		{"the last 30 days", 40 * day, 10 * day},
		{"a day of them", 20 * day, day},
		{"the end", 12 * time.Hour, 12 * time.Hour},
		{"after the end", -time.Minute, 30 * day}, // nothing changes any more
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				c, stop := start(t, configOf(dir))
				alice, present := newCard(t, "alice"), &cardbroker.Card{}
				alice.list[0] = certificate(t, "x", tt.life)
				get(t, c, "Reader 0", present, alice)
				time.Sleep(tt.until - 2*time.Second) // a certificate has whole seconds
				s, r := get(t, c, "Reader 0", present, alice)
				want(t, "before", s, r, 0, 0)
				s, r = get(t, c, "Reader 0", &cardbroker.Card{}, alice)
				want(t, "put in again before", s, r, 1, 0)
				time.Sleep(2 * time.Second)
				s, r = get(t, c, "Reader 0", present, alice)
				want(t, "after", s, r, 2, 1)
				stop()
			})
		})
	}
}

// TestSwapped: a card that is swapped while it is read is not mistaken for the other one, now or later.
func TestSwapped(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c, stop := start(t, configOf(dir))
		defer stop()
		alice, bob := newCard(t, "alice"), newCard(t, "bob")
		var inside atomic.Pointer[card]
		inside.Store(alice)
		key := cache.Key{Module: "opensc", Reader: "Reader 0", ATR: alice.atr}
		_, err := c.Certificates(t.Context(), key, &cardbroker.Card{},
			func(ctx context.Context) (string, error) { return inside.Load().serial(ctx) },
			func(ctx context.Context) ([]token.Certificate, error) {
				inside.Store(bob)
				return bob.read(ctx)
			})
		if cardbroker.ReasonOf(err) != cardbroker.CardRemoved {
			t.Errorf("Certificates() = %v, want card_removed", err)
		}
		s, r := get(t, c, "Reader 0", &cardbroker.Card{}, alice)
		want(t, "alice's card afterwards", s, r, 2, 1)
	})
}

// TestNoSerial: a token without a serial number is kept for the insertion only.
func TestNoSerial(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c, stop := start(t, configOf(dir))
		defer stop()
		k, present := newCard(t, ""), &cardbroker.Card{}
		get(t, c, "Reader 0", present, k)
		s, r := get(t, c, "Reader 0", present, k)
		want(t, "the same insertion", s, r, 0, 0)
		s, r = get(t, c, "Reader 0", &cardbroker.Card{}, k)
		want(t, "put in again", s, r, 2, 1)
	})
}

// TestShared has many ask at once: the card is read once, and who leaves takes nothing along.
func TestShared(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c, stop := start(t, configOf(dir))
		defer stop()
		alice, present := newCard(t, "alice"), &cardbroker.Card{}
		key := cache.Key{Module: "opensc", Reader: "Reader 0", ATR: alice.atr}
		go_on, ended := make(chan struct{}), make(chan error, 1)
		slow := func(ctx context.Context) ([]token.Certificate, error) {
			select {
			case <-go_on:
				return alice.read(ctx)
			case <-ctx.Done():
				ended <- ctx.Err()
				return nil, ctx.Err()
			}
		}
		ask := func(ctx context.Context) chan error {
			said := make(chan error, 1)
			go func() {
				list, err := c.Certificates(ctx, key, present, alice.serial, slow)
				if err == nil && len(list) != 1 {
					err = errors.New("another list")
				}
				said <- err
			}()
			synctest.Wait()
			return said
		}
		leaver, leave := context.WithCancel(t.Context())
		first := ask(leaver)
		var others []chan error
		for range 30 {
			others = append(others, ask(t.Context()))
		}
		leave()
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("who has left is told %v", err)
		}
		close(go_on)
		for _, said := range others {
			if err := <-said; err != nil {
				t.Errorf("who has waited is told %v", err)
			}
		}
		if n := alice.reads.Load(); n != 1 {
			t.Errorf("the card was read %d times", n)
		}
		settle(t, c)
		go_on = make(chan struct{})
		c.DropAll()
		leaver, leave = context.WithTimeout(t.Context(), time.Second)
		defer leave()
		if err := <-ask(leaver); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who is past his deadline is told %v", err)
		}
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("when all have left the read ends with %v", err)
		}
		s, r := get(t, c, "Reader 0", present, alice)
		want(t, "who comes then", s, r, 2, 1)
	})
}

// TestBounded has more readers asked than a session has.
func TestBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := configOf("")
		cfg.Policy.Certificates = config.CacheMemory
		c, stop := start(t, cfg)
		defer stop()
		k, hang := newCard(t, "alice"), make(chan struct{})
		refused := make(chan error, 20)
		for i := range 20 {
			go func() {
				_, err := c.Certificates(t.Context(), cache.Key{Reader: string(rune('a' + i))}, nil, k.serial, func(ctx context.Context) ([]token.Certificate, error) {
					<-hang
					return k.list, nil
				})
				refused <- err
			}()
		}
		synctest.Wait()
		for range 4 {
			if err := <-refused; cardbroker.ReasonOf(err) != cardbroker.Overloaded {
				t.Errorf("one too many is told %v, want overloaded", err)
			}
		}
		close(hang)
		synctest.Wait()
		for i := range 200 {
			get(t, c, string(rune('a'+i)), &cardbroker.Card{}, k)
		}
		if got := c.Status(); got.Memory > 64 {
			t.Errorf("Status() = %+v", got)
		}
	})
}

// TestErrors: what fails is told, and not kept.
func TestErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, stop := start(t, configOf(t.TempDir()))
		k, present, absent := newCard(t, "alice"), &cardbroker.Card{}, cardbroker.Errorf(cardbroker.CardAbsent, "no card")
		key := cache.Key{Module: "opensc", Reader: "Reader 0", ATR: k.atr}
		_, err := c.Certificates(t.Context(), key, present, func(context.Context) (string, error) { return "", absent }, k.read)
		if !errors.Is(err, absent) {
			t.Errorf("without a card: %v", err)
		}
		_, err = c.Certificates(t.Context(), key, present, k.serial, func(context.Context) ([]token.Certificate, error) { return nil, absent })
		if !errors.Is(err, absent) {
			t.Errorf("without a card when it is read: %v", err)
		}
		s, r := get(t, c, "Reader 0", present, k)
		want(t, "afterwards", s, r, 2, 1)
		stop()
		if _, err = c.Certificates(t.Context(), key, nil, k.serial, k.read); cardbroker.ReasonOf(err) != cardbroker.Unavailable {
			t.Errorf("after its end: %v, want unavailable", err)
		}
	})
}

// TestPolicy has what policy may say.
func TestPolicy(t *testing.T) {
	for mode, n := range map[config.CacheMode]struct{ same, again int32 }{config.CacheOff: {1, 1}, config.CacheMemory: {0, 1}, config.CacheDisk: {0, 0}, "": {1, 1}} {
		t.Run("mode "+string(mode), func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				before, stop := start(t, configOf(dir))
				get(t, before, "Reader 0", nil, newCard(t, "bob"))
				settle(t, before)
				stop()
				cfg := configOf(dir)
				cfg.Policy.Certificates = mode
				var seen atomic.Int32
				cfg.Seen = func([]token.Certificate) { seen.Add(1) }
				c, stop := start(t, cfg)
				defer stop()
				alice, present := newCard(t, "alice"), &cardbroker.Card{}
				get(t, c, "Reader 1", present, alice)
				if _, r := get(t, c, "Reader 1", present, alice); r != n.same {
					t.Errorf("the same insertion is read %d times, want %d", r, n.same)
				}
				settle(t, c)
				if _, r := get(t, c, "Reader 1", &cardbroker.Card{}, alice); r != n.again {
					t.Errorf("what is put in again is read %d times, want %d", r, n.again)
				}
				settle(t, c)
				if got, want := seen.Load(), 2+n.same; got != want {
					t.Errorf("%d lists were seen, want %d", got, want)
				}
				files := 0
				if mode == config.CacheDisk {
					files = 2
				}
				if got := countFiles(t, dir); got != files {
					t.Errorf("%d files are there, want %d", got, files)
				}
			})
		})
	}
}
