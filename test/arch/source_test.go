// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package arch_test

import (
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker/test/arch"
)

func TestHeaders(t *testing.T) {
	const header = "// Copyright"
	found := arch.Headers(tree(t,
		"good.go", header+"\n\npackage x\n",
		"close.go", header+"\npackage x\n",
		"none_test.go", "package x\n"), header)
	want(t, found, "close.go:1: no licence header", "none_test.go:1")
}

func TestPackageComments(t *testing.T) {
	tests := []struct {
		name  string
		files []string
		want  []string
	}{
		{"one", []string{"a/a.go", "// Package a is.\npackage a", "a/b.go", "package a", "a/b_test.go", "// Package a tests.\npackage a"}, nil},
		{"none", []string{"a/a.go", "package a"}, []string{"a: 0 package comments"}},
		{"two", []string{"a/a.go", "// Package a is.\npackage a", "a/b.go", "// Package a too.\npackage a"}, []string{"a: 2 package comments"}},
		{"another name", []string{"a/a.go", "// Package ab is.\npackage a"}, []string{`does not start with "Package a "`}},
		{"detached", []string{"a/a.go", "// Package a is.\n\npackage a"}, []string{"0 package comments"}},
		{"a program", []string{"cmd/p/main.go", "// Command p does.\npackage main"}, nil},
		{"a program as a package", []string{"cmd/p/main.go", "// Package main does.\npackage main"}, []string{`"Command p "`}},
		{"tests only", []string{"a/a_test.go", "package a_test"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { want(t, arch.PackageComments(tree(t, tt.files...)), tt.want...) })
	}
}

func TestGoroutines(t *testing.T) {
	source := `package x
func f(wg *sync.WaitGroup, g *run.Group, ctx context.Context) {
	go f(nil, nil, nil)
	wg.Go(func() {})
	g.Go("named", func(ctx context.Context) error { return nil })
}`
	want(t, arch.Goroutines(tree(t, "a.go", source, "a_test.go", source)),
		"a.go:3: a go statement", "a.go:4: WaitGroup.Go")
}

func TestLocks(t *testing.T) {
	source := `package x
import s "sync"
type t struct {
	mu s.Mutex
	rw *s.RWMutex
	m  s.Map
	wg s.WaitGroup
}
func (t) closeLocked() {}`
	want(t, arch.Locks(tree(t, "a.go", source, "a_test.go", source)),
		"a.go:4: a sync.Mutex", "a.go:5: a sync.RWMutex", "a.go:6: a sync.Map", "a.go:9: closeLocked")
}

func TestGlobals(t *testing.T) {
	source := `package x
import "errors"
var errGone = errors.New("gone")
var _ error = (*t)(nil)
//go:embed openapi.yaml
var document []byte
var (
	//go:embed page.html
	page []byte
	count int
)
var a, b = 1, errors.New("b")
var pattern = regexp.MustCompile("x")
var table = map[string]int{}
func init() {}
func (t) init() {}
func f() { var local int }`
	want(t, arch.Globals(tree(t, "a.go", source, "a_test.go", source)),
		"variable count", "variable a", "variable pattern", "variable table", "an init function")
	found := arch.Except(arch.Globals(tree(t, "a.go", "package x\nvar table = map[string]int{}")),
		[]arch.Exception{{Key: "a.go:table", Count: 1, Why: "read only"}})
	want(t, found)
}

func TestLogKeys(t *testing.T) {
	source := `package x
func f() {
	log.Info("good", "user", u, "err", err)
	s.cfg.Log.With("color", 1).Info("not seen: what With returns has no name")
	s.log.Log(ctx, level, "request failed", "route", r, "shape", 2)
	log.Warn("one", key, 3)
	other.Info("no logger", "color", 1)
}`
	want(t, arch.LogKeys(tree(t, "a.go", source, "a_test.go", source), []string{"user", "err", "route"}),
		`"color" is no key`, `"shape" is no key`, "key is no key")
}

func TestBans(t *testing.T) {
	bans := []arch.Ban{
		{Package: "fmt", Names: []string{"Print", "Println"}, Except: []string{"cmd"}, Why: "prints"},
		{Package: "log/slog", Names: []string{"*"}, Tests: true, Why: "global"},
		{Names: []string{"t.Skip"}, Unless: "testing/synctest", Why: "hides"},
	}
	source := `package x
import (
	. "strings"
	out "fmt"
	"log/slog"
)
func f(t *testing.T) {
	out.Println(out.Sprint())
	slog.Info("x")
	t.Skip()
	rt.Skip()
	slog := 1
	slog.Info()
}`
	all := []string{"fmt.Println: prints", "log/slog.Info: global", "t.Skip: hides"}
	tests := []struct {
		path string
		want []string
	}{
		{"a.go", all},
		{"cmd/p/a.go", all[1:]},
		{"cmdx/a.go", all},
		{"a_test.go", []string{all[0], all[2]}},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) { want(t, arch.Bans(tree(t, tt.path, source), bans), tt.want...) })
	}
	bubble := strings.Replace(source, `. "strings"`, `"testing/synctest"`, 1)
	want(t, arch.Bans(tree(t, "a_test.go", bubble), bans), all[0])
}

func TestHabits(t *testing.T) {
	source := `package x
// f is not finished. TODO: finish.
func f() {
	s := "TODO in a text is none"
	panic("BUG: a fault")
	panic(fmt.Sprintf("BUG: fault %d", 1))
	panic(s)
	recover()
}`
	want(t, arch.Habits(tree(t, "a.go", source)), "a.go:2: left open: TODO", "a.go:7: the text of a panic", "a.go:8: recover")
	want(t, arch.Habits(tree(t, "a_test.go", source)), "left open: TODO")
}

func TestFunctions(t *testing.T) {
	body := func(lines int) string { return strings.Repeat("\tx()\n", lines-2) }
	source := "package x\nfunc short() {\n" + body(5) + "}\nfunc (t) long() {\n" + body(6) + "}\n"
	want(t, arch.Functions(tree(t, "a.go", source, "a_test.go", source), 5), "a.go:7: long has 6 lines, want 5")
}

func TestInterfaces(t *testing.T) {
	source := "package x\ntype small interface { A(); B() }\ntype large interface { A(); B(); C() }\n"
	want(t, arch.Interfaces(tree(t, "a.go", source), 2), "a.go:3: large has 3 methods")
}

func TestFiles(t *testing.T) {
	source := "package x\n" + strings.Repeat("\n", 9)
	want(t, arch.Files(tree(t, "a.go", source), 10))
	want(t, arch.Files(tree(t, "a.go", source, "a_test.go", source), 9), "a.go: 10 lines", "a_test.go: 10 lines")
}

func TestPackages(t *testing.T) {
	source := "package x\n" + strings.Repeat("\n", 4)
	want(t, arch.Packages(tree(t, "a/a.go", source, "a/b.go", source, "a/b_test.go", source, "b/b.go", source), 9), "a: 10 lines")
	want(t, arch.Packages(tree(t, "b/util/b.go", "package util"), 9), "package util: a name that says nothing")
}

func TestLines(t *testing.T) {
	got := arch.Lines(tree(t, "a.go", "// one\n// two\npackage x\n\nvar x = 1 // three\n", "a_test.go", "package x\n", "test/b.go", "package x\n"), "test")
	if want := (arch.Count{Code: 5, Comments: 3, Tests: 2}); got != want {
		t.Errorf("Lines() = %+v, want %+v", got, want)
	}
}
