// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package pkcs11

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	p11 "github.com/miekg/pkcs11"

	"github.com/cardbroker/cardbroker"
)

func TestExplain(t *testing.T) {
	tests := []struct {
		code uint
		want cardbroker.Reason
	}{
		{p11.CKR_OK, ""},
		{p11.CKR_CANCEL, cardbroker.PINCanceled},
		{p11.CKR_HOST_MEMORY, cardbroker.Overloaded},
		{p11.CKR_SLOT_ID_INVALID, cardbroker.ObjectUnknown},
		{p11.CKR_GENERAL_ERROR, cardbroker.Internal},
		{p11.CKR_ARGUMENTS_BAD, cardbroker.Invalid},
		{p11.CKR_ATTRIBUTE_TYPE_INVALID, cardbroker.Unsupported},
		{p11.CKR_DATA_LEN_RANGE, cardbroker.Invalid},
		{p11.CKR_DEVICE_ERROR, cardbroker.CardMute},
		{p11.CKR_DEVICE_REMOVED, cardbroker.CardRemoved},
		{p11.CKR_FUNCTION_CANCELED, cardbroker.PINCanceled},
		{p11.CKR_FUNCTION_NOT_SUPPORTED, cardbroker.Unsupported},
		{p11.CKR_FUNCTION_REJECTED, cardbroker.PINCanceled},
		{p11.CKR_KEY_HANDLE_INVALID, cardbroker.ObjectUnknown},
		{p11.CKR_KEY_TYPE_INCONSISTENT, cardbroker.Unsupported},
		{p11.CKR_KEY_FUNCTION_NOT_PERMITTED, cardbroker.Unsupported},
		{p11.CKR_MECHANISM_INVALID, cardbroker.Unsupported},
		{p11.CKR_MECHANISM_PARAM_INVALID, cardbroker.Unsupported},
		{p11.CKR_OPERATION_ACTIVE, cardbroker.ReaderBusy},
		{p11.CKR_PIN_INCORRECT, cardbroker.PINIncorrect},
		{p11.CKR_PIN_INVALID, cardbroker.Invalid},
		{p11.CKR_PIN_LEN_RANGE, cardbroker.Invalid},
		{p11.CKR_PIN_EXPIRED, cardbroker.Forbidden},
		{p11.CKR_PIN_LOCKED, cardbroker.PINBlocked},
		{p11.CKR_SESSION_COUNT, cardbroker.ReaderBusy},
		{p11.CKR_SESSION_HANDLE_INVALID, cardbroker.CardRemoved},
		{p11.CKR_TOKEN_NOT_PRESENT, cardbroker.CardAbsent},
		{p11.CKR_TOKEN_NOT_RECOGNIZED, cardbroker.Unsupported},
		{p11.CKR_USER_NOT_LOGGED_IN, cardbroker.Forbidden},
		{p11.CKR_USER_TYPE_INVALID, cardbroker.Unsupported},
		{p11.CKR_VENDOR_DEFINED + 1, cardbroker.Internal},
	}
	for _, test := range tests {
		var err error
		if test.code != p11.CKR_OK {
			err = fmt.Errorf("a call: %w", p11.Error(test.code))
		}
		got := explain(err)
		if cardbroker.ReasonOf(got) != test.want {
			t.Errorf("explain(%s) = %v, want the reason %q", nameOf(test.code), got, test.want)
		}
		if got != nil && !strings.Contains(got.Error(), nameOf(test.code)) {
			t.Errorf("explain(%s) = %v, without the name", nameOf(test.code), got)
		}
	}
	if e, ok := errors.AsType[*cardbroker.Error](explain(p11.Error(p11.CKR_PIN_INCORRECT))); !ok || e.Retries != cardbroker.RetriesUnknown {
		t.Errorf("a wrong PIN: %+v, want that nobody knows how many tries are left", e)
	}
}

// TestMeaningsAreUnique: a number that stands there twice would be read once.
func TestMeaningsAreUnique(t *testing.T) {
	codes, names := make(map[uint]bool), make(map[string]bool)
	for _, m := range meanings() {
		if codes[m.code] || names[m.name] || m.message == "" || m.reason == "" {
			t.Errorf("%s is there twice, or without a meaning", m.name)
		}
		codes[m.code], names[m.name] = true, true
	}
}

func TestCurveBits(t *testing.T) {
	for name, want := range map[string]int{
		"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07":     256, // P-256
		"\x06\x05\x2b\x81\x04\x00\x22":                 384,
		"\x06\x05\x2b\x81\x04\x00\x23":                 521,
		"\x06\x09\x2b\x24\x03\x03\x02\x08\x01\x01\x0d": 512, // brainpoolP512r1
		"\x06\x03\x2a\x03\x04":                         0,
		"":                                             0,
		"\x30\x00":                                     0,
	} {
		if got := curveBits([]byte(name)); got != want {
			t.Errorf("curveBits(%x) = %d, want %d", name, got, want)
		}
	}
}
