// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package httpserver_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
)

func TestDecode(t *testing.T) {
	for _, test := range []struct {
		name, body string
		want       string // part of the message; "": it is fine
	}{
		{"good", `{"reader":"a","tenant":"b"}`, ""},
		{"with space", " {\n\"reader\":\"a\"}\r\n\t", ""},
		{"no fields", `{}`, ""},
		{"null", `null`, ""},
		{"nothing", ``, "empty"},
		{"space", "  \n", "empty"},
		{"half", `{"reader":"a`, "unexpected EOF"},
		{"no JSON", `reader=a`, "invalid character"},
		{"another field", `{"reader":"a","tenants":"b"}`, `unknown field "tenants"`},
		{"a number for a text", `{"reader":7}`, `"reader" cannot be a JSON number (byte 11)`},
		{"a list for an object", `[]`, "the body cannot be a JSON array"},
		{"a field twice", `{"reader":"a","tenant":"b","reader":"a"}`, `"reader" stands twice (byte 35)`},
		{"the same, large", `{"reader":"a","READER":"b"}`, `"READER" stands twice`},
		{"the same, escaped", `{"reader":"a","re\u0061der":"b"}`, `"reader" stands twice`},
		{"a field of which a value has the name", `{"reader":"tenant","tenant":"reader"}`, ""},
		{"values with quotes and commas", `{"reader":"\",\"reader\":\\","tenant":"{"}`, ""},
		{"two values", `{}{}`, "goes on"},
		{"a bracket more", `{}]`, "goes on"}, // json.Decoder.More takes it for the end of a list
		{"a brace more", `{}}`, "goes on"},
		{"text after it", `{} x`, "goes on"},
		{"deep", strings.Repeat("[", 20000), "exceeded max depth"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var offer api.Offer
			err := httpserver.Decode(httptest.NewRequest("POST", "/", strings.NewReader(test.body)), &offer)
			if test.want == "" {
				if err != nil {
					t.Errorf("Decode(%q) = %v", test.body, err)
				}
				return
			}
			text := api.Describe(err).Description
			if cardbroker.ReasonOf(err) != cardbroker.Invalid || !strings.Contains(text, test.want) || strings.Contains(text, "Go ") {
				t.Errorf("Decode(%.40q) = %v, want invalid with %q", test.body, err, test.want)
			}
		})
	}
}
