// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardbroker_test

import (
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
)

// TestParseOrigin: what browsers write, and nothing that one of them would write otherwise.
func TestParseOrigin(t *testing.T) {
	for _, good := range []string{
		"https://a.example", "http://localhost:8080", "https://[2001:db8::1]:8443", "http://[::1]", "https://xn--bcher-kva.example",
		"chrome-extension://abcdefghijklmnop", "moz-extension://0a1b-2c", "https://under_score.example", "http://127.0.0.1:51983", "https://a.example:80",
	} {
		if o, err := cardbroker.ParseOrigin(good); err != nil || string(o) != good {
			t.Errorf("ParseOrigin(%q) = %q, %v", good, o, err)
		}
	}
	for _, bad := range []string{
		"", "null", "https://", "a.example", "://a.example", "HTTPS://a.example", "https://A.example", "https://bücher.example",
		"https://a.example/", "https://a.example?x", "https://a.example#x", "https://u@a.example", "https://a.example:", "https://a.example:0",
		"https://a.example:443", "http://a.example:80", "https://a.example:08443", "https://a.example:65536", "https://a.example:+1", "https://[::1",
		"https://[::1%25lo]", "https://[FE80::1]", "https://[127.0.0.1]", "https://a<b>.example", "https://a&b.example", "https://a'b.example",
		"https://a b.example", "https://a\n.example", "https://a\\.example", "https://$(id).example", "https://*.example", "https://a.example https://b.example",
		"1http://a.example", "https://" + strings.Repeat("x", 300),
	} {
		if o, err := cardbroker.ParseOrigin(bad); cardbroker.ReasonOf(err) != cardbroker.Invalid || o != "" {
			t.Errorf("ParseOrigin(%q) = %q, %v", bad, o, err)
		}
	}
}

// TestOriginPattern: a pattern stands for what is below its domain, of its own scheme and port.
func TestOriginPattern(t *testing.T) {
	for _, test := range []struct {
		pattern, origin string
		want            bool
	}{
		{"https://a.example", "https://a.example", true},
		{"https://a.example", "https://a.example:8443", false},
		{"https://a.example", "http://a.example", false},
		{"https://*.example", "https://a.example", true},
		{"https://*.example.com", "https://a.b.example.com", true},
		{"https://*.example.com", "https://example.com", false},
		{"https://*.example.com", "https://evilexample.com", false},
		{"https://*.example.com", "https://example.com.evil.test", false},
		{"https://*.example.com", "https://a.example.com:8443", false},
		{"https://*.example.com", "http://a.example.com", false},
		{"https://*.example.com:8443", "https://a.example.com:8443", true},
		{"https://*.example.com:8443", "https://a.example.com", false},
		{"https://*.example.com", "xhttps://a.example.com", false},
	} {
		p, err := cardbroker.ParseOriginPattern(test.pattern)
		if err != nil || p.Matches(cardbroker.Origin(test.origin)) != test.want {
			t.Errorf("%q.Matches(%q) = %v, %v, want %v", test.pattern, test.origin, !test.want, err, test.want)
		}
	}
	for _, bad := range []string{
		"", "*", "*://a.example", "https://*", "https://*.", "https://*.*.example", "https://a.*.example", "https://*a.example", "https://*.example/",
		"https://*..example", "https://*.EXAMPLE", "https://*.example:443", "https://*.1.2.3", "https://*.[::1]", "https://*.:8443",
	} {
		if p, err := cardbroker.ParseOriginPattern(bad); cardbroker.ReasonOf(err) != cardbroker.Invalid {
			t.Errorf("ParseOriginPattern(%q) = %q, %v", bad, p, err)
		}
	}
}

func FuzzParseOrigin(f *testing.F) {
	for _, seed := range []string{"https://a.example", "http://[::1]:8080", "chrome-extension://abc", "https://*.example", "null"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		o, err := cardbroker.ParseOrigin(text)
		if err == nil && (string(o) != text || strings.ContainsAny(text, " <>&'\"\\`$();|*?#@%\n\r\t\x00") || strings.ToLower(text) != text) {
			t.Errorf("ParseOrigin(%q) = %q", text, o)
		}
		if p, err := cardbroker.ParseOriginPattern(text); err == nil && o != "" && !p.Matches(o) {
			t.Errorf("%q does not match itself", text)
		}
	})
}
