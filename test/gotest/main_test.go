// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each case is a module of one package, run by the real go test.
func TestRun(t *testing.T) {
	tests := []struct {
		name, body string
		require    string // CARDBROKER_REQUIRE
		status     int
		want       []string // in this order
		last       string
	}{
		{"all pass", `func TestA(t *testing.T) { t.Run("x", func(t *testing.T) {}) }`, "", 0,
			[]string{"ok      p ", "2 tests", "\n2 passed, 0 failed, 0 skipped\n"}, "SKIPPED 0"},
		{"skipped", `func TestA(t *testing.T) { t.Log("x"); t.Skip("needs a card") }; func TestB(t *testing.T) { t.SkipNow() }`, "", 0,
			[]string{"\n0 passed, 0 failed, 2 skipped\n"}, "SKIPPED 2: p.TestA (needs a card), p.TestB (no reason given)"},
		{"skipped but required", `func TestA(t *testing.T) { t.Skip("needs a card") }`, "all", 1,
			[]string{"\n0 passed, 0 failed, 1 skipped\n"}, "SKIPPED 1: p.TestA (needs a card)"},
		{"fails", `func TestA(t *testing.T) { t.Error("got 1, want 2") }; func TestB(t *testing.T) {}`, "", 1,
			[]string{"FAILED p.TestA", "got 1, want 2", "FAILED  p ", "\n1 passed, 1 failed, 0 skipped\n"}, "SKIPPED 0"},
		{"panics", `func TestA(t *testing.T) { panic("BUG: x") }`, "", 1,
			[]string{"FAILED p.TestA", "BUG: x", "\n0 passed, 1 failed, 0 skipped\n"}, "SKIPPED 0"},
		{"ends the process", `func TestA(t *testing.T) { t.Log("before"); os.Exit(3) }`, "", 1,
			[]string{"FAILED  p ", "TestA had not ended", "before", "\n0 passed, 1 failed, 0 skipped\n"}, "SKIPPED 0"},
		{"does not build", `func TestA(t *testing.T) { missing() }`, "", 1,
			[]string{"FAILED  p ", "undefined: missing", "\n0 passed, 1 failed, 0 skipped\n"}, "SKIPPED 0"},
		{"does not parse", `func {`, "", 1, []string{"FAILED", "\n0 passed, 1 failed, 0 skipped\n"}, "SKIPPED 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			t.Setenv("CARDBROKER_REQUIRE", tt.require)
			write(t, "go.mod", "module example.org/m\n\ngo 1.26\n")
			write(t, "p/p_test.go", "package p\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n\nvar _ = os.Args\n\n"+tt.body+"\n")
			var out, problems bytes.Buffer
			if status := run([]string{"./..."}, &out, &problems); status != tt.status {
				t.Errorf("status %d, want %d", status, tt.status)
			}
			t.Logf("%s%s", &out, &problems)
			rest := out.String()
			for _, want := range tt.want {
				_, after, found := strings.Cut(rest, want)
				if !found {
					t.Fatalf("no %q in what is left of the report: %q", want, rest)
				}
				rest = "\n" + after
			}
			if lines := strings.Split(out.String(), "\n"); lines[len(lines)-2] != tt.last {
				t.Errorf("the last line is %q, want %q", lines[len(lines)-2], tt.last)
			}
		})
	}
}

func TestRunWithoutPackages(t *testing.T) {
	t.Chdir(t.TempDir())
	var out, problems bytes.Buffer
	if status := run([]string{"./..."}, &out, &problems); status == 0 {
		t.Error("status 0 where there is no module, want another")
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
