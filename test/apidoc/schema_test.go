// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package apidoc

import (
	"encoding/json"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/cardbroker/cardbroker/test/openapi"
)

// TestExamples: what the page shows as examples, the document allows.
func TestExamples(t *testing.T) {
	checker, err := openapi.Load()
	if err != nil {
		t.Fatal(err)
	}
	for name, schema := range checker.Document().Components.Schemas {
		var value any
		text := exampleOf(schema)
		err := json.Unmarshal([]byte(text), &value)
		if err == nil {
			err = schema.Value.VisitJSON(value, openapi3.EnableFormatValidation())
		}
		if err != nil {
			t.Errorf("%s: the example %s: %v", name, text, err)
		}
	}
}

func TestParagraphs(t *testing.T) {
	const text = "One **bold** `<code>`\nand more.\n\n- a\n  b\n- c\n"
	const want = "<p>One <b>bold</b> <code>&lt;code&gt;</code> and more.</p><ul><li>a b<li>c</ul>"
	if got := paragraphs(text); string(got) != want {
		t.Errorf("paragraphs(%q) = %q, want %q", text, got, want)
	}
}
