// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardbroker_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker/test/arch"
)

// The limits, in lines; interfaces in methods. What is over one stands in archlist_test.go with its reason. Nothing may be
// over fileHard, tests neither.
const (
	functionLimit  = 60
	fileLimit      = 400
	fileHard       = 600
	packageLimit   = 2500
	interfaceLimit = 4
)

const header = "// Copyright 2026 The cardbroker authors\n// SPDX-License-Identifier: Apache-2.0"

// TestArchitecture holds the tree against the tables of archlist_test.go.
func TestArchitecture(t *testing.T) {
	tree, err := arch.Load(".")
	if err != nil {
		t.Fatal(err)
	}
	product := tree.Outside(support...) // what is shipped
	rules := []struct {
		name   string
		found  []arch.Finding
		except []arch.Exception
	}{
		{"Direction", arch.Direction(tree, areas), nil},
		{"Abstentions", arch.Abstentions(tree, abstentions), nil},
		{"Fences", arch.Fences(tree, fences), nil},
		{"Headers", arch.Headers(tree, header), nil},
		{"PackageComments", arch.PackageComments(tree), nil},
		{"Goroutines", arch.Goroutines(product), goroutines},
		{"Locks", arch.Locks(product), locks},
		{"Globals", arch.Globals(tree), globals},
		{"Bans", arch.Bans(tree, bans), banned},
		{"Habits", arch.Habits(tree), habits},
		{"Multipath", arch.Multipath(tree, "virtualreader"), nil},
		{"Routes", arch.Routes(tree), nil},
		{"LogKeys", arch.LogKeys(tree, strings.Fields(logKeys)), nil},
		{"Functions", arch.Functions(tree, functionLimit), functions},
		{"Files", arch.Files(tree.Code(), fileLimit), files},
		{"FilesHard", arch.Files(tree, fileHard), nil},
		{"Packages", arch.Packages(tree, packageLimit), packages},
		{"Interfaces", arch.Interfaces(tree, interfaceLimit), interfaces},
	}
	for _, rule := range rules {
		t.Run(rule.name, func(t *testing.T) {
			for _, f := range arch.Except(rule.found, rule.except) {
				t.Error(f)
			}
		})
	}
	c := arch.Lines(tree, support...)
	t.Logf("code %d lines (%d %% comments), tests %d: test:code %.2f", c.Code, 100*c.Comments/c.Code, c.Tests, float64(c.Tests)/float64(c.Code))
}

// TestAreasExist finds rows of the tables that name an area twice, or one that is not there.
func TestAreasExist(t *testing.T) {
	var names []string
	for _, a := range areas {
		if slices.Contains(names, a.Name) {
			t.Errorf("area %s is there twice", a.Name)
		}
		names = append(names, a.Name)
	}
	for _, a := range areas {
		for _, name := range a.Imports {
			if name != "*" && !slices.Contains(names, name) {
				t.Errorf("area %s imports %s, which is no area", a.Name, name)
			}
		}
	}
}
