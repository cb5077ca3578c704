// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pin

import (
	"bytes"

	"github.com/cardbroker/cardbroker"
)

// maxField is the longest text of a field, in bytes; a JWE with RSA has some 700.
const maxField = 4096

// Field is a member of a JSON body that holds a PIN, in clear or encrypted. It takes the text out of the buffer that it is
// decoded from: no copy stays behind there. The zero Field is empty.
type Field struct{ text cardbroker.Secret }

// UnmarshalJSON takes a JSON string or null, and overwrites it where it stood. Its errors repeat nothing of it.
func (f *Field) UnmarshalJSON(data []byte) error {
	defer blank(data)
	switch {
	case !f.Empty():
		f.Wipe()
		return cardbroker.Errorf(cardbroker.Invalid, "a PIN stands twice")
	case string(data) == "null":
		return nil
	case len(data) < 2 || data[0] != '"':
		return cardbroker.Errorf(cardbroker.Invalid, "a PIN is a JSON string")
	case len(data) > maxField:
		return cardbroker.Errorf(cardbroker.Invalid, "a PIN has at most %d bytes", maxField)
	}
	text, ok := unquote(data[1 : len(data)-1])
	if !ok {
		return cardbroker.Errorf(cardbroker.Invalid, "a PIN has characters that no PIN has")
	}
	f.text = cardbroker.NewSecret(text)
	return nil
}

// unquote returns the text of a JSON string. Of the escapes it knows \/, which some writers have in base64.
func unquote(quoted []byte) (text []byte, ok bool) {
	text = make([]byte, 0, len(quoted)) // never moved
	for i := 0; i < len(quoted); i++ {
		c := quoted[i]
		if c == '\\' {
			if i++; i == len(quoted) || quoted[i] != '/' {
				clear(text)
				return nil, false
			}
			c = '/'
		}
		text = append(text, c)
	}
	return text, true
}

// blank overwrites a JSON value by another one of the same length.
func blank(data []byte) {
	for i := range data {
		data[i] = '0'
	}
}

// Empty says whether there is nothing in the field.
func (f *Field) Empty() bool { return f.text.Empty() }

// Wipe overwrites the text.
func (f *Field) Wipe() {
	clear(f.text.Reveal())
	f.text = cardbroker.Secret{}
}

// sealed says whether the text looks like a JWE.
func (f *Field) sealed() bool {
	text := f.text.Reveal()
	return bytes.Count(text, []byte(".")) == 4 && len(text) > maxClear
}
