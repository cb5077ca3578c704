// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package issuer_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
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

// TestKeyFileFails: without its file no key signs that was not stored.
func TestKeyFileFails(t *testing.T) {
	s := newSite(t, issuer.Config{})
	_, secret := s.enrol("shop")
	before := s.SigningKeys()
	aside := s.dir + ".aside"
	if err := os.Rename(s.dir, aside); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Rotate(t.Context()); cardbroker.ReasonOf(err) != cardbroker.Unavailable {
		t.Errorf("Rotate = %v, want unavailable", err)
	}
	if now := s.SigningKeys(); !slices.Equal(now, before) {
		t.Errorf("the signing keys are %v, want %v", now, before)
	}
	s.wantTenant("meanwhile", s.exchange(secret), "shop")
	if err := os.Rename(aside, s.dir); err != nil {
		t.Fatal(err)
	}
	s.rotate()
}

// TestKeyFile: one that others can read, or that makes no sense, is refused by name and without a word of it.
func TestKeyFile(t *testing.T) {
	for _, test := range []struct {
		name   string
		attack func(path string) error
		reason cardbroker.Reason
		want   string
	}{
		{"the group can read it", func(p string) error { return os.Chmod(p, 0o640) }, cardbroker.Invalid, "mode 0640"},
		{"all can read it", func(p string) error { return os.Chmod(p, 0o604) }, cardbroker.Invalid, "mode 0604"},
		{"a directory", func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o700)) }, cardbroker.Invalid, "no regular file"},
		{"cut off", func(p string) error { return os.Truncate(p, 300) }, cardbroker.Internal, "damaged"},
		{"empty", func(p string) error { return os.Truncate(p, 0) }, cardbroker.Internal, "damaged"},
		{"one key", func(p string) error {
			return rewrite(p, func(keys []map[string]any) []map[string]any { return keys[:1] })
		}, cardbroker.Internal, "damaged"},
		{"no key that signs", func(p string) error {
			return rewrite(p, func(keys []map[string]any) []map[string]any { delete(keys[0], "from"); return keys })
		}, cardbroker.Internal, "damaged"},
		{"the end of a key that is needed", func(p string) error {
			return rewrite(p, func(keys []map[string]any) []map[string]any { keys[1]["end"] = "2001-01-01T00:00:00Z"; return keys })
		}, cardbroker.Internal, "damaged"},
		{"no key at all", func(p string) error {
			return rewrite(p, func(keys []map[string]any) []map[string]any { keys[1]["key"] = "Y2FuYXJ5"; return keys })
		}, cardbroker.Internal, "damaged"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t, issuer.Config{})
			if info, err := os.Stat(s.keyFile()); err != nil || info.Mode() != 0o600 {
				t.Fatalf("the file of the keys: %v, %v, want mode 0600", info, err)
			}
			s.stop()
			text, err := os.ReadFile(s.keyFile())
			if err != nil {
				t.Fatal(err)
			}
			if err := test.attack(s.keyFile()); err != nil {
				t.Fatal(err)
			}
			err = s.open()
			if cardbroker.ReasonOf(err) != test.reason || !strings.Contains(fmt.Sprint(err), test.want) || !strings.Contains(fmt.Sprint(err), s.keyFile()) {
				t.Errorf("New = %v, want %s: %s", err, test.reason, test.want)
			}
			var keys []struct{ Key string }
			json.Unmarshal(text, &keys)
			for _, key := range keys {
				if strings.Contains(fmt.Sprint(err), key.Key[60:90]) || strings.Contains(fmt.Sprint(err), "canary") {
					t.Error("the error holds a part of a key")
				}
			}
		})
	}
}

func rewrite(path string, change func([]map[string]any) []map[string]any) error {
	text, err := os.ReadFile(path)
	var keys []map[string]any
	if err := errors.Join(err, json.Unmarshal(text, &keys)); err != nil {
		return err
	}
	text, err = json.Marshal(change(keys))
	return errors.Join(err, os.WriteFile(path, text, 0o600))
}

// TestNothingShows: neither a key nor a token is in the store, the log or anything that is printed; the signing keys are in their
// file alone.
func TestNothingShows(t *testing.T) {
	s := newSite(t, issuer.Config{})
	key, secret := s.enrol("shop")
	token, err := s.Exchange(secret, anywhere)
	if err != nil {
		t.Fatal(err)
	}
	s.fails.Store(true)
	s.Enrol(t.Context(), "other")
	s.fails.Store(false)
	s.rotate()
	said := fmt.Sprintf("%v %+v %#v %v %+v %+v %+v", key, token, token, s.SigningKeys(), s.Issuer, *s.Issuer, secret)
	s.stop()
	said += s.log.String()
	file, err := os.ReadFile(s.keyFile())
	var rows []struct{ Key []byte }
	if err := errors.Join(err, json.Unmarshal(file, &rows)); err != nil || len(rows) != 3 {
		t.Fatal(len(rows), err)
	}
	db, err := os.ReadFile(filepath.Join(s.dir, "registry.db"))
	if err != nil {
		t.Fatal(err)
	}
	canaries := [][]byte{secret.Reveal()[5:], token.Text.Reveal()}
	for _, row := range rows {
		scalar := row.Key[36:68]
		canaries = append(canaries, scalar, []byte(base64.StdEncoding.EncodeToString(row.Key))[60:90],
			[]byte(base64.RawURLEncoding.EncodeToString(scalar)), fmt.Appendf(nil, "%x", scalar), []byte(strings.Trim(fmt.Sprint(scalar), "[]")))
	}
	for i, canary := range canaries {
		if bytes.Contains(db, canary) || strings.Contains(said, string(canary)) {
			t.Errorf("canary %d shows", i)
		}
	}
	if entries, err := os.ReadDir(s.dir); err != nil || len(entries) != 2 {
		t.Errorf("the state directory holds %v, %v, want the store and the signing keys alone", entries, err)
	}
}

// TestLimits: nobody enrols without end, or exchanges without end.
func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, issuer.Config{})
		defer s.stop()
		_, secret := s.enrol("shop")
		for range 15 {
			s.enrol("shop")
		}
		if _, _, err := s.Enrol(t.Context(), "shop"); cardbroker.ReasonOf(err) != cardbroker.RateLimited {
			t.Errorf("Enrol of a 17th key = %v, want rate_limited", err)
		}
		_, other := s.enrol("other")
		var err error
		n := 0
		for ; err == nil && n < 1000; n++ {
			_, err = s.Exchange(secret, anywhere)
		}
		if cardbroker.RuleOf(err) != cardbroker.RuleRate || n > 101 {
			t.Errorf("Exchange number %d = %v, want rate_limited after a hundred", n, err)
		}
		s.exchange(other)
		time.Sleep(time.Second)
		s.exchange(secret)
	})
}

// TestConfig: what makes no sense is refused, by the name of its key.
func TestConfig(t *testing.T) {
	for name, cfg := range map[string]issuer.Config{
		"issuer.life: 16m0s":    {Life: 16 * time.Minute},
		"issuer.life: 9s":       {Life: 9 * time.Second},
		"issuer.life: -1s":      {Life: -time.Second},
		"issuer.rotate: 59m0s":  {Rotate: 59 * time.Minute},
		"issuer.rotate: -1h0m0": {Rotate: -time.Hour},
	} {
		s := &site{t: t, dir: filepath.Join(t.TempDir(), "state"), cfg: cfg}
		if err := s.open(); cardbroker.ReasonOf(err) != cardbroker.Invalid || !strings.Contains(fmt.Sprint(err), name) {
			t.Errorf("New = %v, want invalid %s", err, name)
		}
	}
}

// BenchmarkExchange is a look-up and a whole token; the limit is BenchmarkBareSignature of internal/jose.
func BenchmarkExchange(b *testing.B) {
	s := newSite(b, issuer.Config{})
	var secrets []cardbroker.Secret
	for i := range 1000 {
		_, secret := s.enrol(cardbroker.Tenant(fmt.Sprint("t", i)))
		secrets = append(secrets, secret)
	}
	took := make([]time.Duration, 0, b.N)
	for i := 0; b.Loop(); i++ {
		begin := time.Now()
		if _, err := s.Exchange(secrets[i%1000], anywhere); cardbroker.RuleOf(err) == cardbroker.RuleRate {
			continue
		} else if err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}
