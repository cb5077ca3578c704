// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pinpad_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/pinpad"
)

func TestFeatures(t *testing.T) {
	want := pinpad.Features{{Tag: pinpad.VerifyPINDirect, Code: 0x42330006}, {Tag: pinpad.TLVProperties, Code: 0x42330012}}
	const bytes = "\x06\x04\x42\x33\x00\x06\x12\x04\x42\x33\x00\x12"
	if got := string(want.Append(nil)); got != bytes {
		t.Errorf("Append() = %x, want %x", got, bytes)
	}
	got, err := pinpad.ParseFeatures([]byte(bytes))
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("ParseFeatures(%x) = %v, %v, want %v", bytes, got, err, want)
	}
	if code, ok := got.Code(pinpad.TLVProperties); !ok || code != 0x42330012 {
		t.Errorf("Code(%d) = %x, %v, want 42330012", pinpad.TLVProperties, code, ok)
	}
	if _, ok := got.Code(pinpad.ModifyPINDirect); ok {
		t.Errorf("Code(%d) finds a feature that is not there", pinpad.ModifyPINDirect)
	}
}

func TestParseFeaturesRefuses(t *testing.T) {
	for _, p := range []string{"\x06", "\x06\x04\x42\x33\x00", "\x06\x05\x42\x33\x00\x06", "\x06\x04\x42\x33\x00\x06\x12"} {
		if got, err := pinpad.ParseFeatures([]byte(p)); cardbroker.ReasonOf(err) != cardbroker.Invalid {
			t.Errorf("ParseFeatures(%x) = %v, %v, want %s", p, got, err, cardbroker.Invalid)
		}
	}
}

func FuzzParseFeatures(f *testing.F) {
	f.Add([]byte("\x06\x04\x42\x33\x00\x06"))
	f.Fuzz(func(t *testing.T, p []byte) {
		features, err := pinpad.ParseFeatures(p)
		if err == nil && !bytes.Equal(features.Append(nil), p) {
			t.Errorf("Append(ParseFeatures(%x)) = %x", p, features.Append(nil))
		}
	})
}
