// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/cardbroker/cardbroker/api"
)

var update = flag.Bool("update", false, "write the files anew that are made from others")

// typesFile has the types of the REST API.
const typesFile = "../../sdk/js/src/api.ts"

// TestTypes: the SDK's types are those of the document. With -update they become that.
func TestTypes(t *testing.T) {
	document, err := openapi3.NewLoader().LoadFromData(api.OpenAPI)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	text.WriteString("// Copyright 2026 The cardbroker authors\n// SPDX-License-Identifier: Apache-2.0\n\n" +
		"// Made from api/openapi.yaml by `go test ./test/sdk -update`: the types of the REST API.\n")
	for _, name := range slices.Sorted(maps.Keys(document.Components.Schemas)) {
		schema := document.Components.Schemas[name]
		fmt.Fprintf(&text, "\n%sexport type %s = %s;\n", comment("", schema.Value.Description), name, typeOf("", schema))
	}
	if *update {
		if err := os.WriteFile(typesFile, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	committed, err := os.ReadFile(typesFile)
	if err != nil || string(committed) != text.String() {
		t.Errorf("%s is not what api/openapi.yaml says (%v): go test ./test/sdk -update", typesFile, err)
	}
}

// comment is a description as a comment, on lines of its own.
func comment(indent, description string) string {
	if description == "" {
		return ""
	}
	return indent + "/** " + strings.Join(strings.Fields(description), " ") + " */\n"
}

// typeOf is a schema in TypeScript.
func typeOf(indent string, ref *openapi3.SchemaRef) string {
	schema := ref.Value
	switch {
	case ref.Ref != "":
		return ref.Ref[strings.LastIndexByte(ref.Ref, '/')+1:]
	case len(schema.AllOf) == 1 && schema.Nullable:
		return typeOf(indent, schema.AllOf[0]) + " | null"
	case len(schema.Enum) > 0:
		values := make([]string, len(schema.Enum))
		for i, value := range schema.Enum {
			values[i] = fmt.Sprintf("%#v", value)
		}
		return strings.Join(values, " | ")
	case schema.Type.Is("array"):
		return "Array<" + typeOf(indent, schema.Items) + ">"
	case schema.Type.Is("object"):
		return objectOf(indent, schema)
	case schema.Type.Is("integer"), schema.Type.Is("number"):
		return "number"
	case schema.Type.Is("boolean"):
		return "boolean"
	case schema.Type.Is("string"):
		return "string"
	}
	return "unknown"
}

func objectOf(indent string, schema *openapi3.Schema) string {
	if len(schema.Properties) == 0 {
		if schema.AdditionalProperties.Schema != nil {
			return "Record<string, " + typeOf(indent, schema.AdditionalProperties.Schema) + ">"
		}
		return "Record<string, never>"
	}
	var text strings.Builder
	text.WriteString("{\n")
	inner := indent + "  "
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		property, optional := schema.Properties[name], "?"
		if slices.Contains(schema.Required, name) {
			optional = ""
		}
		if property.Ref == "" {
			text.WriteString(comment(inner, property.Value.Description))
		}
		fmt.Fprintf(&text, "%s%s%s: %s;\n", inner, name, optional, typeOf(inner, property))
	}
	return text.String() + indent + "}"
}
