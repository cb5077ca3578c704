// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package consent_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/consent"
	"github.com/cardbroker/cardbroker/internal/config"
)

// TestMain runs the tests, or grants one consent after the other in a directory until it is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(grantVariable); dir != "" {
		os.Exit(grantForEver(dir))
	}
	os.Exit(m.Run())
}

const grantVariable = "CARDBROKER_TEST_GRANT"

func newOrigin(i int) cardbroker.Origin {
	return cardbroker.Origin(fmt.Sprintf("https://n%d.example", i))
}

// within waits until something is so. A change of another session may take a second; ten are for a machine that is busy with others.
func within(t *testing.T, what string, so func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	tick := time.NewTicker(200 * time.Microsecond)
	defer tick.Stop()
	for !so() {
		<-tick.C
		if time.Since(start) > 10*time.Second {
			t.Fatalf("within ten seconds not: %s", what)
		}
	}
	return time.Since(start)
}

// TestTwoSessions: what one session grants or revokes, another of the user sees within a second, whether the system tells of
// changes or not; and when both write at once nothing is lost.
func TestTwoSessions(t *testing.T) {
	for name, prepare := range map[string]func(*consent.Book){"told": func(*consent.Book) {}, "by time": (*consent.Book).WatchByTime} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			one, two := startBook(t, dir, nil, config.Consent{}, prepare), startBook(t, dir, nil, config.Consent{}, prepare)
			_, err := one.Grant(t.Context(), consent.Question{Origin: shop})
			want(t, "Grant", err, "")
			within(t, "granted", func() bool { return two.Consented(shop) })
			during := two.While(shop)
			want(t, "Revoke", one.Revoke(t.Context(), shop), "")
			took := within(t, "revoked", func() bool { return during.Err() != nil })
			t.Logf("revoked in the other session after %v", took)

			const each = 20
			errs := make(chan error, 2*each)
			for i := range each {
				for j, b := range []*book{one, two} {
					go func() {
						_, err := b.Grant(t.Context(), consent.Question{Origin: newOrigin(2*i + j)})
						errs <- err
					}()
				}
			}
			for range 2 * each {
				want(t, "Grant", <-errs, "")
			}
			within(t, "all of both", func() bool { return len(one.List()) == 2*each && len(two.List()) == 2*each })
		})
	}
}

// TestDamage: a file that is not exactly as it is written counts as none and is kept; what is granted then is stored.
func TestDamage(t *testing.T) {
	const good = `{"origin":"https://shop.example","granted":"2020-01-01T00:00:00Z","expires":"2999-01-01T00:00:00Z","by":"user","session":"one","deviceKeyThumbprint":""}`
	for name, text := range map[string]string{
		"empty":                    "",
		"half":                     `{"version":1,"consents":[` + good,
		"more":                     `{"version":1,"consents":[` + good + `]} {}`,
		"twice":                    `{"version":1,"consents":[` + good + `,` + good + `]}`,
		"another version":          `{"version":2,"consents":[]}`,
		"unknown field":            `{"version":1,"consents":[],"x":1}`,
		"an origin that is none":   `{"version":1,"consents":[` + strings.Replace(good, "https://shop.example", "*", 1) + `]}`,
		"by policy":                `{"version":1,"consents":[` + strings.Replace(good, "user", "policy", 1) + `]}`,
		"expires before":           `{"version":1,"consents":[` + strings.Replace(good, "2999", "1999", 1) + `]}`,
		"garbage":                  strings.Repeat("\x00", 100),
		"too long":                 strings.Repeat(" ", 2<<20),
		"a session that is none":   `{"version":1,"consents":[` + strings.Replace(good, "one", "", 1) + `]}`,
		"a null":                   `{"version":1,"consents":[null]}`,
		"no version, but consents": `{"consents":[` + good + `]}`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "consents.json")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			b := newBook(t, dir, nil, config.Consent{})
			if b.Consented(shop) || len(b.List()) != 0 {
				t.Error("a damaged file counts")
			}
			if kept, err := os.ReadFile(path + ".damaged"); err != nil || string(kept) != text {
				t.Errorf("it is not kept: %v", err)
			}
			_, err := b.Grant(t.Context(), consent.Question{Origin: evil})
			want(t, "Grant", err, "")
			info, err := os.Stat(path)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the file is %v, %v", info.Mode(), err)
			}
		})
	}
}

// TestOldAndFuture: consents that were granted long ago, or by a clock that was ahead, do not count however long they say.
func TestOldAndFuture(t *testing.T) {
	for granted, want := range map[time.Duration]bool{-29 * day: true, -31 * day: false, 365 * day: false} {
		dir := t.TempDir()
		at := time.Now().Add(granted).UTC()
		text := fmt.Sprintf(`{"version":1,"consents":[{"origin":"https://shop.example","granted":%q,"expires":%q,"by":"user","session":"one","deviceKeyThumbprint":""}]}`,
			at.Format(time.RFC3339), at.Add(3000*day).Format(time.RFC3339))
		if err := os.WriteFile(filepath.Join(dir, "consents.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := newBook(t, dir, nil, config.Consent{}).Consented(shop); got != want {
			t.Errorf("granted %v from now: %v, want %v", granted, got, want)
		}
	}
}

// TestNotStored: what could not be stored is not acknowledged and does not count; what is revoked does not count all the same.
func TestNotStored(t *testing.T) {
	dir := t.TempDir()
	b := newBook(t, dir, nil, config.Consent{})
	_, err := b.Grant(t.Context(), consent.Question{Origin: shop})
	want(t, "Grant", err, "")
	blocked := filepath.Join(dir, "consents.json.new")
	if err := os.Mkdir(blocked, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err = b.Grant(t.Context(), consent.Question{Origin: evil})
	want(t, "Grant that is not stored", err, cardbroker.Unavailable)
	during := b.While(shop)
	want(t, "Revoke that is not stored", b.Revoke(t.Context(), shop), cardbroker.Unavailable)
	if b.Consented(evil) || b.Consented(shop) || during.Err() == nil {
		t.Error("what was not stored counts, or what was revoked")
	}
	os.Remove(blocked)
	_, err = b.Grant(t.Context(), consent.Question{Origin: newOrigin(1)})
	want(t, "Grant", err, "")
	b.stop()
	if again := newBook(t, dir, nil, config.Consent{}); again.Consented(shop) || !again.Consented(newOrigin(1)) {
		t.Error("the revocation was not stored later")
	}
}

// TestKill kills an agent while it grants: what it has acknowledged is there, and the file is whole.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	for round := range 5 {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), grantVariable+"="+dir, "GORACE=atexit_sleep_ms=0")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		acknowledged := 0
		for acknowledged < 5 {
			var n int
			if _, err := fmt.Fscanln(out, &n); err != nil {
				t.Fatal(err)
			}
			acknowledged++
		}
		cmd.Process.Kill()
		cmd.Wait()
		b := newBook(t, dir, nil, config.Consent{})
		for i := range acknowledged {
			if !b.Consented(newOrigin(i)) {
				t.Errorf("round %d: consent %d was acknowledged, and is gone", round, i)
			}
		}
		b.stop()
		if _, err := os.Stat(filepath.Join(dir, "consents.json.damaged")); err == nil {
			t.Errorf("round %d: the file was damaged", round)
		}
	}
}

func grantForEver(dir string) int {
	b := consent.New(consent.Config{
		Dir: dir, Session: "one", DeviceKey: func() string { return "" }, Record: func(cardbroker.Event) {}, Log: slog.New(slog.DiscardHandler),
	})
	go b.Run(context.Background())
	out := os.NewFile(1, "stdout")
	for i := 0; ; i++ {
		if _, err := b.Grant(context.Background(), consent.Question{Origin: newOrigin(i % 500)}); err != nil {
			return 1
		}
		fmt.Fprintln(out, i)
	}
}

func FuzzOpen(f *testing.F) {
	sealer := consent.Sealer{User: cardbroker.UserID{UID: 1}, Secret: cardbroker.NewSecret([]byte("secret"))}
	f.Add(sealer.Seal(cardbroker.Consent{Origin: shop}, where("ж")))
	f.Fuzz(func(t *testing.T, text string) {
		if sealer.Fits(text, cardbroker.Consent{Origin: evil, Expires: time.Now().Add(day)}) {
			t.Errorf("%q fits", text)
		}
		consent.Others([]string{text}, "host")
	})
}

func BenchmarkConsented(b *testing.B) {
	book := newBook(b, b.TempDir(), nil, config.Consent{Allow: []cardbroker.OriginPattern{"https://*.corp.example", "https://one.example"}})
	for i := range 50 {
		book.Grant(b.Context(), consent.Question{Origin: newOrigin(i)})
	}
	b.ReportAllocs()
	for b.Loop() {
		if !book.Consented("https://n7.example") {
			b.Fatal("not consented")
		}
	}
}
