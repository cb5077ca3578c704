// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package apidoc

import (
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// field is one name in an object, or a parameter.
type field struct {
	Name, Type, Place string
	Required          bool
	Values            []string // of an enumeration
	Text              template.HTML
	Fields            []field
}

// fields returns what is in an object, or in the objects of an array.
func fields(ref *openapi3.SchemaRef) []field {
	schema := whole(ref)
	if schema.Items != nil {
		return fields(schema.Items)
	}
	var all []field
	for _, name := range names(schema) {
		all = append(all, describe(name, schema.Properties[name], slices.Contains(schema.Required, name)))
	}
	return all
}

// whole is the schema itself, or the one that it is made of.
func whole(ref *openapi3.SchemaRef) *openapi3.Schema {
	if len(ref.Value.AllOf) == 1 {
		return ref.Value.AllOf[0].Value
	}
	return ref.Value
}

// names are an object's names: those that are always there, in the document's order, and then the others.
func names(schema *openapi3.Schema) []string {
	optional := slices.DeleteFunc(slices.Sorted(maps.Keys(schema.Properties)), func(name string) bool {
		return slices.Contains(schema.Required, name)
	})
	return append(slices.Clone(schema.Required), optional...)
}

func describe(name string, ref *openapi3.SchemaRef, required bool) field {
	schema := whole(ref)
	f := field{Name: name, Type: typeOf(schema), Required: required, Text: inline(schema.Description), Fields: fields(ref)}
	if ref.Value.Nullable {
		f.Type += " or null"
	}
	if ref.Value.Description != "" {
		f.Text = inline(ref.Value.Description)
	}
	values := schema
	for values.Items != nil {
		values = values.Items.Value
	}
	for _, value := range values.Enum {
		f.Values = append(f.Values, fmt.Sprintf("%v", value))
	}
	if len(f.Values) > 12 {
		f.Values = nil // reasons and rules have tables
	}
	return f
}

// typeOf names a type, with its limits.
func typeOf(s *openapi3.Schema) string {
	if s.Items != nil {
		return "array of " + typeOf(s.Items.Value)
	}
	text := strings.Join(s.Type.Slice(), " or ")
	if s.Format != "" {
		text += ", " + s.Format
	}
	if s.Pattern != "" {
		text += ", " + s.Pattern
	}
	if s.MaxLength != nil && *s.MaxLength == 0 {
		text += ", empty"
	} else if s.MaxLength != nil {
		text += fmt.Sprintf(", at most %d characters", *s.MaxLength)
	}
	switch {
	case s.Min != nil && s.Max != nil:
		text += fmt.Sprintf(", %.0f to %.0f", *s.Min, *s.Max)
	case s.Min != nil:
		text += fmt.Sprintf(", from %.0f", *s.Min)
	}
	return text
}

// exampleOf returns JSON that a schema allows, indented.
func exampleOf(ref *openapi3.SchemaRef) string {
	var b strings.Builder
	writeExample(&b, ref, "\n")
	return b.String()
}

func writeExample(b *strings.Builder, ref *openapi3.SchemaRef, line string) {
	s := whole(ref)
	switch {
	case s.Example == nil && s.Type.Is("object"):
		b.WriteString("{")
		separator := ""
		for _, name := range names(s) {
			fmt.Fprintf(b, "%s%s  %q: ", separator, line, name)
			writeExample(b, s.Properties[name], line+"  ")
			separator = ","
		}
		if separator != "" {
			b.WriteString(line)
		}
		b.WriteString("}")
	case s.Example == nil && s.Type.Is("array"):
		b.WriteString("[")
		writeExample(b, s.Items, line)
		b.WriteString("]")
	default:
		text, err := json.Marshal(scalar(s))
		if err != nil {
			panic("BUG: an example is no JSON: " + err.Error())
		}
		b.Write(text)
	}
}

// scalar is a value that a schema allows: the document's own example, or the plainest.
func scalar(s *openapi3.Schema) any {
	switch {
	case s.Example != nil:
		return s.Example
	case len(s.Enum) > 0:
		return s.Enum[0]
	case s.Type.Is("boolean"):
		return true
	case s.Type.Is("integer") || s.Type.Is("number"):
		if s.Min != nil {
			return *s.Min
		}
		return 0
	case s.Format == "date-time":
		return "2026-11-26T09:30:00Z"
	case s.Pattern != "":
		parsed, err := syntax.Parse(s.Pattern, syntax.Perl)
		if err != nil {
			panic("BUG: kin-openapi has compiled " + s.Pattern)
		}
		return plainest(parsed)
	case s.MaxLength != nil && *s.MaxLength == 0:
		return ""
	}
	return "…"
}

// plainest is a text that an expression matches.
func plainest(re *syntax.Regexp) string {
	var text string
	switch re.Op {
	case syntax.OpLiteral:
		return string(re.Rune)
	case syntax.OpCharClass:
		return string(re.Rune[0])
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return "x"
	case syntax.OpConcat:
		for _, part := range re.Sub {
			text += plainest(part)
		}
	case syntax.OpCapture, syntax.OpAlternate, syntax.OpPlus:
		return plainest(re.Sub[0])
	case syntax.OpRepeat:
		return strings.Repeat(plainest(re.Sub[0]), max(re.Min, 0))
	}
	return text // nothing of what may be missing
}

// curl is how a program of the user, or a back end, makes the request.
func curl(method, path string, o *openapi3.Operation, sent *openapi3.SchemaRef) string {
	server := "http://127.0.0.1:$PORT"
	if o.Tags[0] == "door" {
		server = "https://$HOST:8443"
	}
	for _, p := range o.Parameters {
		if p.Value.In == "path" {
			path = strings.ReplaceAll(path, "{"+p.Value.Name+"}", fmt.Sprint(scalar(whole(p.Value.Schema))))
		}
	}
	words := []string{"curl " + server + path}
	if method != "GET" && (method != "POST" || sent == nil) { // which a body says
		words = append(words, "-X "+method)
	}
	if access := o.Extensions["x-access"]; access == "tenant" || access == "key" {
		words = append(words, `-H "Authorization: Bearer $TOKEN"`)
	}
	if sent != nil {
		words = append(words, "-H 'Content-Type: application/json'", "-d '"+exampleOf(sent)+"'")
	}
	return strings.Join(words, " \\\n  ")
}
