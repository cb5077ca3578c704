// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker/api"
)

var update = flag.Bool("update", false, "write docs/errors.md anew")

// constant is one constant of reason.go.
type constant struct{ value, comment string }

// constants returns those of one type, in their order.
func constants(t *testing.T, kind string) []constant {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../reason.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var found []constant
	for _, decl := range file.Decls {
		group, ok := decl.(*ast.GenDecl)
		if !ok || group.Tok != token.CONST {
			continue
		}
		for _, spec := range group.Specs {
			spec := spec.(*ast.ValueSpec)
			if name, ok := spec.Type.(*ast.Ident); !ok || name.Name != kind {
				continue
			}
			value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, constant{value: value, comment: strings.TrimSpace(spec.Comment.Text())})
		}
	}
	if len(found) == 0 {
		t.Fatalf("reason.go has no constants of type %s", kind)
	}
	return found
}

// TestErrorsDocument keeps docs/errors.md what the code says.
func TestErrorsDocument(t *testing.T) {
	const name = "../docs/errors.md"
	want := errorsDocument(t)
	if *update {
		if err := os.WriteFile(name, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("docs/errors.md is old: go test ./api -run TestErrorsDocument -update")
	}
}

func errorsDocument(t *testing.T) []byte {
	var b bytes.Buffer
	fmt.Fprint(&b, `<!-- Written by: go test ./api -run TestErrorsDocument -update -->
# Errors

Every error over HTTP has the body

    {"success":false,"code":201010,"description":"…","reason":"card_absent"}

and, where a check refused, its `+"`rule`; with `pin_incorrect` the `retries`"+` that are left. Programs rely on the reason, existing
Trust1Connector clients on the code, nobody on the description. The same reasons come through tunnels, the Go packages and
`+"`--json`"+`; [contract.md](contract.md) says which exit status they become. Reasons, codes and rules are append-only.

## Reasons

| reason | HTTP | code | Retry-After | meaning |
|---|---|---|---|---|
`)
	meaning := map[string]string{}
	for _, c := range constants(t, "Reason") {
		meaning[c.value] = c.comment
	}
	for _, row := range api.Reasons() {
		retry := "–"
		if row.RetryAfter > 0 {
			retry = fmt.Sprintf("%d s", row.RetryAfter)
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %s | %s |\n", row.Reason, row.Status, row.Code, retry, meaning[string(row.Reason)])
	}
	fmt.Fprint(&b, `
The code is XYYZZZ: origin (1 general, 2 transaction, 8 proxy and registry), type (01 reader, 02 card, 04 security, 06 input, 07
session, 08 PIN, 11 module, 12 system, 14 consent, 15 agent) and detail. Details from 700 on are cardbroker's own, and each is
unique.

## Rules

What `+"`cardbroker host explain`"+` prints, in the order in which a request meets them.

| rule | refuses |
|---|---|
`)
	for _, c := range constants(t, "Rule") {
		fmt.Fprintf(&b, "| %s | %s |\n", c.value, c.comment)
	}
	return b.Bytes()
}
