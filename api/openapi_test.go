// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/test/openapi"
)

func document(t *testing.T) *openapi3.T {
	t.Helper()
	checker, err := openapi.Load()
	if err != nil {
		t.Fatal(err)
	}
	return checker.Document()
}

// types are the Go types of the document's objects, all of them.
var types = map[string]any{
	"APDU":               api.APDU{},
	"Card":               api.Card{},
	"CardReader":         api.CardReader{},
	"CardReaderAnswer":   api.Success{},
	"CardReaderCard":     api.CardReaderCard{},
	"CardReadersAnswer":  api.Success{},
	"Consent":            api.Consent{},
	"ConsentAnswer":      api.ConsentAnswer{},
	"ConsentRequest":     api.ConsentRequest{},
	"ConsentRevoke":      api.ConsentRevoke{},
	"ConsentState":       api.ConsentState{},
	"ConsentStateAnswer": api.Success{},
	"ConsentWaiting":     api.ConsentWaiting{},
	"Consents":           api.Consents{},
	"DeviceJWK":          api.DeviceJWK{},
	"DeviceKeyAnswer":    api.Success{},
	"DeviceKeys":         api.DeviceKeys{},
	"Error":              api.ErrorBody{},
	"FlagAnswer":         api.Success{},
	"Info":               api.Info{},
	"InfoAPI":            api.InfoAPI{},
	"InfoCardbroker":     api.InfoCardbroker{},
	"InfoOS":             api.InfoOS{},
	"InfoRuntime":        api.InfoRuntime{},
	"InfoService":        api.InfoService{},
	"InfoUser":           api.InfoUser{},
	"Lease":              api.Lease{},
	"Leases":             api.Leases{},
	"Nothing":            struct{}{},
	"Offer":              api.Offer{},
	"Offered":            api.Offered{},
	"OpenRemote":         api.OpenRemote{},
	"OwnAgent":           api.OwnAgent{},
	"PINChallenge":       api.PINChallenge{},
	"PINVerified":        api.PINVerified{},
	"ReaderEvent":        api.ReaderEvent{},
	"ReaderLease":        api.ReaderLease{},
	"RemoteAPDU":         api.RemoteAPDU{},
	"RemoteAPDUs":        api.RemoteAPDUs{},
	"RemoteAnswer":       api.RemoteAnswer{},
	"RemoteAnswerAnswer": api.Success{}, "RemoteAnswersAnswer": api.Success{},
	"RemoteCCID":      api.RemoteCCID{},
	"RemoteCommand":   api.RemoteCommand{},
	"RemoteCommands":  api.RemoteCommands{},
	"RemoteReader":    api.RemoteReader{},
	"RemoteReaders":   api.RemoteReaders{},
	"RemoteSession":   api.RemoteSession{},
	"T1CAgent":        api.T1CAgent{},
	"T1CAgentsAnswer": api.Success{},
	"TextAnswer":      api.Success{},
	"Token":           api.Token{},
	"ValidateRequest": api.ValidateRequest{},
	"VerifyPIN":       api.VerifyPIN{},
}

// TestSchemasAreTheTypes compares each object of the document with its type: fields, which of them are always there, and
// which may be null.
func TestSchemasAreTheTypes(t *testing.T) {
	var objects []string
	for name, schema := range document(t).Components.Schemas {
		if !schema.Value.Type.Is("object") {
			continue
		}
		objects = append(objects, name)
		if closed := schema.Value.AdditionalProperties.Has; closed == nil || *closed {
			t.Errorf("%s has additional properties", name)
		}
		if types[name] == nil {
			t.Errorf("%s is no type", name)
			continue
		}
		var got []string
		for property, value := range schema.Value.Properties {
			got = append(got, describeField(property, slices.Contains(schema.Value.Required, property), value.Value.Nullable))
		}
		slices.Sort(got)
		if want := fields(reflect.TypeOf(types[name])); !slices.Equal(got, want) {
			t.Errorf("%s is %q, the type is %q", name, got, want)
		}
	}
	if slices.Sort(objects); !slices.Equal(objects, slices.Sorted(maps.Keys(types))) {
		t.Errorf("the objects are %q, want %q", objects, slices.Sorted(maps.Keys(types)))
	}
}

// fields describes the JSON of a struct.
func fields(typ reflect.Type) []string {
	var all []string
	for i := range typ.NumField() {
		name, options, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		optional := strings.Contains(options, "omitempty")
		all = append(all, describeField(name, !optional, typ.Field(i).Type.Kind() == reflect.Pointer && !optional))
	}
	slices.Sort(all)
	return all
}

func describeField(name string, required, nullable bool) string {
	return fmt.Sprintf("%s required=%v nullable=%v", name, required, nullable)
}

// TestEnumsAreTheConstants compares the words that programs rely on with those of the dictionary and of this package.
func TestEnumsAreTheConstants(t *testing.T) {
	schemas := document(t).Components.Schemas
	values := func(list []constant) (values []any) {
		for _, c := range list {
			values = append(values, c.value)
		}
		return values
	}
	for _, test := range []struct {
		name string
		got  []any
		want []any
	}{
		{"Reason", schemas["Reason"].Value.Enum, values(constants(t, "Reason"))},
		{"Rule", schemas["Rule"].Value.Enum, values(constants(t, "Rule"))},
		{"event", schemas["ReaderEvent"].Value.Properties["event"].Value.Enum,
			[]any{api.EventReaderAdded, api.EventReaderRemoved, api.EventCardIn, api.EventCardOut}},
		{"version", schemas["InfoAPI"].Value.Properties["version"].Value.Enum, []any{api.T1CVersion}},
	} {
		if !slices.Equal(test.got, test.want) {
			t.Errorf("%s is one of %q, want %q", test.name, test.got, test.want)
		}
	}
}

// TestOperations holds what every operation says: who has it, who may call it, and the errors that come before any
// handler runs.
func TestOperations(t *testing.T) {
	accesses := []any{"public", "self", "own", "tenant", "key"}
	behind := []any{"tenant", "key"} // the door, with credentials
	for path, item := range document(t).Paths.Map() {
		for method, operation := range item.Operations() {
			name := method + " " + path
			if len(operation.Tags) == 0 || operation.OperationID == "" || operation.Summary == "" {
				t.Errorf("%s lacks a tag, an id or a summary", name)
			}
			access := operation.Extensions["x-access"]
			if !slices.Contains(accesses, access) || access != "public" && slices.Contains(behind, access) != slices.Equal(operation.Tags, []string{"door"}) {
				t.Errorf("%s of %q has the access %v", name, operation.Tags, access)
			}
			if (len(*operation.Security) > 0) != slices.Contains(behind, access) {
				t.Errorf("%s with access %v has the security %v", name, access, *operation.Security)
			}
			want := []int{400, 403, 413, 429, 500, 503}
			if access != "public" {
				want = append(want, 412)
			}
			for _, status := range want {
				if operation.Responses.Status(status) == nil {
					t.Errorf("%s does not say %d", name, status)
				}
			}
			if operation.Responses.Default() != nil || operation.Responses.Status(404) != nil {
				t.Errorf("%s has a default answer, or 404, which is for unknown routes", name)
			}
		}
	}
}
