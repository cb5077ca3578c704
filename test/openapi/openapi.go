// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package openapi holds real answers of broker and agent against api/openapi.yaml, and counts which of its answers were
// seen. Only tests import it.
package openapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
)

// Checker checks answers against the document. One goroutine uses it at a time.
type Checker struct {
	doc  *openapi3.T
	seen map[string]bool
	why  map[string]bool // what was seen, with reasons
}

// Load reads the document that is built in and validates it against OpenAPI itself.
func Load() (*Checker, error) {
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromData(api.OpenAPI)
	if err != nil {
		return nil, fmt.Errorf("cannot load openapi.yaml: %w", err)
	}
	if err := doc.Validate(context.Background(), openapi3.EnableSchemaFormatValidation(), openapi3.EnableSchemaPatternValidation()); err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	return &Checker{doc: doc, seen: map[string]bool{}, why: map[string]bool{}}, nil
}

// Document returns the document, for tests of its own.
func (c *Checker) Document() *openapi3.T { return c.doc }

// Exchange is one request and its answer.
type Exchange struct {
	Server   string // the tag of the server that was asked: broker, agent or door
	Request  *http.Request
	Sent     []byte // the body of the request, read already
	Response *http.Response
	Received []byte // the body of the answer, read already
}

// Check says in which way the answer is not what the document promises. A route that the server does not have must be
// answered as such. What is fine counts as seen.
func (c *Checker) Check(x Exchange) error {
	request := x.Request.Method + " " + x.Request.URL.Path
	path, operation := c.find(x.Server, x.Request)
	if operation == nil {
		path = "(unknown)"
		if x.Response.StatusCode == http.StatusOK {
			return fmt.Errorf("%s: %s is answered, but not in the document", x.Server, request)
		}
	}
	promised := c.promised(operation, x.Response.StatusCode)
	if promised == nil {
		return fmt.Errorf("%s: %s is answered %d, which the document does not say: %s", x.Server, request, x.Response.StatusCode, x.Received)
	}
	reason, err := checkReason(x, operation)
	err = errors.Join(checkHeaders(promised, x), checkBody(promised, x), checkCORS(x), err)
	if operation != nil && operation.RequestBody != nil && x.Response.StatusCode == http.StatusOK {
		err = errors.Join(err, checkJSON(operation.RequestBody.Value.Content["application/json"].Schema.Value, x.Sent))
	}
	if err != nil {
		return fmt.Errorf("%s: %s, answered %d: %w", x.Server, request, x.Response.StatusCode, err)
	}
	route := fmt.Sprintf("%s %s %s ", x.Server, x.Request.Method, path)
	c.seen[route+strconv.Itoa(x.Response.StatusCode)] = true
	if reason != "" {
		c.why[route+string(reason)] = true
	}
	return nil
}

// Seen returns the answers that were fine, as "server METHOD /path/{template} status", in order.
func (c *Checker) Seen() []string { return slices.Sorted(maps.Keys(c.seen)) }

// Documented returns all answers of the document, as [Checker.Seen] writes them.
func (c *Checker) Documented() []string {
	var answers []string
	for path, item := range c.doc.Paths.Map() {
		for method, operation := range item.Operations() {
			for _, server := range operation.Tags {
				for status := range operation.Responses.Map() {
					answers = append(answers, fmt.Sprintf("%s %s %s %s", server, method, path, status))
				}
			}
		}
	}
	slices.Sort(answers)
	return answers
}

// SeenReasons returns the errors that were fine, as "server METHOD /path/{template} reason", in order.
func (c *Checker) SeenReasons() []string { return slices.Sorted(maps.Keys(c.why)) }

// DocumentedReasons returns all reasons of the document, as [Checker.SeenReasons] writes them.
func (c *Checker) DocumentedReasons() []string {
	var all []string
	for path, item := range c.doc.Paths.Map() {
		for method, operation := range item.Operations() {
			for _, server := range operation.Tags {
				for _, reason := range Reasons(server, operation) {
					all = append(all, fmt.Sprintf("%s %s %s %s", server, method, path, reason))
				}
			}
		}
	}
	slices.Sort(all)
	return all
}

// CheckSchema checks a JSON text that is not a whole body, an event for example, against a schema of the document.
func (c *Checker) CheckSchema(name string, text []byte) error {
	return checkJSON(c.doc.Components.Schemas[name].Value, text)
}

// Routes returns the operations of one server as "METHOD /path access", in order.
func (c *Checker) Routes(server string) []string {
	var routes []string
	for path, item := range c.doc.Paths.Map() {
		for method, operation := range item.Operations() {
			if slices.Contains(operation.Tags, server) {
				routes = append(routes, fmt.Sprintf("%s %s %v", method, path, operation.Extensions["x-access"]))
			}
		}
	}
	slices.Sort(routes)
	return routes
}

// find returns the operation that a request is for, and its path in the document: of several that fit the one with the fewest
// variables.
func (c *Checker) find(server string, r *http.Request) (found string, operation *openapi3.Operation) {
	variables := func(path string) int { return strings.Count(path, "{") + 9*strings.Count(path, rest) }
	for path, item := range c.doc.Paths.Map() {
		method := strings.Replace(r.Method, http.MethodHead, http.MethodGet, 1)
		of := item.GetOperation(method)
		if of != nil && slices.Contains(of.Tags, server) && fits(path, r.URL.Path) && (operation == nil || variables(path) < variables(found)) {
			found, operation = path, of
		}
	}
	return found, operation
}

// rest is how a template ends that stands for paths of any length, {rest...} in the code.
const rest = "/{rest}"

// fits says whether path is one of the template's.
func fits(template, path string) bool {
	want, got := strings.Split(template, "/"), strings.Split(path, "/")
	if n := len(want); strings.HasSuffix(template, rest) && len(got) > n {
		got = got[:n]
	}
	return slices.EqualFunc(want, got, func(want, got string) bool {
		return want == got || strings.HasPrefix(want, "{") && got != ""
	})
}

// promised returns what the document says of a status. Unknown routes (nil) share the errors that come before routing.
func (c *Checker) promised(operation *openapi3.Operation, status int) *openapi3.Response {
	if operation != nil {
		if r := operation.Responses.Status(status); r != nil {
			return r.Value
		}
		return nil
	}
	for name, r := range c.doc.Components.Responses {
		if row := (map[string]int{"Refused": 403, "NotFound": 404, "TooLarge": 413, "RateLimited": 429})[name]; row == status {
			return r.Value
		}
	}
	return nil
}

func checkHeaders(promised *openapi3.Response, x Exchange) error {
	var failed []error
	for name, header := range promised.Headers {
		text := x.Response.Header.Get(name)
		if text == "" {
			if header.Value.Required {
				failed = append(failed, fmt.Errorf("the header %s is missing", name))
			}
			continue
		}
		var value any = text
		if n, err := strconv.ParseFloat(text, 64); err == nil {
			value = n
		}
		if err := header.Value.Schema.Value.VisitJSON(value); err != nil {
			failed = append(failed, fmt.Errorf("header %s: %w", name, err))
		}
	}
	return errors.Join(failed...)
}

// checkBody checks media type and content.
func checkBody(promised *openapi3.Response, x Exchange) error {
	if x.Request.Method == http.MethodHead || len(promised.Content) == 0 {
		if len(x.Received) > 0 {
			return fmt.Errorf("a body of %d bytes, want none", len(x.Received))
		}
		return nil
	}
	kind, _, err := mime.ParseMediaType(x.Response.Header.Get("Content-Type"))
	if err != nil {
		return fmt.Errorf("the media type: %w", err)
	}
	content := promised.Content[kind]
	if content == nil {
		return fmt.Errorf("the media type is %s", kind)
	}
	if kind != "application/json" {
		return nil
	}
	if x.Response.StatusCode >= 400 {
		if err := checkError(x); err != nil {
			return err
		}
	}
	return checkJSON(content.Schema.Value, x.Received)
}

func checkJSON(schema *openapi3.Schema, text []byte) error {
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		return fmt.Errorf("%q: %w", text, err)
	}
	return schema.VisitJSON(value, openapi3.MultiErrors(), openapi3.EnableFormatValidation())
}

// checkError checks that reason, status, code and Retry-After are of one row of the table. Of what is there soon by itself, a
// handler may say when to ask again though the row does not.
func checkError(x Exchange) error {
	var body api.ErrorBody
	if err := json.Unmarshal(x.Received, &body); err != nil {
		return err
	}
	rows := api.Reasons()
	i := slices.IndexFunc(rows, func(m api.Mapping) bool { return m.Reason == body.Reason })
	if i < 0 {
		return fmt.Errorf("reason %q is not in the table", body.Reason)
	}
	after, _ := strconv.Atoi(x.Response.Header.Get("Retry-After"))
	if body.Reason == cardbroker.Unavailable && rows[i].RetryAfter == 0 {
		after = 0
	}
	got := api.Mapping{Reason: body.Reason, Status: x.Response.StatusCode, Code: body.Code, RetryAfter: after}
	if got != rows[i] {
		return fmt.Errorf("the error is %+v, want %+v", got, rows[i])
	}
	if body.Description == "" {
		return errors.New("the error has no description")
	}
	return nil
}

// checkReason checks that the document gives the operation the reason of an error, and returns that.
func checkReason(x Exchange, operation *openapi3.Operation) (cardbroker.Reason, error) {
	var body api.ErrorBody
	if x.Response.StatusCode < 400 || json.Unmarshal(x.Received, &body) != nil {
		return "", nil
	}
	if operation != nil && !slices.Contains(append(Reasons(x.Server, operation), Faults()...), body.Reason) {
		return "", fmt.Errorf("the document does not give it the reason %s", body.Reason)
	}
	return body.Reason, nil
}

// checkCORS checks that the page that asked can read the answer, whatever it says, and that no other page can.
func checkCORS(x Exchange) error {
	origin := x.Request.Header.Get("Origin")
	if x.Response.StatusCode == http.StatusSwitchingProtocols {
		return nil
	}
	if origin == "null" || len(x.Request.Header.Values("Origin")) != 1 {
		origin = ""
	}
	if got := x.Response.Header.Get("Access-Control-Allow-Origin"); got != origin {
		return fmt.Errorf("Access-Control-Allow-Origin is %q, want %q", got, origin)
	}
	if got := x.Response.Header.Get("Access-Control-Allow-Credentials"); origin != "" && got != "true" {
		return fmt.Errorf("Access-Control-Allow-Credentials is %q", got)
	}
	return nil
}
