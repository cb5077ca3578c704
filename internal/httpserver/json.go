// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/cardbroker/cardbroker"
)

// Decode reads the request's body into v: one JSON value, no unknown field, no field twice, nothing after it.
func Decode(r *http.Request, v any) error {
	var names members
	d := json.NewDecoder(io.TeeReader(r.Body, &names))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	mistyped, isMistyped := errors.AsType[*json.UnmarshalTypeError](err)
	switch {
	case errors.Is(err, io.EOF):
		return cardbroker.Errorf(cardbroker.Invalid, "the body is empty, want JSON")
	case isMistyped && mistyped.Field == "":
		return cardbroker.Errorf(cardbroker.Invalid, "the body cannot be a JSON %s (byte %d)", mistyped.Value, mistyped.Offset)
	case isMistyped:
		return cardbroker.Errorf(cardbroker.Invalid, "%q cannot be a JSON %s (byte %d)", mistyped.Field, mistyped.Value, mistyped.Offset)
	case err != nil:
		return cardbroker.Errorf(cardbroker.Invalid, "the body is not the JSON that is wanted: %v (byte %d)", err, d.InputOffset())
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return cardbroker.Errorf(cardbroker.Invalid, "the body goes on after its JSON (byte %d)", d.InputOffset())
	}
	if names.at > 0 {
		return cardbroker.Errorf(cardbroker.Invalid, "%q stands twice (byte %d)", names.twice, names.at)
	}
	return nil
}

// QueryBool returns the value of ?name=true|false, and whether it was given. Errors: Invalid.
func QueryBool(query url.Values, name string) (value, given bool, err error) {
	text := query.Get(name)
	if text == "" {
		return false, false, nil
	}
	value, err = strconv.ParseBool(text)
	if err != nil {
		return false, false, cardbroker.Errorf(cardbroker.Invalid, "%s: want true or false", name)
	}
	return value, true, nil
}
