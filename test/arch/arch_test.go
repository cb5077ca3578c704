// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package arch_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker/test/arch"
)

// tree parses files given as path, source, path, source …
func tree(t *testing.T, pairs ...string) arch.Tree {
	t.Helper()
	var tree arch.Tree
	for i := 0; i < len(pairs); i += 2 {
		f, err := arch.Parse(pairs[i], pairs[i+1])
		if err != nil {
			t.Fatalf("Parse(%q): %v", pairs[i], err)
		}
		tree = append(tree, f)
	}
	return tree
}

// want checks that there is one finding for each text, in this order, which contains it.
func want(t *testing.T, found []arch.Finding, texts ...string) {
	t.Helper()
	if len(found) != len(texts) {
		t.Fatalf("%d findings, want %d: %v", len(found), len(texts), found)
	}
	for i, f := range found {
		if !strings.Contains(f.String(), texts[i]) {
			t.Errorf("finding %d = %q, want one with %q", i, f, texts[i])
		}
	}
}

func TestExcept(t *testing.T) {
	found := []arch.Finding{{Key: "a.go", Path: "a.go", Text: "one"}, {Key: "a.go", Path: "a.go", Text: "two"}, {Key: "b.go", Path: "b.go", Text: "three"}}
	tests := []struct {
		name string
		list []arch.Exception
		want []string
	}{
		{"no exceptions", nil, []string{"one", "two", "three"}},
		{"all listed", []arch.Exception{{Key: "a.go", Count: 2, Why: "y"}, {Key: "b.go", Count: 1, Why: "y"}}, nil},
		{"more than listed", []arch.Exception{{Key: "a.go", Count: 1, Why: "y"}, {Key: "b.go", Count: 1, Why: "y"}},
			[]string{"1 listed as exceptions, 2 found", "one", "two"}},
		{"listed without need", []arch.Exception{{Key: "a.go", Count: 2, Why: "y"}, {Key: "b.go", Count: 1, Why: "y"}, {Key: "c.go", Count: 1, Why: "y"}},
			[]string{"c.go: 1 listed as exceptions, 0 found"}},
		{"no reason", []arch.Exception{{Key: "a.go", Count: 2, Why: "y"}, {Key: "b.go", Count: 1}}, []string{"gives no reason", "three"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { want(t, arch.Except(found, tt.list), tt.want...) })
	}
}

func TestLoad(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"b/b.go", "a.go", "a_windows_test.go", "build/x.go", ".git/x.go", "b/testdata/x.go", "README"} {
		file := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("package x\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	loaded, err := arch.Load(root)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, f := range loaded {
		paths = append(paths, f.Path)
	}
	if got, want := strings.Join(paths, " "), "a.go a_windows_test.go b/b.go"; got != want {
		t.Errorf("Load found %q, want %q", got, want)
	}
}

func TestDirection(t *testing.T) {
	areas := []arch.Area{
		{Name: "root", Folders: []string{"."}},
		{Name: "broker", Folders: []string{"broker"}, Imports: []string{"root", "relay"}},
		{Name: "tunnel", Folders: []string{"tunnel"}},
		{Name: "relay", Folders: []string{"tunnel/relay"}},
		{Name: "cmd", Folders: []string{"cmd"}, Imports: []string{"*"}},
	}
	source := func(imports ...string) string {
		return "package x\nimport (\n_ \"" + strings.Join(imports, "\"\n_ \"") + "\"\n)\n"
	}
	const m = arch.Module
	tests := []struct {
		name, path, source string
		want               []string
	}{
		{"down", "broker/x.go", source(m, m+"/tunnel/relay", m+"/broker/sub", "fmt"), nil},
		{"sibling", "broker/x.go", source(m + "/tunnel"), []string{"broker/x.go:3: broker may not import tunnel"}},
		{"up", "x.go", source(m + "/broker"), []string{"root may not import broker"}},
		{"all", "cmd/p/x.go", source(m+"/broker", m+"/tunnel"), nil},
		{"all that are known", "cmd/p/x.go", source(m + "/lost"), []string{"cmd may not import lost"}},
		{"no area", "lost/x.go", "package x", []string{"lost belongs to no area"}},
		{"a test is free", "broker/x_test.go", source(m + "/tunnel"), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { want(t, arch.Direction(tree(t, tt.path, tt.source), areas), tt.want...) })
	}
}

func TestAbstentions(t *testing.T) {
	const m = arch.Module
	var all arch.Tree
	for path, imports := range map[string]string{
		"broker/elected/x.go": m + "/broker/core", "broker/elected/x_test.go": m + "/broker/tenant", "broker/core/x.go": m + "/internal/far",
		"internal/far/x.go": m + "/broker/audit", "broker/audit/x.go": "fmt", "broker/tenant/x.go": "fmt",
	} {
		all = append(all, tree(t, path, "package x\nimport _ \""+imports+"\"\n")...)
	}
	for name, tt := range map[string]struct {
		from []string
		want []string
	}{
		"not at all":     {[]string{"broker/tenant"}, nil}, // its tests may
		"from far":       {[]string{"broker/audit"}, []string{"gets at broker/audit by internal/far"}},
		"directly":       {[]string{"broker/core"}, []string{"gets at broker/core by broker/elected"}},
		"a lost package": {[]string{"broker/lost"}, []string{"broker/lost: there is no such package"}},
	} {
		t.Run(name, func(t *testing.T) {
			want(t, arch.Abstentions(all, []arch.Abstention{{Folder: "broker/elected", From: tt.from}}), tt.want...)
		})
	}
}

func TestFences(t *testing.T) {
	fences := []arch.Fence{
		{Library: "example.org/db", Folders: []string{"store"}},
		{Library: "example.org/sys", Folders: []string{"*"}, Suffixes: []string{"_linux.go"}},
		{Library: "example.org/sys/plain", Folders: []string{"*"}},
		{Library: "example.org/check", Folders: []string{"*"}, Tests: true},
		{Library: "example.org/both", Folders: []string{"store"}},
		{Library: "example.org/both", Folders: []string{"*"}, Tests: true},
		{Library: "unsafe"},
	}
	tests := []struct {
		name, path, library string
		ok                  bool
	}{
		{"inside", "store/sub/x.go", "example.org/db", true},
		{"a package of it", "store/x.go", "example.org/db/errors", true},
		{"outside", "storefront/x.go", "example.org/db", false},
		{"outside in a test", "broker/x_test.go", "example.org/db", false},
		{"file of the system", "peer/x_linux.go", "example.org/sys/unix", true},
		{"file for all systems", "peer/x.go", "example.org/sys/unix", false},
		{"the longer row wins", "peer/x.go", "example.org/sys/plain", true},
		{"for tests", "peer/x_test.go", "example.org/check", true},
		{"not for code", "peer/x.go", "example.org/check", false},
		{"one of two rows", "peer/x_test.go", "example.org/both", true},
		{"none of two rows", "peer/x.go", "example.org/both", false},
		{"nowhere", "peer/x.go", "unsafe", false},
		{"no row", "peer/x.go", "example.org/new", false},
		{"standard library", "peer/x.go", "net/http", true},
		{"this module", "peer/x.go", arch.Module + "/store", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			found := arch.Fences(tree(t, tt.path, "package x\nimport _ \""+tt.library+"\"\n"), fences)
			if ok := len(found) == 0; ok != tt.ok {
				t.Errorf("%s imports %s: allowed %v, want %v: %v", tt.path, tt.library, ok, tt.ok, found)
			}
		})
	}
}
