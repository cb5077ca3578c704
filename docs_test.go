// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardbroker_test

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The README tells two commands, on lines of their own; continuous integration takes its test command from there.
func TestReadmeCommands(t *testing.T) {
	readme, makefile := read(t, "README.md"), read(t, "Makefile")
	for _, target := range []string{"demo", "test"} {
		if !strings.Contains(readme, "\n    make "+target+"\n") {
			t.Errorf("README.md has no line %q", "    make "+target)
		}
	}
	for _, name := range []string{"README.md", "CONTRIBUTING.md", "docs/contract.md"} {
		for _, m := range regexp.MustCompile("(?m)(?:^ {4}|`)make ([a-z]+)(?: +#|`|$)").FindAllStringSubmatch(read(t, name), -1) {
			if !strings.Contains(makefile, "\n"+m[1]+":") {
				t.Errorf("%s tells of make %s, which is no target", name, m[1])
			}
		}
	}
}

// Links between the documents lead somewhere.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)\)`)
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && name != "." && (entry.Name()[0] == '.' || entry.Name() == "node_modules" || name == "build") {
			return fs.SkipDir
		}
		if path.Ext(name) != ".md" {
			return nil
		}
		for _, m := range link.FindAllStringSubmatch(read(t, name), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(name), filepath.FromSlash(m[1]))); err != nil {
				t.Errorf("%s: the link %s leads nowhere", name, m[1])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What is to be read in one sitting stays so.
func TestArchitectureIsShort(t *testing.T) {
	if n := strings.Count(read(t, "ARCHITECTURE.md"), "\n"); n > 200 {
		t.Errorf("ARCHITECTURE.md has %d lines, want 200 or less", n)
	}
}
