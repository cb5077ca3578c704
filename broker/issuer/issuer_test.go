// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package issuer_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/broker/issuer"
)

// TestStory: enrol, exchange, use, rotate, revoke, as docs/tokens.md tells it, across restarts.
func TestStory(t *testing.T) {
	s := newSite(t, issuer.Config{})
	key, secret := s.enrol("shop")
	if !strings.HasPrefix(key.ID, "shop/") || !strings.HasPrefix(string(secret.Reveal()), "cbk1.") {
		t.Errorf("Enrol = %s", key.ID)
	}
	s.restart()
	token := s.exchange(secret)
	s.wantTenant("after a restart", token, "shop")
	claims := payload(t, token)
	for name, want := range map[string]any{"iss": door, "aud": door, "sub": "shop"} {
		got := claims[name]
		if list, ok := got.([]any); ok && len(list) == 1 {
			got = list[0]
		}
		if got != want {
			t.Errorf("the token's %s is %v, want %v", name, got, want)
		}
	}
	if life := claims["exp"].(float64) - claims["iat"].(float64); life != 300 || claims["nbf"] != claims["iat"] || claims["jti"] == "" {
		t.Errorf("the token says %v", claims)
	}

	s.rotate()
	s.restart()
	s.wantTenant("a token of the key before", token, "shop")
	ids, err := s.Revoke(t.Context(), "shop")
	if err != nil || !slices.Equal(ids, []string{key.ID}) {
		t.Errorf("Revoke = %v, %v, want %s", ids, err, key.ID)
	}
	for range 2 {
		s.wantRefused("a token of a revoked key", token, cardbroker.RuleToken)
		if _, err := s.Exchange(secret, anywhere); cardbroker.RuleOf(err) != cardbroker.RuleToken {
			t.Errorf("Exchange of a revoked key = %v", err)
		}
		s.restart()
	}
	if keys := s.APIKeys(); len(keys) != 0 {
		t.Errorf("Keys = %v, want none", keys)
	}
}

// TestRotation: a key is published for a minute before it signs, and until the last token that it signed is over.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, issuer.Config{Life: 15 * time.Minute})
		defer s.stop()
		_, secret := s.enrol("shop")
		published := func() []string {
			text, keep := s.JWKS()
			if keep > time.Minute {
				t.Errorf("the set may be kept for %v, longer than a key is published before it signs", keep)
			}
			var set struct{ Keys []struct{ Kid string } }
			if err := json.Unmarshal(text, &set); err != nil {
				t.Fatal(err)
			}
			var kids []string
			for _, key := range set.Keys {
				kids = append(kids, key.Kid)
			}
			return kids
		}
		before := published()
		first := s.exchange(secret)
		rotated := s.rotate()
		if !slices.Contains(before, rotated.ID) {
			t.Error("the next key was not published before")
		}
		if _, err := s.Rotate(t.Context()); cardbroker.ReasonOf(err) != cardbroker.Conflict {
			t.Errorf("Rotate during a rotation = %v, want conflict", err)
		}
		if got := kid(t, s.exchange(secret)); got != before[0] {
			t.Error("the next key signs before it was published for a minute")
		}
		time.Sleep(59 * time.Second)
		last := s.exchange(secret)
		time.Sleep(time.Second)
		if got := kid(t, s.exchange(secret)); got != rotated.ID || kid(t, last) != before[0] {
			t.Error("the next key does not sign when its time has come")
		}
		time.Sleep(15*time.Minute - 2*time.Second)
		s.wantTenant("the last token of the key before", last, "shop")
		s.wantRefused("the first token of the key before", first, cardbroker.RuleTokenTime)
		if !slices.Contains(published(), before[0]) {
			t.Error("a key is not published any more while its last token is good")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if slices.Contains(published(), before[0]) || len(published()) != 2 {
			t.Errorf("published are %v, want the two that are needed", published())
		}
		s.wantRefused("a token of a key that is forgotten", last, cardbroker.RuleToken)
		if again := s.rotate(); !again.From.Equal(time.Now()) {
			t.Errorf("a key that was published for long signs from %v, want now", again.From)
		}
	})
}

// TestRotationByAge: a key signs for thirty days, however seldom the broker lives that long.
func TestRotationByAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, issuer.Config{})
		defer s.stop()
		_, secret := s.enrol("shop")
		was := kid(t, s.exchange(secret))
		time.Sleep(29 * 24 * time.Hour)
		s.restart()
		if kid(t, s.exchange(secret)) != was {
			t.Error("the key was replaced too early")
		}
		time.Sleep(25 * time.Hour)
		if kid(t, s.exchange(secret)) == was {
			t.Error("the key was not replaced by a broker that runs")
		}
		was = kid(t, s.exchange(secret))
		s.stop()
		time.Sleep(40 * 24 * time.Hour)
		s.start()
		synctest.Wait()
		if kid(t, s.exchange(secret)) == was {
			t.Error("the key was not replaced at the start")
		}
	})
}

// TestDiscard: when others know the keys, every token is void at once.
func TestDiscard(t *testing.T) {
	s := newSite(t, issuer.Config{})
	_, secret := s.enrol("shop")
	token := s.exchange(secret)
	was := s.SigningKeys()
	if _, err := s.Discard(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.wantRefused("a token of a discarded key", token, cardbroker.RuleToken)
	s.wantTenant("a new one", s.exchange(secret), "shop")
	for _, key := range s.SigningKeys() {
		if slices.ContainsFunc(was, func(k issuer.SigningKey) bool { return k.ID == key.ID }) {
			t.Errorf("the key %s is still there", key.ID)
		}
	}
	s.restart()
	s.wantRefused("after a restart", token, cardbroker.RuleToken)
}

// TestClock: a clock that is wrong for a while leaves nothing broken behind.
func TestClock(t *testing.T) {
	for name, off := range map[string]time.Duration{"ahead by years": 3 * 365 * 24 * time.Hour, "ahead by an hour": time.Hour} {
		t.Run("that was "+name, func(t *testing.T) {
			dir := t.TempDir()
			var token string
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(off)
				s := &site{t: t, dir: dir, cfg: issuer.Config{URL: door}}
				s.start()
				defer s.stop()
				_, secret := s.enrol("shop")
				s.rotate()
				token = s.exchange(secret)
				os.WriteFile(filepath.Join(dir, "secret"), secret.Reveal(), 0o600)
			})
			text, err := os.ReadFile(filepath.Join(dir, "secret"))
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) { // each bubble begins in 2000
				s := &site{t: t, dir: dir, cfg: issuer.Config{URL: door}}
				s.start()
				defer s.stop()
				_, err := s.authenticate(token)
				if cardbroker.RuleOf(err) != cardbroker.RuleTokenTime || !strings.Contains(err.Error(), "ahead of this host's clock") {
					t.Errorf("Authenticate of a token from the future = %v, want how far ahead it is", err)
				}
				synctest.Wait()
				s.wantTenant("a token of now", s.exchange(cardbroker.NewSecret(text)), "shop")
				keys := s.SigningKeys()
				if from := keys[len(keys)-2].From; from.After(time.Now().Add(time.Minute)) {
					t.Errorf("the next key signs from %v, long after now", from)
				}
				time.Sleep(20 * time.Minute)
				synctest.Wait()
				if n := len(s.SigningKeys()); n != 2 {
					t.Errorf("%d signing keys are left, want 2", n)
				}
			})
		})
	}
}

// TestStoreFails: what cannot be stored is not acknowledged; a revocation is in force nevertheless, and stored later.
func TestStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, issuer.Config{})
		defer s.stop()
		_, secret := s.enrol("shop")
		token := s.exchange(secret)
		s.fails.Store(true)
		if _, _, err := s.Enrol(t.Context(), "other"); cardbroker.ReasonOf(err) != cardbroker.Unavailable {
			t.Errorf("Enrol = %v, want unavailable", err)
		}
		if keys := s.APIKeys(); len(keys) != 1 {
			t.Errorf("Keys = %v: one is seen that was not stored", keys)
		}
		if _, err := s.Revoke(t.Context(), "shop"); cardbroker.ReasonOf(err) != cardbroker.Unavailable {
			t.Errorf("Revoke = %v, want unavailable", err)
		}
		s.wantRefused("a token whose key was revoked on a full disk", token, cardbroker.RuleToken)
		if _, err := s.Exchange(secret, anywhere); cardbroker.RuleOf(err) != cardbroker.RuleToken {
			t.Errorf("Exchange of a key that was revoked on a full disk = %v", err)
		}
		time.Sleep(10 * time.Minute)
		s.wantRefused("the disk is full for long", token, cardbroker.RuleTokenTime)
		s.fails.Store(false)
		time.Sleep(time.Minute)
		synctest.Wait()
		s.restart()
		if keys := s.APIKeys(); len(keys) != 0 {
			t.Errorf("Keys = %v: the revocation was not stored when it could be", keys)
		}
	})
}
