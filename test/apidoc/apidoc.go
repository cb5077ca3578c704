// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package apidoc writes the page that broker and agent serve at /docs: api/openapi.yaml for people, in one file that needs
// no script and nothing from elsewhere. Only the test of package api imports it, which keeps the page up to date.
package apidoc

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed" // page.html, page.css
	"encoding/base64"
	"html/template"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/cardbroker/cardbroker/api"
)

//go:embed page.html
var pageTemplate string

//go:embed page.css
var style string

// Input is what the page is made of.
type Input struct {
	Document *openapi3.T
	Reasons  map[string]string // what each means
	Rules    []Rule            // in the order in which a request meets them
}

// Rule is a check that refuses.
type Rule struct{ Name, Refuses string }

// page is what page.html shows.
type page struct {
	Style   template.CSS
	Title   string
	Intro   []section
	Servers []server
	Reasons []reason
	Rules   []Rule
}

// section is a chapter of the document's description.
type section struct {
	ID, Title string
	Text      template.HTML
}

// server is one of the tags, with the operations that are told of there: of several servers, at the first.
type server struct {
	Name     string
	Text     string
	Families []family
}

// family are operations that belong together.
type family struct {
	Name       string
	Operations []operation
}

type operation struct {
	ID, Method, Path, Summary string
	Access                    string
	Servers                   []string
	Text                      template.HTML
	Parameters, Body          []field
	Answers                   []answer
	Errors                    []failure
	Request, Response         string // examples
}

// answer is one that is no error.
type answer struct {
	Status, Media string
	Text          template.HTML
	Fields        []field
}

// failure is a status of errors, and which reasons it has here.
type failure struct {
	Status  int
	Reasons []string
}

type reason struct {
	api.Mapping
	Meaning string
}

// Render returns the page.
func Render(in Input) ([]byte, error) {
	parsed, err := template.New("page").Parse(pageTemplate)
	if err != nil {
		return nil, err
	}
	p := page{Style: template.CSS(style), Title: in.Document.Info.Title, Intro: sections(in.Document.Info.Description), Rules: in.Rules}
	for _, tag := range in.Document.Tags {
		p.Servers = append(p.Servers, server{Name: tag.Name, Text: tag.Description, Families: families(in.Document, tag.Name)})
	}
	for _, row := range api.Reasons() {
		p.Reasons = append(p.Reasons, reason{row, in.Reasons[string(row.Reason)]})
	}
	var out bytes.Buffer
	err = parsed.Execute(&out, p)
	return out.Bytes(), err
}

// StyleHash is the source of the page's style for a Content-Security-Policy.
func StyleHash() string {
	hash := sha256.Sum256([]byte(style))
	return "'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'"
}

// kindOf tells operations apart by how their paths begin: the longest that fits counts.
func kindOf(path string) (order int, name string) {
	longest := 0
	for i, kind := range []struct{ prefix, name string }{
		{"/", "Information and pages"}, {"/v3/", "Trust1Connector"}, {"/v3/modules/remoteloading/", "Trust1Connector: remote loading"},
		{"/v3/modules/", "Trust1Connector: tokens"}, {"/cb/v1/", "cardbroker"},
	} {
		if strings.HasPrefix(path, kind.prefix) && len(kind.prefix) > longest {
			longest, order, name = len(kind.prefix), i, kind.name
		}
	}
	return order, name
}

// families returns the operations that are told of with a server.
func families(doc *openapi3.T, server string) []family {
	var all []family
	order := map[string]int{}
	for _, path := range slices.Sorted(maps.Keys(doc.Paths.Map())) {
		item := doc.Paths.Value(path)
		for _, method := range slices.Sorted(maps.Keys(item.Operations())) {
			described := item.Operations()[method]
			if described.Tags[0] != server {
				continue
			}
			at, name := kindOf(path)
			order[name] = at
			i := slices.IndexFunc(all, func(f family) bool { return f.Name == name })
			if i < 0 {
				i, all = len(all), append(all, family{Name: name})
			}
			all[i].Operations = append(all[i].Operations, newOperation(method, path, described))
		}
	}
	slices.SortStableFunc(all, func(a, b family) int { return cmp.Compare(order[a.Name], order[b.Name]) })
	return all
}

func newOperation(method, path string, described *openapi3.Operation) operation {
	o := operation{
		ID: described.OperationID, Method: method, Path: path, Summary: described.Summary, Servers: described.Tags,
		Text: paragraphs(described.Description),
	}
	o.Access, _ = described.Extensions["x-access"].(string)
	for _, p := range described.Parameters {
		f := describe(p.Value.Name, p.Value.Schema, p.Value.Required)
		f.Place = p.Value.In
		if p.Value.Description != "" {
			f.Text = inline(p.Value.Description)
		}
		o.Parameters = append(o.Parameters, f)
	}
	var sent *openapi3.SchemaRef
	if described.RequestBody != nil {
		sent = described.RequestBody.Value.Content["application/json"].Schema
		o.Body = fields(sent)
	}
	o.Request = curl(method, path, described, sent)
	statuses := slices.Sorted(maps.Keys(described.Responses.Map()))
	for _, status := range statuses {
		response := described.Responses.Value(status).Value
		n, _ := strconv.Atoi(status)
		if n >= 400 {
			o.Errors = append(o.Errors, failure{Status: n, Reasons: reasonsOf(described, response, n)})
			continue
		}
		o.answer(status, response)
	}
	return o
}

// answer adds an answer, and its example.
func (o *operation) answer(status string, response *openapi3.Response) {
	a := answer{Status: status, Media: strings.Join(slices.Sorted(maps.Keys(response.Content)), ", "), Text: inline(*response.Description)}
	if content := response.Content["application/json"]; content != nil {
		a.Fields = fields(content.Schema)
		o.Response = exampleOf(content.Schema)
	}
	o.Answers = append(o.Answers, a)
}

// reasonsOf are the reasons that the texts of an operation and of one of its errors name, and that have the status.
func reasonsOf(o *openapi3.Operation, response *openapi3.Response, status int) []string {
	named := *response.Description + o.Description
	var found []string
	for _, row := range api.Reasons() {
		if row.Status == status && strings.Contains(named, "`"+string(row.Reason)+"`") {
			found = append(found, string(row.Reason))
		}
	}
	return found
}
