// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package arch

import (
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Headers finds files that do not start with the licence header and an empty line.
func Headers(tree Tree, header string) []Finding {
	var found []Finding
	for _, f := range tree {
		if !strings.HasPrefix(f.Source, header+"\n\n") {
			found = append(found, Finding{Key: f.Path, Path: f.Path, Line: 1, Text: "no licence header"})
		}
	}
	return found
}

// PackageComments finds folders that have not exactly one package comment, or one that does not start with
// "Package name" or, for a program, "Command name".
func PackageComments(tree Tree) []Finding {
	comments := make(map[string]int)
	var found []Finding
	code := tree.Code()
	for _, f := range code {
		comments[f.Folder()] += 0
		if f.AST.Doc == nil {
			continue
		}
		comments[f.Folder()]++
		want := "Package " + f.AST.Name.Name + " "
		if f.AST.Name.Name == "main" {
			want = "Command " + f.Folder()[strings.LastIndex(f.Folder(), "/")+1:] + " "
		}
		if !strings.HasPrefix(f.AST.Doc.Text(), want) {
			found = append(found, f.find(f.AST.Doc.Pos(), "the package comment does not start with %q", want))
		}
	}
	for folder, n := range comments {
		if n != 1 {
			found = append(found, Finding{Key: folder, Path: folder, Text: fmt.Sprintf("%d package comments, want 1", n)})
		}
	}
	return found
}

// Goroutines finds what starts one: go statements, and WaitGroup.Go, told from run.Group.Go by its one argument.
func Goroutines(tree Tree) []Finding {
	var found []Finding
	for _, f := range tree.Code() {
		f.inspect(func(n ast.Node) {
			switch n := n.(type) {
			case *ast.GoStmt:
				found = append(found, f.find(n.Pos(), "a go statement"))
			case *ast.CallExpr:
				if sel, ok := n.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Go" && len(n.Args) == 1 {
					found = append(found, f.find(n.Pos(), "WaitGroup.Go"))
				}
			}
		})
	}
	return found
}

// Locks finds locks of package sync, and functions named for one that their caller holds.
func Locks(tree Tree) []Finding {
	var found []Finding
	for _, f := range tree.Code() {
		imports := f.imports()
		f.inspect(func(n ast.Node) {
			pkg, name := qualified(n, imports)
			if pkg == "sync" && slices.Contains([]string{"Mutex", "RWMutex", "Map", "Cond", "NewCond"}, name) {
				found = append(found, f.find(n.Pos(), "a sync.%s", name))
			}
			if fn, ok := n.(*ast.FuncDecl); ok && strings.HasSuffix(fn.Name.Name, "Locked") {
				found = append(found, f.find(n.Pos(), "%s: a lock held across functions", fn.Name.Name))
			}
		})
	}
	return found
}

// Globals finds init functions and package variables. Allowed are _, sentinels made by errors.New and embedded files,
// which nobody assigns to.
func Globals(tree Tree) []Finding {
	var found []Finding
	for _, f := range tree.Code() {
		for _, decl := range f.AST.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				if decl.Recv == nil && decl.Name.Name == "init" {
					found = append(found, f.find(decl.Pos(), "an init function"))
				}
			case *ast.GenDecl:
				if decl.Tok == token.VAR {
					found = append(found, f.variables(decl)...)
				}
			}
		}
	}
	return found
}

func (f *File) variables(decl *ast.GenDecl) []Finding {
	var found []Finding
	imports := f.imports()
	for _, spec := range decl.Specs {
		spec := spec.(*ast.ValueSpec)
		if embedded(decl.Doc) || embedded(spec.Doc) {
			continue
		}
		for i, name := range spec.Names {
			if name.Name == "_" || i < len(spec.Values) && isSentinel(spec.Values[i], imports) {
				continue
			}
			v := f.find(name.Pos(), "package variable %s", name.Name)
			v.Key = f.Path + ":" + name.Name
			found = append(found, v)
		}
	}
	return found
}

func embedded(doc *ast.CommentGroup) bool {
	return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool {
		return strings.HasPrefix(c.Text, "//go:embed ")
	})
}

func isSentinel(value ast.Expr, imports map[string]string) bool {
	call, ok := value.(*ast.CallExpr)
	if !ok {
		return false
	}
	pkg, name := qualified(call.Fun, imports)
	return pkg == "errors" && name == "New"
}

// Ban forbids names, but in some folders.
type Ban struct {
	Package string   // an import path; "" for methods of variables
	Names   []string // of the package, "*" is all; or a variable and its method, such as "t.Skip"
	Except  []string // folders, each with all below it
	Tests   bool     // tests are free
	Unless  string   // files that import this are free
	Why     string
}

// Bans finds uses of what is banned.
func Bans(tree Tree, bans []Ban) []Finding {
	var found []Finding
	for _, f := range tree {
		imports := f.imports()
		paths := slices.Collect(maps.Values(imports))
		f.inspect(func(n ast.Node) {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return
			}
			pkg, name := qualified(sel, imports)
			if pkg == "" {
				name = f.text(sel)
			}
			for _, ban := range bans {
				named := slices.Contains(ban.Names, name) || slices.Contains(ban.Names, "*")
				free := ban.Tests && f.IsTest() || within(f.Folder(), ban.Except) || slices.Contains(paths, ban.Unless)
				if pkg == ban.Package && named && !free {
					found = append(found, f.find(n.Pos(), "%s: %s", strings.TrimPrefix(pkg+"."+name, "."), ban.Why))
				}
			}
		})
	}
	return found
}

// Habits finds comments that leave something open, panics that are not marked as a fault of the program, and recover.
func Habits(tree Tree) []Finding {
	leftOpen := regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)\b`)
	var found []Finding
	for _, f := range tree {
		for _, group := range f.AST.Comments {
			for _, c := range group.List {
				if mark := leftOpen.FindString(c.Text); mark != "" {
					found = append(found, f.find(c.Pos(), "left open: %s", mark))
				}
			}
		}
		f.inspect(func(n ast.Node) {
			call, ok := n.(*ast.CallExpr)
			if !ok || f.IsTest() {
				return
			}
			switch id, _ := call.Fun.(*ast.Ident); {
			case id == nil || id.Obj != nil:
			case id.Name == "recover":
				found = append(found, f.find(n.Pos(), "recover: a fault ends the process"))
			case id.Name == "panic" && !strings.Contains(f.text(call), `"BUG: `):
				found = append(found, f.find(n.Pos(), `the text of a panic starts with "BUG: "`))
			}
		})
	}
	return found
}

// LogKeys finds calls of a logger whose attributes have other keys than those that are fixed, or keys that are no
// literals. A logger is what is called log, or ends in Log.
func LogKeys(tree Tree, keys []string) []Finding {
	first := map[string]int{"With": 0, "Debug": 1, "Info": 1, "Warn": 1, "Error": 1, "Log": 3} // argument that is a key
	var found []Finding
	for _, f := range tree.Code() {
		f.inspect(func(n ast.Node) {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !isLogger(f.text(sel.X)) {
				return
			}
			at, known := first[sel.Sel.Name]
			for ; known && at < len(call.Args); at += 2 {
				if key := f.text(call.Args[at]); !slices.Contains(keys, strings.Trim(key, `"`)) || key[0] != '"' {
					found = append(found, f.find(call.Args[at].Pos(), "%s is no key of logs", key))
				}
			}
		})
	}
	return found
}

func isLogger(name string) bool {
	name = name[strings.LastIndex(name, ".")+1:]
	return name == "log" || strings.HasSuffix(name, "Log")
}

// text returns the source of a node.
func (f *File) text(n ast.Node) string {
	return f.Source[f.set.Position(n.Pos()).Offset:f.set.Position(n.End()).Offset]
}
