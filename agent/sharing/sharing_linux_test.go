// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package sharing

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/testenv"
)

// openDir returns a directory that others may look into.
func openDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// directory makes a directory of a mode below dir, with a file named socket in it.
func directory(t *testing.T, dir, name string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "socket"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReachable(t *testing.T) {
	dir := directory(t, openDir(t), "open", 0o755)
	private := directory(t, dir, "private", 0o700)
	directory(t, dir, "group", 0o750)
	directory(t, dir, "list", 0o711)
	directory(t, private, "below", 0o777)
	if err := os.Symlink(dir+"/socket", private+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(private, dir+"/away"); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		path string
		want bool
	}{
		{"socket", true},
		{"group/socket", true},
		{"list/socket", true},
		{"private/socket", false},
		{"private/below/socket", false},
		{"private/link", true}, // what counts is where it leads
		{"away/socket", false},
		{"private/missing", true},
	}
	for _, test := range tests {
		if got := reachable(filepath.Join(dir, test.path)); got != test.want {
			t.Errorf("reachable(%q) = %v, want %v", test.path, got, test.want)
		}
	}
}

// Another user's private directory keeps others out, too, but it is his service then and not ours.
func TestReachableByTheirOwner(t *testing.T) {
	testenv.Root(t)
	private := directory(t, openDir(t), "private", 0o700)
	if err := os.Chown(private, 61001, 61001); err != nil {
		t.Fatal(err)
	}
	if !reachable(private + "/socket") {
		t.Error("a directory of another user's counts as our own")
	}
}

// supervisor keeps what it was told.
type supervisor struct {
	why    error
	renews int
}

func (s *supervisor) Forbid(why error) error { s.why = why; return nil }
func (s *supervisor) Renew() error           { s.renews++; return nil }

// The broker's word opens and closes readers that others may reach, and no others.
func TestSharing(t *testing.T) {
	dir := openDir(t)
	open, private := directory(t, dir, "open", 0o755)+"/socket", directory(t, dir, "private", 0o700)+"/socket"
	tests := []struct {
		name           string
		pcsc           PCSC
		before, shared cardbroker.Reason
	}{
		{"service of all", PCSC{Socket: open}, cardbroker.Unavailable, cardbroker.ReaderSharedHost},
		{"policy allows it", PCSC{Socket: open, SharedAllow: true}, "", ""},
		{"service of one's own", PCSC{Socket: private}, "", ""},
		{"software readers", PCSC{}, "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cards, tokens := &supervisor{}, &supervisor{}
			all := Supervisors{cards, tokens}
			check := func(when string, want cardbroker.Reason) {
				t.Helper()
				if got := cardbroker.ReasonOf(cards.why); got != want || tokens.why != cards.why {
					t.Errorf("%s: closed with %v and %v, want %q", when, cards.why, tokens.why, want)
				}
			}
			log := slog.New(slog.DiscardHandler)
			all.Await(test.pcsc)
			check("before", test.before)
			all.Note(test.pcsc, api.Sharing{}, log)
			check("alone", "")
			all.Note(test.pcsc, api.Sharing{Shared: true, Turns: 1}, log)
			check("shared", test.shared)
			all.Note(test.pcsc, api.Sharing{Turns: 2}, log)
			check("alone again", "")
			if all.Renew(); cards.renews != 1 || tokens.renews != 1 {
				t.Error("not all have begun anew")
			}
		})
	}
}
