// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/store"
)

func equal(a, b cardbroker.Snapshot) bool {
	return a.Epoch == b.Epoch && a.Salt == b.Salt && slices.Equal(a.Records, b.Records)
}

func TestBackupOfAStoreInUse(t *testing.T) {
	s := open(t, newPath(t), store.Options{})
	commit(t, s, cardbroker.Changes{Epoch: 3, Put: []cardbroker.Record{agent(1000, 24800, cardbroker.Registered)}})
	want := load(t, s)
	dst := filepath.Join(t.TempDir(), "backup.db")
	if err := s.Backup(dst); err != nil {
		t.Fatalf("Backup() = %v", err)
	}
	commit(t, s, cardbroker.Changes{Epoch: 3, Delete: []cardbroker.Port{24800}})
	if got := load(t, open(t, dst, store.Options{})); !equal(got, want) {
		t.Errorf("the backup has %+v, want %+v", got, want)
	}
	if info, err := os.Stat(dst); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %v, %v, want 0600", info.Mode().Perm(), err)
	}
	wantError(t, "Backup() again", s.Backup(dst), cardbroker.Conflict, dst, "there already")
	wantError(t, "Backup() to nowhere", s.Backup(filepath.Join(dst, "x")), cardbroker.Invalid, "not a directory")
}

func TestCompact(t *testing.T) {
	path := newPath(t)
	s := open(t, path, store.Options{})
	for i := range 2000 {
		if i%100 == 0 {
			var changes cardbroker.Changes
			for j := range 100 {
				changes.Put = append(changes.Put, agent(uint32(i+j), cardbroker.Port(1+i+j), cardbroker.Reserved))
			}
			changes.Epoch = 1
			commit(t, s, changes)
		}
	}
	for port := range cardbroker.Port(1999) {
		if port%500 == 499 {
			var changes cardbroker.Changes
			for p := port - 499; p <= port; p++ {
				changes.Delete = append(changes.Delete, p)
			}
			changes.Epoch = 1
			commit(t, s, changes)
		}
	}
	want := load(t, s)
	dst := filepath.Join(t.TempDir(), "small.db")
	wantError(t, "Compact() of a store in use", store.Compact(path, dst), cardbroker.Conflict, "another broker")
	s.Close()
	if err := store.Compact(path, dst); err != nil {
		t.Fatalf("Compact() = %v", err)
	}
	before, after := fileUsed(t, path), fileUsed(t, dst)
	if after*2 > before {
		t.Errorf("%d bytes became %d, want less than half", before, after)
	}
	if got := load(t, open(t, dst, store.Options{})); !equal(got, want) {
		t.Errorf("the copy has %d records, want %d", len(got.Records), len(want.Records))
	}
	wantError(t, "Compact() again", store.Compact(path, dst), cardbroker.Conflict, dst)
}

func TestNothingIsLeftOfAFailedCopy(t *testing.T) {
	path := writeStore(t)
	put(t, path, "agents", port24800, "{")
	dst := filepath.Join(t.TempDir(), "copy.db")
	wantError(t, "Compact()", store.Compact(path, dst), cardbroker.Internal, "24800")
	if _, err := os.Stat(dst); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Stat(%s) = %v, want it not to exist", dst, err)
	}
}

func TestDump(t *testing.T) {
	s := open(t, newPath(t), store.Options{})
	a, b := agent(1000, 24800, cardbroker.Registered), agent(1001, 24801, cardbroker.Reserved)
	commit(t, s, cardbroker.Changes{Epoch: 3, Put: []cardbroker.Record{b, a}})
	var text bytes.Buffer
	if err := s.Dump(t.Context(), &text); err != nil {
		t.Fatalf("Dump() = %v", err)
	}
	want := `{"schema":1,"epoch":3,"agents":2}
{"port":24800,"uid":1000,"session":"3","state":"REGISTERED","pid":10000,"since":"2026-03-01T08:59:00Z","route":"0123456789abcdef"}
{"port":24801,"uid":1001,"session":"3","state":"RESERVED","pid":10010,"since":"2026-03-01T08:59:00Z"}
`
	if text.String() != want {
		t.Errorf("Dump() wrote\n%swant\n%s", text.String(), want)
	}
	for line := range strings.Lines(text.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("%q is not JSON", line)
		}
	}
	salt := load(t, s).Salt
	for _, secret := range []string{fmt.Sprintf("%x", a.Claim), fmt.Sprintf("%x", salt)} {
		if strings.Contains(text.String(), secret) {
			t.Errorf("the dump shows the secret %s", secret)
		}
	}
	wantError(t, "Dump() to a broken pipe", s.Dump(t.Context(), brokenPipe{}), cardbroker.Internal, "broken pipe")
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }
