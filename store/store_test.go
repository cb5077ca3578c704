// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/store"
)

// newPath returns the path of a store that does not exist yet.
func newPath(t testing.TB) string { return filepath.Join(t.TempDir(), "state", "registry.db") }

// open opens a store until the test ends.
func open(t testing.TB, path string, options store.Options) *store.Store {
	t.Helper()
	s, err := store.Open(path, options)
	if err != nil {
		t.Fatalf("Open(%s) = %v", path, err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// agent returns a record like those that a registry writes.
func agent(uid uint32, port cardbroker.Port, state cardbroker.State) cardbroker.Record {
	r := cardbroker.Record{
		Agent: cardbroker.Agent{
			Key:   cardbroker.AgentKey{User: cardbroker.UserID{UID: uid}, Session: "3"},
			Port:  port,
			State: state,
			PID:   int(uid) * 10,
			Since: time.Date(2026, 3, 1, 8, 59, 0, 0, time.UTC),
		},
		Claim: cardbroker.NewSecret(fmt.Appendf(nil, "claim of %d", uid)).Hash(),
	}
	if state != cardbroker.Reserved {
		r.Agent.Route = "0123456789abcdef"
	}
	return r
}

func commit(t testing.TB, s *store.Store, changes cardbroker.Changes) {
	t.Helper()
	if err := s.Commit(t.Context(), changes); err != nil {
		t.Fatalf("Commit() = %v", err)
	}
}

func load(t testing.TB, s *store.Store) cardbroker.Snapshot {
	t.Helper()
	snapshot, err := s.Load(t.Context())
	if err != nil {
		t.Fatalf("Load() = %v", err)
	}
	return snapshot
}

// wantError fails the test unless err has the reason, and its message contains every part.
func wantError(t testing.TB, what string, err error, reason cardbroker.Reason, parts ...string) {
	t.Helper()
	if cardbroker.ReasonOf(err) != reason {
		t.Errorf("%s = %v, want %q", what, err, reason)
		return
	}
	if err == nil {
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s = %q, want it to say %q", what, err, part)
		}
	}
}

func TestWhatIsCommittedIsLoaded(t *testing.T) {
	path := newPath(t)
	s := open(t, path, store.Options{})
	fresh := load(t, s)
	if fresh.Epoch != 0 || len(fresh.Records) != 0 || fresh.Salt == [32]byte{} {
		t.Errorf("Load() of a new store = %+v, want only a salt", fresh)
	}
	windows := agent(0, 24802, cardbroker.Reserved)
	windows.Agent.Key.User = cardbroker.UserID{SID: "S-1-5-21-1-2-3-1001"}
	a, b, c := agent(1000, 24801, cardbroker.Registered), agent(1001, 24800, cardbroker.Reserved), agent(1002, 65535, cardbroker.Stale)
	commit(t, s, cardbroker.Changes{Epoch: 1, Put: []cardbroker.Record{a, b, windows, c}})
	b.Agent.PID = 7
	commit(t, s, cardbroker.Changes{Epoch: 2, Put: []cardbroker.Record{b}, Delete: []cardbroker.Port{24801, 9}})
	s.Close()

	got := load(t, open(t, path, store.Options{}))
	if want := []cardbroker.Record{b, windows, c}; !slices.Equal(got.Records, want) {
		t.Errorf("records = %+v, want %+v", got.Records, want)
	}
	if got.Epoch != 2 || got.Salt != fresh.Salt {
		t.Errorf("epoch %d, the same salt %t, want 2 and true", got.Epoch, got.Salt == fresh.Salt)
	}
}

func TestOlderEpochIsRefused(t *testing.T) {
	s := open(t, newPath(t), store.Options{})
	commit(t, s, cardbroker.Changes{Epoch: 5})
	err := s.Commit(t.Context(), cardbroker.Changes{Epoch: 4, Put: []cardbroker.Record{agent(1000, 24800, cardbroker.Reserved)}})
	wantError(t, "Commit()", err, cardbroker.StaleEpoch, "4", "5")
	if got := load(t, s); got.Epoch != 5 || len(got.Records) != 0 {
		t.Errorf("Load() = %+v, want nothing changed", got)
	}
}

func TestEndedContext(t *testing.T) {
	s := open(t, newPath(t), store.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantError(t, "Commit()", s.Commit(ctx, cardbroker.Changes{Epoch: 1}), cardbroker.Canceled)
	_, err := s.Load(ctx)
	wantError(t, "Load()", err, cardbroker.Canceled)
}

func TestClosedStore(t *testing.T) {
	s := open(t, newPath(t), store.Options{})
	s.Close()
	wantError(t, "Commit()", s.Commit(t.Context(), cardbroker.Changes{Epoch: 1}), cardbroker.Unavailable)
	if err := s.Close(); err != nil {
		t.Errorf("Close() again = %v, want nil", err)
	}
}

func TestModes(t *testing.T) {
	path := newPath(t)
	open(t, path, store.Options{}).Close()
	for name, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
			t.Errorf("mode of %s = %v, %v, want %v", name, info.Mode().Perm(), err, want)
		}
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	open(t, path, store.Options{})
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %v, %v, want 0600: who can read the file can hold its lock", info.Mode().Perm(), err)
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	held := filepath.Join(dir, "held.db")
	open(t, held, store.Options{})
	notes := filepath.Join(dir, "notes.txt")
	if err := os.WriteFile(notes, []byte(strings.Repeat("not a store\n", 4096)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "empty"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		path    string
		options store.Options
		want    cardbroker.Reason
		says    []string
	}{
		{"held by another", held, store.Options{}, cardbroker.Conflict, []string{held, "another broker", "state directory"}},
		{"held, for reading", held, store.Options{ReadOnly: true}, cardbroker.Conflict, []string{held, "another broker"}},
		{"no parent of the directory", filepath.Join(dir, "a", "b", "c.db"), store.Options{}, cardbroker.Invalid, []string{"no such file or directory"}},
		{"a file where the directory should be", filepath.Join(notes, "c.db"), store.Options{}, cardbroker.Invalid, []string{"not a directory"}},
		{"a directory where the file should be", dir, store.Options{}, cardbroker.Invalid, []string{"is a directory"}},
		{"missing, for reading", filepath.Join(dir, "none.db"), store.Options{ReadOnly: true}, cardbroker.Invalid, []string{"none.db", "no such file"}},
		{"not a store", notes, store.Options{}, cardbroker.Internal, []string{notes, "damaged", "backup"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := store.Open(c.path, c.options)
			if err == nil {
				s.Close()
			}
			wantError(t, "Open()", err, c.want, c.says...)
		})
	}
}
