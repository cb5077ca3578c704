// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package arch

import (
	"cmp"
	"go/ast"
	"strings"
)

// Multipath finds listeners and dialers that may speak multipath TCP, which the kernel's tables of TCP sockets do not
// show: net.Listen and its like, and a net.ListenConfig or net.Dialer in a function that does not call SetMultipathTCP.
// Unix sockets are free, and so are dialers of tests, and all tests in the folders where nobody is looked up; a test may
// also switch it on, to attack with it.
func Multipath(tree Tree, free ...string) []Finding {
	var found []Finding
	for _, f := range tree {
		if f.IsTest() && within(f.Folder(), free) {
			continue
		}
		imports := f.imports()
		for _, decl := range f.AST.Decls {
			text := f.text(decl)
			switched := strings.Contains(text, ".SetMultipathTCP(false)") || strings.Contains(text, `"unix"`) ||
				f.IsTest() && strings.Contains(text, ".SetMultipathTCP(")
			ast.Inspect(decl, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CallExpr:
					if name := bare(n, imports); name != "" && !(f.IsTest() && strings.Contains(name, "Dial")) {
						found = append(found, f.find(n.Pos(), "%s may speak multipath TCP", name))
					}
				case *ast.SelectorExpr:
					pkg, name := qualified(n, imports)
					if pkg == "net" && !switched && (name == "ListenConfig" || name == "Dialer" && !f.IsTest()) {
						found = append(found, f.find(n.Pos(), "net.%s without SetMultipathTCP(false)", name))
					}
				}
				return true
			})
		}
	}
	return found
}

// bare returns the name of the function that call calls, if that opens a TCP socket with the system's defaults.
func bare(call *ast.CallExpr, imports map[string]string) string {
	pkg, name := qualified(call.Fun, imports)
	switch pkg + "." + name {
	case "net.Listen", "net.Dial", "net.DialTimeout":
		if len(call.Args) > 0 {
			network, ok := call.Args[0].(*ast.BasicLit)
			if ok && strings.HasPrefix(unquote(network), "unix") {
				return ""
			}
		}
		return "net." + name
	case "net.ListenTCP", "net.DialTCP", "net/http.ListenAndServe", "net/http.ListenAndServeTLS",
		"net/http/httptest.NewServer", "net/http/httptest.NewTLSServer", "net/http/httptest.NewUnstartedServer":
		return pkg + "." + name
	}
	return ""
}

// route is a row of a route table.
type route struct{ method, path, access string }

// Routes finds tables of type []Route, []httpserver.Route, whose rows are not in ascending order of path and method, or
// do not name an access.
func Routes(tree Tree) []Finding {
	var found []Finding
	for _, f := range tree.Code() {
		f.inspect(func(n ast.Node) {
			table, ok := n.(*ast.CompositeLit)
			if !ok || !isRouteTable(table.Type) {
				return
			}
			var before route
			for _, element := range table.Elts {
				row, ok := element.(*ast.CompositeLit)
				if !ok {
					found = append(found, f.find(element.Pos(), "a route that is not a literal"))
					continue
				}
				r := f.routeOf(row)
				if r.path == "" || r.method == "" || r.access == "" {
					found = append(found, f.find(row.Pos(), "route %s %s: method, path and access are all named", r.method, r.path))
				}
				if byPath(before, r) >= 0 {
					found = append(found, f.find(row.Pos(), "route %s %s is not after the one before", r.method, r.path))
				}
				before = r
			}
		})
	}
	return found
}

func byPath(a, b route) int {
	return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.method, b.method))
}

func isRouteTable(t ast.Expr) bool {
	array, ok := t.(*ast.ArrayType)
	if !ok {
		return false
	}
	switch e := array.Elt.(type) {
	case *ast.Ident:
		return e.Name == "Route"
	case *ast.SelectorExpr:
		return e.Sel.Name == "Route"
	}
	return false
}

// routeOf reads a row, keyed or in the order method, path, access.
func (f *File) routeOf(row *ast.CompositeLit) route {
	var r route
	fields := []string{"Method", "Path", "Access"}
	for i, element := range row.Elts {
		name, value := "", element
		if pair, ok := element.(*ast.KeyValueExpr); ok {
			name, value = f.text(pair.Key), pair.Value
		} else if i < len(fields) {
			name = fields[i]
		}
		switch name {
		case "Method":
			r.method = f.word(value)
		case "Path":
			r.path = f.word(value)
		case "Access":
			r.access = f.word(value)
		}
	}
	return r
}

// word returns a literal's text, the method that http.MethodGet and its like mean, or the source of anything else.
func (f *File) word(e ast.Expr) string {
	if lit, ok := e.(*ast.BasicLit); ok {
		return strings.Trim(lit.Value, "`\"")
	}
	if method, ok := strings.CutPrefix(f.text(e), "http.Method"); ok {
		return strings.ToUpper(method)
	}
	return f.text(e)
}
