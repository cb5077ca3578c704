// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package cache_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/cache"
	"github.com/cardbroker/cardbroker/internal/token"
)

func files(t testing.TB, dir string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "cache", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func countFiles(t testing.TB, dir string) int { return len(files(t, dir)) }

// once has an agent of its own ask for a card's certificates, and says how often the card was read.
func once(t *testing.T, cfg cache.Config, k *card) (reads int32) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c, stop := start(t, cfg)
		_, reads = get(t, c, "Reader 0", nil, k)
		settle(t, c)
		stop()
	})
	return reads
}

// TestFile: the file is its user's alone, and tells nothing.
func TestFile(t *testing.T) {
	dir, alice := t.TempDir(), newCard(t, "alice")
	alice.list = []token.Certificate{certificate(t, "of alice", 100*365*day)}
	once(t, configOf(dir), alice)
	all := files(t, dir)
	if len(all) != 1 {
		t.Fatalf("the files are %q", all)
	}
	folder, err := os.Stat(filepath.Join(dir, "cache"))
	if err != nil || folder.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v, %v, want mode 0700", folder, err)
	}
	info, err := os.Stat(all[0])
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v, want mode 0600", info, err)
	}
	text, err := os.ReadFile(all[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"alice", "opensc", "Reader", "3B00", "certificates", string(alice.list[0].DER[:40])} {
		if bytes.Contains(text, []byte(word)) || strings.Contains(all[0][len(dir):], word) {
			t.Errorf("the file or its name has %q in it", word)
		}
	}
}

// TestElsewhere has a profile on another host, at another user, or with another secret: what is there is of no use.
func TestElsewhere(t *testing.T) {
	for name, change := range map[string]func(*cache.Config){
		"another host":    func(c *cache.Config) { c.Host = "00000000000000000000000000000001" },
		"another user":    func(c *cache.Config) { c.User = cardbroker.UserID{UID: 61002} },
		"another secret":  func(c *cache.Config) { c.Secret = cardbroker.NewSecret(bytes.Repeat([]byte("x"), 43)) },
		"a host unnamed":  func(c *cache.Config) { c.Host = "" },
		"no secret":       func(c *cache.Config) { c.Secret = cardbroker.Secret{} },
		"the same, again": nil,
	} {
		t.Run(name, func(t *testing.T) {
			dir, alice := t.TempDir(), newCard(t, "alice")
			alice.list = []token.Certificate{certificate(t, "x", 100*365*day)}
			once(t, configOf(dir), alice)
			cfg := configOf(dir)
			want := int32(0)
			if change != nil {
				change(&cfg)
				want = 1
			}
			if reads := once(t, cfg, alice); reads != want {
				t.Errorf("the card is read %d times, want %d", reads, want)
			}
		})
	}
}

// TestTampered changes each part of a file, cuts it, and gives it to another card: it is read anew, and the file is replaced.
func TestTampered(t *testing.T) {
	dir, alice := t.TempDir(), newCard(t, "alice")
	alice.list = []token.Certificate{certificate(t, "x", 100*365*day)}
	once(t, configOf(dir), alice)
	path := files(t, dir)[0]
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flip := func(at int) []byte {
		text := slices.Clone(good)
		text[at] ^= 1
		return text
	}
	for name, text := range map[string][]byte{
		"magic": flip(0), "nonce": flip(4), "end of the nonce": flip(15), "text": flip(16), "middle": flip(len(good) / 2), "tag": flip(len(good) - 16),
		"end": flip(len(good) - 1), "empty": {}, "magic alone": good[:4], "cut": good[:len(good)-1], "half": good[:len(good)/2],
		"longer": append(slices.Clone(good), 0), "very long": make([]byte, 1<<20),
	} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if reads := once(t, configOf(dir), alice); reads != 1 {
			t.Errorf("%s: the card is read %d times", name, reads)
		}
		if reads := once(t, configOf(dir), alice); reads != 0 {
			t.Errorf("%s: afterwards the card is read %d times", name, reads)
		}
	}
	if err := os.Remove(path); err != nil || os.Mkdir(path, 0o700) != nil {
		t.Fatal(err)
	}
	if reads := once(t, configOf(dir), alice); reads != 1 {
		t.Errorf("a directory in the place of the file: the card is read %d times", reads)
	}
}

// TestForeign: files of two cards that are swapped, and what else may be in the directory.
func TestForeign(t *testing.T) {
	dir := t.TempDir()
	alice, bob := newCard(t, "alice"), newCard(t, "bob")
	alice.list, bob.list = []token.Certificate{certificate(t, "a", 100*365*day)}, []token.Certificate{certificate(t, "b", 100*365*day)}
	other := t.TempDir()
	once(t, configOf(dir), alice)
	once(t, configOf(other), bob)
	ofAlice, ofBob := files(t, dir)[0], files(t, other)[0]
	text, err := os.ReadFile(ofBob)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ofAlice, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if reads := once(t, configOf(dir), alice); reads != 1 {
		t.Errorf("with bob's file under alice's name the card is read %d times", reads)
	}
	for _, name := range []string{"README", "x-y", strings.Repeat("0", 32), filepath.Base(ofAlice) + "0"} {
		if err := os.WriteFile(filepath.Join(dir, "cache", name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		old := time.Now().Add(-31 * day) // of another host, where nobody asks for it
		for _, name := range []string{strings.Repeat("0", 32) + "-" + strings.Repeat("0", 32), ".new-1"} {
			path := filepath.Join(dir, "cache", name)
			if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(path, old, old); err != nil {
				t.Fatal(err)
			}
		}
		c, stop := start(t, configOf(dir))
		defer stop()
		if got := c.Status(); got.Files != 1 {
			t.Errorf("Status() = %+v", got)
		}
	})
	if entries, err := os.ReadDir(filepath.Join(dir, "cache")); err != nil || len(entries) != 1 {
		t.Errorf("the files are %v, %v", entries, err)
	}
}

// TestDirectory: one that others can read, or that is a link, is not used.
func TestDirectory(t *testing.T) {
	alice := newCard(t, "alice")
	alice.list = []token.Certificate{certificate(t, "x", 100*365*day)}
	for name, spoil := range map[string]func(cache string) error{
		"open to others": func(cache string) error { return os.Chmod(cache, 0o755) },
		"a link": func(cache string) error {
			return os.Rename(cache, cache+".moved")
		},
	} {
		dir := t.TempDir()
		once(t, configOf(dir), alice)
		folder := filepath.Join(dir, "cache")
		if err := spoil(folder); err != nil {
			t.Fatal(err)
		}
		if name == "a link" {
			if err := os.Symlink(folder+".moved", folder); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if reads := once(t, configOf(dir), alice); reads != 1 {
				t.Errorf("%s: the card is read %d times", name, reads)
			}
		}
	}
}

// TestFullDisk: where nothing can be written, nothing is kept, and nothing else happens.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "cache"), nil, 0o600); err != nil { // as a user without room, also for root
		t.Fatal(err)
	}
	alice := newCard(t, "alice")
	alice.list = []token.Certificate{certificate(t, "x", 100*365*day)}
	for range 2 {
		if reads := once(t, configOf(dir), alice); reads != 1 {
			t.Errorf("the card is read %d times", reads)
		}
	}
}

// TestRoom has more cards than there is room for: the oldest go.
func TestRoom(t *testing.T) {
	dir := t.TempDir()
	list := []token.Certificate{certificate(t, "x", 365*day)}
	synctest.Test(t, func(t *testing.T) {
		list[0] = certificate(t, "x", 365*day)
		c, stop := start(t, configOf(dir))
		defer stop()
		put := func(i, copies int) {
			k := &card{atr: "3B00", number: fmt.Sprint(i), list: slices.Repeat(list, copies)}
			get(t, c, fmt.Sprintf("Reader %d", i), nil, k)
			settle(t, c)
			time.Sleep(time.Second)
		}
		for i := range cache.MaxFiles + 5 {
			put(i, 1)
		}
		if got := c.Status(); got.Files != cache.MaxFiles {
			t.Errorf("Status() = %+v, want %d files", got, cache.MaxFiles)
		}
		for i := range 15 {
			put(1000+i, 250) // some hundred KiB each
		}
		if got := c.Status(); got.Bytes > cache.MaxBytes || got.Files < 10 {
			t.Errorf("Status() = %+v", got)
		}
	})
}

// FuzzFile: what was not sealed is not opened, and what was sealed strangely is not believed.
func FuzzFile(f *testing.F) {
	seal, open := cache.Sealer()
	list := []token.Certificate{{ID: []byte{1}, DER: []byte{0x30, 0}}}
	f.Add(seal(list))
	f.Add([]byte("cbc1"))
	f.Add([]byte(`{"read":"2026-01-01T00:00:00Z","until":"2026-01-02T00:00:00Z","certificates":[{"id":"AQ==","label":"","der":"MAA="}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if got, err := open(text); err == nil && (len(got) != 1 || len(got[0].DER) != 2) {
			t.Fatalf("it opens as %+v", got)
		}
		got, err := cache.ParseContent(text)
		for _, one := range got {
			if err != nil || len(one.DER) == 0 {
				t.Fatalf("it reads as %+v, %v", got, err)
			}
		}
	})
}
