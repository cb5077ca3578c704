// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package arch holds the rules that keep the tree as it is meant to be: who may import whom, where goroutines, locks and
// listeners stand, how large things get. A rule is a function from a [Tree] to its findings; it reads syntax only and
// knows no file by name. The tables that name packages and the exceptions stand in arch_test.go of the root package,
// which runs the rules.
package arch

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Module is the path of this module.
const Module = "github.com/cardbroker/cardbroker"

// File is one parsed Go file, whatever system it is for.
type File struct {
	Path   string // from the root of the module, with slashes
	Source string
	AST    *ast.File
	set    *token.FileSet
}

// Tree is all Go files of the module, in the order of their paths.
type Tree []*File

// Finding is a place that breaks a rule.
type Finding struct {
	Key  string // what an [Exception] names: a file, file:function, or a folder
	Path string
	Line int // 0: the whole file
	Text string
}

// String returns "path:line: text", which editors understand.
func (f Finding) String() string {
	if f.Line == 0 {
		return f.Path + ": " + f.Text
	}
	return fmt.Sprintf("%s:%d: %s", f.Path, f.Line, f.Text)
}

// Exception allows exactly Count findings of a rule under one Key, and says why. One that nothing needs is itself a
// finding, so that the lists never outlive their reasons.
type Exception struct {
	Key   string
	Count int
	Why   string
}

// Except takes the listed exceptions out of what was found, and adds those that do not fit.
func Except(found []Finding, list []Exception) []Finding {
	count := make(map[string]int)
	for _, f := range found {
		count[f.Key]++
	}
	allowed := make(map[string]bool)
	var rest []Finding
	for _, e := range list {
		switch n := count[e.Key]; {
		case e.Why == "":
			rest = append(rest, Finding{Path: e.Key, Text: "the exception gives no reason"})
		case n == e.Count:
			allowed[e.Key] = true
		default:
			rest = append(rest, Finding{Path: e.Key, Text: fmt.Sprintf("%d listed as exceptions, %d found", e.Count, n)})
		}
	}
	for _, f := range found {
		if !allowed[f.Key] {
			rest = append(rest, f)
		}
	}
	return rest
}

// Load parses the tree under root, without hidden folders, testdata, node_modules and build.
func Load(root string) (Tree, error) {
	var tree Tree
	dir := os.DirFS(root)
	err := fs.WalkDir(dir, ".", func(name string, entry fs.DirEntry, err error) error {
		switch base := path.Base(name); {
		case err != nil:
			return err
		case entry.IsDir() && name != "." && (base[0] == '.' || base[0] == '_' || base == "testdata" || base == "node_modules" || name == "build"):
			return fs.SkipDir
		case entry.IsDir() || path.Ext(name) != ".go":
			return nil
		}
		source, err := fs.ReadFile(dir, name)
		if err != nil {
			return err
		}
		file, err := Parse(name, string(source))
		if err != nil {
			return err
		}
		tree = append(tree, file)
		return nil
	})
	slices.SortFunc(tree, func(a, b *File) int { return cmp.Compare(a.Path, b.Path) })
	return tree, err
}

// Parse parses one file.
func Parse(name, source string) (*File, error) {
	set := token.NewFileSet()
	syntax, err := parser.ParseFile(set, name, source, parser.ParseComments)
	if err != nil {
		return nil, fmt.Errorf("cannot parse: %w", err)
	}
	return &File{Path: name, Source: source, AST: syntax, set: set}, nil
}

// Folder returns the folder of the file, "." for the root.
func (f *File) Folder() string { return path.Dir(f.Path) }

// IsTest says whether the file is part of tests only.
func (f *File) IsTest() bool { return strings.HasSuffix(f.Path, "_test.go") }

// Lines returns the number of lines.
func (f *File) Lines() int { return strings.Count(f.Source, "\n") }

// Code returns the files that are not tests.
func (t Tree) Code() Tree {
	return slices.DeleteFunc(slices.Clone(t), (*File).IsTest)
}

// Outside returns the files outside the folders.
func (t Tree) Outside(folders ...string) Tree {
	return slices.DeleteFunc(slices.Clone(t), func(f *File) bool { return within(f.Folder(), folders) })
}

func (f *File) line(p token.Pos) int { return f.set.Position(p).Line }

// find returns a finding at a position, with the file as its key.
func (f *File) find(p token.Pos, format string, args ...any) Finding {
	return Finding{Key: f.Path, Path: f.Path, Line: f.line(p), Text: fmt.Sprintf(format, args...)}
}

// imports maps the names by which the file knows other packages to their paths.
func (f *File) imports() map[string]string {
	names := make(map[string]string)
	for _, spec := range f.AST.Imports {
		target := unquote(spec.Path)
		name := path.Base(target)
		if len(name) > 1 && name[0] == 'v' && strings.Trim(name[1:], "0123456789") == "" {
			name = path.Base(path.Dir(target)) // a major version
		}
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = target
	}
	return names
}

// qualified returns the package path and the name of n, if it is a name of another package such as net.Dial.
func qualified(n ast.Node, imports map[string]string) (string, string) {
	if sel, ok := n.(*ast.SelectorExpr); ok {
		if id, ok := sel.X.(*ast.Ident); ok && id.Obj == nil {
			return imports[id.Name], sel.Sel.Name
		}
	}
	return "", ""
}

// within says whether the folder is one of the folders, or below one.
func within(folder string, folders []string) bool {
	return slices.ContainsFunc(folders, func(f string) bool {
		return folder == f || strings.HasPrefix(folder, f+"/")
	})
}

func unquote(lit *ast.BasicLit) string {
	s, err := strconv.Unquote(lit.Value)
	if err != nil {
		panic("BUG: the parser accepted " + lit.Value)
	}
	return s
}

// inspect calls visit for every node of the file.
func (f *File) inspect(visit func(ast.Node)) {
	ast.Inspect(f.AST, func(n ast.Node) bool {
		if n != nil {
			visit(n)
		}
		return true
	})
}
