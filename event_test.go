// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardbroker_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
)

// declared returns the names of events in event.go, and those in the part of agents.
func declared(t *testing.T) (all, agents []string) {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, "event.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	begin := token.NoPos
	for _, group := range file.Comments {
		if group.Text() == "Agents.\n" {
			begin = group.Pos()
		}
	}
	if begin == token.NoPos {
		t.Fatal("event.go has no part of agents")
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		name, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		if all = append(all, name); spec.Pos() > begin {
			agents = append(agents, name)
		}
		return true
	})
	return all, agents
}

// TestEventsAreDocumented compares docs/audit.md with event.go, both ways: the names, and the names of fields.
func TestEventsAreDocumented(t *testing.T) {
	all, _ := declared(t)
	text, err := os.ReadFile("docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	fields := []string{}
	for f := range reflect.TypeFor[cardbroker.Event]().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		fields = append(fields, name)
	}
	var documented []string
	_, events, _ := strings.Cut(string(text), "\n## Events\n")
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|.*\\|(.*)\\|$").FindAllStringSubmatch(events, -1) {
		documented = append(documented, row[1])
		for _, part := range strings.Split(row[2], ", ") {
			field := regexp.MustCompile("^ ?`([a-z]+)`").FindStringSubmatch(part)
			if field != nil && !slices.Contains(fields, field[1]) {
				t.Errorf("%s: there is no field %s", row[1], field[1])
			}
		}
	}
	slices.Sort(all)
	slices.Sort(documented)
	if !slices.Equal(all, documented) {
		t.Errorf("event.go has\n%v,\ndocs/audit.md has\n%v", all, documented)
	}
}

// TestByAgents holds that the list of what agents may say is the part of agents, and losses.
func TestByAgents(t *testing.T) {
	all, agents := declared(t)
	for _, name := range all {
		want := slices.Contains(agents, name) || name == string(cardbroker.EventEventsLost)
		if got := cardbroker.EventName(name).ByAgents(); got != want {
			t.Errorf("%s.ByAgents() = %v, want %v", name, got, want)
		}
	}
}
