// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package openapi_test

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker/test/openapi"
)

// answer is what a server says, changed by each case.
type answer struct {
	method, path string
	status       int
	header       map[string]string
	body         string
}

const refused = `{"success":false,"code":104702,"description":"no","reason":"origin_denied","rule":"host_header"}`

// TestCheck has good answers pass and every kind of bad one found.
func TestCheck(t *testing.T) {
	health := answer{"GET", "/healthz", 200, map[string]string{"Content-Type": "application/json"}, `{}`}
	for _, test := range []struct {
		name   string
		change func(a *answer)
		want   string // part of what is found; "": nothing
	}{
		{"good", func(a *answer) {}, ""},
		{"HEAD", func(a *answer) { a.method, a.body = "HEAD", "" }, ""},
		{"a refusal", func(a *answer) { a.status, a.body = 403, refused }, ""},
		{"a property too many", func(a *answer) { a.body = `{"x":1}` }, `property "x" is unsupported`},
		{"no JSON", func(a *answer) { a.body = "ok" }, "invalid character"},
		{"nothing", func(a *answer) { a.body = "" }, "unexpected end"},
		{"a page", func(a *answer) { a.header["Content-Type"] = "text/html" }, "media type is text/html"},
		{"another status", func(a *answer) { a.status = 204 }, "which the document does not say"},
		{"not a route, but answered", func(a *answer) { a.path = "/x" }, "not in the document"},
		{"another method, but answered", func(a *answer) { a.method = "DELETE" }, "not in the document"},
		{"not a route", func(a *answer) {
			a.path, a.status, a.body = "/x", 404, `{"success":false,"code":112999,"description":"no","reason":"not_found"}`
		}, ""},
		{"an unknown reason", func(a *answer) { a.status, a.body = 403, strings.Replace(refused, "origin_denied", "no", 1) }, "not in the table"},
		{"another code", func(a *answer) { a.status, a.body = 403, strings.Replace(refused, "104702", "104701", 1) }, "want {Reason:origin_denied"},
		{"another reason's status", func(a *answer) { a.status, a.body = 413, refused }, "want {Reason:origin_denied"},
		{"an unknown rule", func(a *answer) { a.status, a.body = 403, strings.Replace(refused, "host_header", "mood", 1) }, "allowed values"},
		{"no Retry-After", func(a *answer) {
			a.status, a.body = 429, `{"success":false,"code":112719,"description":"no","reason":"rate_limited"}`
		}, "RetryAfter:1"},
		{"open to another page", func(a *answer) { a.header["Access-Control-Allow-Origin"] = "*" }, "Access-Control-Allow-Origin"},
	} {
		t.Run(test.name, func(t *testing.T) {
			checker, err := openapi.Load()
			if err != nil {
				t.Fatal(err)
			}
			a := health
			a.header = maps.Clone(health.header)
			test.change(&a)
			response := &http.Response{StatusCode: a.status, Header: http.Header{}}
			for name, value := range a.header {
				response.Header.Set(name, value)
			}
			err = checker.Check(openapi.Exchange{
				Server: "broker", Request: httptest.NewRequest(a.method, a.path, nil), Response: response, Received: []byte(a.body),
			})
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("Check = %v, want %q", err, test.want)
			}
			if seen := checker.Seen(); (len(seen) == 1) != (err == nil) {
				t.Errorf("Seen() = %q after %v", seen, err)
			}
		})
	}
}

// TestRoutes: an operation is one server's, or several servers'.
func TestRoutes(t *testing.T) {
	checker, err := openapi.Load()
	if err != nil {
		t.Fatal(err)
	}
	for server, want := range map[string]bool{"broker": true, "agent": true, "door": false} {
		if got := slices.Contains(checker.Routes(server), "GET /info public"); got != want {
			t.Errorf("Routes(%q) has /info: %v, want %v", server, got, want)
		}
	}
}
