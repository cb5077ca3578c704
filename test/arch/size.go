// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package arch

import (
	"fmt"
	"go/ast"
	"strings"
)

// Functions finds functions of more than limit lines. Tests may be as long as their story.
func Functions(tree Tree, limit int) []Finding {
	var found []Finding
	for _, f := range tree.Code() {
		for _, decl := range f.AST.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := f.line(fn.End()) - f.line(fn.Pos()) + 1; n > limit {
				v := f.find(fn.Pos(), "%s has %d lines, want %d or less", fn.Name.Name, n, limit)
				v.Key = f.Path + ":" + fn.Name.Name
				found = append(found, v)
			}
		}
	}
	return found
}

// Interfaces finds interfaces of more than limit methods.
func Interfaces(tree Tree, limit int) []Finding {
	var found []Finding
	for _, f := range tree {
		f.inspect(func(n ast.Node) {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return
			}
			if face, ok := spec.Type.(*ast.InterfaceType); ok && face.Methods.NumFields() > limit {
				v := f.find(spec.Pos(), "%s has %d methods, want %d or less", spec.Name.Name, face.Methods.NumFields(), limit)
				v.Key = f.Path + ":" + spec.Name.Name
				found = append(found, v)
			}
		})
	}
	return found
}

// Files finds files of more than limit lines.
func Files(tree Tree, limit int) []Finding {
	var found []Finding
	for _, f := range tree {
		if n := f.Lines(); n > limit {
			text := fmt.Sprintf("%d lines, want %d or less", n, limit)
			found = append(found, Finding{Key: f.Path, Path: f.Path, Text: text})
		}
	}
	return found
}

// Packages finds packages of more than limit lines without their tests, and such whose name says nothing.
func Packages(tree Tree, limit int) []Finding {
	lines := make(map[string]int)
	var found []Finding
	for _, f := range tree.Code() {
		lines[f.Folder()] += f.Lines()
		if name := f.AST.Name.Name; strings.Contains(" util utils common misc helpers ", " "+name+" ") {
			found = append(found, f.find(f.AST.Name.Pos(), "package %s: a name that says nothing", name))
		}
	}
	for folder, n := range lines {
		if n > limit {
			text := fmt.Sprintf("%d lines, want %d or less", n, limit)
			found = append(found, Finding{Key: folder, Path: folder, Text: text})
		}
	}
	return found
}

// Count is a number of lines, for reports.
type Count struct {
	Code, Comments, Tests int
}

// Lines counts lines of code, how many of them are comments, and lines of tests. Folders named in support count as
// tests.
func Lines(tree Tree, support ...string) Count {
	var c Count
	for _, f := range tree {
		if f.IsTest() || within(f.Folder(), support) {
			c.Tests += f.Lines()
			continue
		}
		c.Code += f.Lines()
		for _, group := range f.AST.Comments {
			c.Comments += f.line(group.End()) - f.line(group.Pos()) + 1
		}
	}
	return c
}
