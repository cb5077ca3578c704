// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package arch_test

import (
	"testing"

	"github.com/cardbroker/cardbroker/test/arch"
)

func TestMultipath(t *testing.T) {
	source := `package x
import ("net"; "net/http"; "net/http/httptest")
func plain() {
	net.Listen("tcp", "127.0.0.1:0")
	net.Dial(network, address)
	net.Listen("unix", path)
	net.DialTimeout("unix", path, 0)
	http.ListenAndServe(address, nil)
	httptest.NewServer(nil)
}
func config() { l := net.ListenConfig{}; l.Listen() }
func dialer() { d := &net.Dialer{}; d.Dial() }
func local() { var d net.Dialer; d.DialContext(ctx, "unix", path) }
func attack() { var l net.ListenConfig; l.SetMultipathTCP(true); l.Listen() }
func switched() { var l net.ListenConfig; l.SetMultipathTCP(false); l.Listen() }`
	want(t, arch.Multipath(tree(t, "a.go", source)), "a.go:4: net.Listen", "a.go:5: net.Dial", "a.go:8: net/http.ListenAndServe",
		"a.go:9: net/http/httptest.NewServer", "a.go:11: net.ListenConfig without", "a.go:12: net.Dialer without", "a.go:14: net.ListenConfig without")
	want(t, arch.Multipath(tree(t, "a_test.go", source)), "a_test.go:4", "a_test.go:8", "a_test.go:9", "a_test.go:11")
	want(t, arch.Multipath(tree(t, "free/a_test.go", source), "free"))
	want(t, arch.Multipath(tree(t, "free/a.go", "package x\nimport \"net\"\nfunc f() { net.Listen(n, a) }"), "free"), "net.Listen")
}

func TestRoutes(t *testing.T) {
	tests := []struct {
		name, rows string
		want       []string
	}{
		{"in order", `{http.MethodGet, "/a", Public, h}, {http.MethodPost, "/a", Self, h}, {http.MethodGet, "/b", Public, h}`, nil},
		{"keyed", `{Path: "/a", Method: "GET", Access: httpserver.Public}, {Path: "/b", Method: "GET", Access: httpserver.Self}`, nil},
		{"paths out of order", `{"GET", "/b", Public, h}, {"GET", "/a", Public, h}`, []string{"route GET /a is not after"}},
		{"methods out of order", `{http.MethodPost, "/a", Public, h}, {http.MethodGet, "/a", Public, h}`, []string{"route GET /a is not after"}},
		{"twice", `{"GET", "/a", Public, h}, {"GET", "/a", Self, h}`, []string{"route GET /a is not after"}},
		{"no access", `{Method: "GET", Path: "/a", Handle: h}`, []string{"are all named"}},
		{"not a literal", `row("GET", "/a")`, []string{"not a literal"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, kind := range []string{"[]Route", "[]httpserver.Route"} {
				want(t, arch.Routes(tree(t, "a.go", "package x\nfunc f() { return "+kind+"{"+tt.rows+"} }")), tt.want...)
			}
		})
	}
	want(t, arch.Routes(tree(t, "a.go", `package x; var l = []Row{{"b"}, {"a"}}`)))
}
