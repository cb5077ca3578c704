// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/test/apidoc"
)

// maxDocsPage is how large the page may be, in bytes.
const maxDocsPage = 300 << 10

// TestDocsPage keeps docs.html what openapi.yaml and the tables of reasons and rules say, and its policy what it needs.
func TestDocsPage(t *testing.T) {
	in := apidoc.Input{Document: document(t), Reasons: map[string]string{}}
	for _, c := range constants(t, "Reason") {
		in.Reasons[c.value] = c.comment
	}
	for _, c := range constants(t, "Rule") {
		in.Rules = append(in.Rules, apidoc.Rule{Name: c.value, Refuses: c.comment})
	}
	want, err := apidoc.Render(in)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("docs.html", want, 0o644); err != nil {
			t.Fatal(err)
		}
	} else if !bytes.Equal(api.DocsPage, want) {
		t.Errorf("docs.html is old: go test ./api -run TestDocsPage -update")
	}
	if len(want) > maxDocsPage {
		t.Errorf("docs.html has %d bytes, want %d or less", len(want), maxDocsPage)
	}
	if source := apidoc.StyleHash(); !strings.Contains(api.DocsPolicy, "style-src "+source+";") {
		t.Errorf("the policy is %q: it does not let in the page's style, %s", api.DocsPolicy, source)
	}
	t.Logf("%d bytes", len(want))
}
