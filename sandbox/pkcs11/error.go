// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package pkcs11

import (
	"errors"
	"fmt"

	p11 "github.com/miekg/pkcs11"

	"github.com/cardbroker/cardbroker"
)

// meaning is what a number that a call returned stands for, §2.1.4 and §5.1.
type meaning struct {
	code    uint // CKR_…
	name    string
	reason  cardbroker.Reason
	message string // safe to show
}

// meanings is the table. What is not in it is Internal.
func meanings() []meaning {
	return []meaning{
		{p11.CKR_CANCEL, "CKR_CANCEL", cardbroker.PINCanceled, "the user cancelled"},
		{p11.CKR_HOST_MEMORY, "CKR_HOST_MEMORY", cardbroker.Overloaded, "the library is out of memory"},
		{p11.CKR_SLOT_ID_INVALID, "CKR_SLOT_ID_INVALID", cardbroker.ObjectUnknown, "there is no such slot any more"},
		{p11.CKR_GENERAL_ERROR, "CKR_GENERAL_ERROR", cardbroker.Internal, "the library failed"},
		{p11.CKR_FUNCTION_FAILED, "CKR_FUNCTION_FAILED", cardbroker.Internal, "the library failed"},
		{p11.CKR_ARGUMENTS_BAD, "CKR_ARGUMENTS_BAD", cardbroker.Invalid, "the library refuses the parameters"},
		{p11.CKR_NEED_TO_CREATE_THREADS, "CKR_NEED_TO_CREATE_THREADS", cardbroker.Unavailable, "the library may start no threads"},
		{p11.CKR_CANT_LOCK, "CKR_CANT_LOCK", cardbroker.Unavailable, "the library cannot be used by several threads"},
		{p11.CKR_ATTRIBUTE_READ_ONLY, "CKR_ATTRIBUTE_READ_ONLY", cardbroker.Unsupported, "the object has no such attribute"},
		{p11.CKR_ATTRIBUTE_SENSITIVE, "CKR_ATTRIBUTE_SENSITIVE", cardbroker.Unsupported, "the attribute is not shown"},
		{p11.CKR_ATTRIBUTE_TYPE_INVALID, "CKR_ATTRIBUTE_TYPE_INVALID", cardbroker.Unsupported, "the object has no such attribute"},
		{p11.CKR_ATTRIBUTE_VALUE_INVALID, "CKR_ATTRIBUTE_VALUE_INVALID", cardbroker.Unsupported, "the object has no such attribute"},
		{p11.CKR_DATA_INVALID, "CKR_DATA_INVALID", cardbroker.Invalid, "the key does not take these data"},
		{p11.CKR_DATA_LEN_RANGE, "CKR_DATA_LEN_RANGE", cardbroker.Invalid, "the key does not take data of this length"},
		{p11.CKR_DEVICE_ERROR, "CKR_DEVICE_ERROR", cardbroker.CardMute, "the token does not answer as it should"},
		{p11.CKR_DEVICE_MEMORY, "CKR_DEVICE_MEMORY", cardbroker.Overloaded, "the token is out of memory"},
		{p11.CKR_DEVICE_REMOVED, "CKR_DEVICE_REMOVED", cardbroker.CardRemoved, "the token was removed"},
		{p11.CKR_FUNCTION_CANCELED, "CKR_FUNCTION_CANCELED", cardbroker.PINCanceled, "the user cancelled"},
		{p11.CKR_FUNCTION_NOT_SUPPORTED, "CKR_FUNCTION_NOT_SUPPORTED", cardbroker.Unsupported, "the library has no such function"},
		{p11.CKR_FUNCTION_REJECTED, "CKR_FUNCTION_REJECTED", cardbroker.PINCanceled, "the user refused"},
		{p11.CKR_KEY_HANDLE_INVALID, "CKR_KEY_HANDLE_INVALID", cardbroker.ObjectUnknown, "there is no such key any more"},
		{p11.CKR_KEY_SIZE_RANGE, "CKR_KEY_SIZE_RANGE", cardbroker.Unsupported, "the key has the wrong size for that"},
		{p11.CKR_KEY_TYPE_INCONSISTENT, "CKR_KEY_TYPE_INCONSISTENT", cardbroker.Unsupported, "the key is of another kind"},
		{p11.CKR_KEY_FUNCTION_NOT_PERMITTED, "CKR_KEY_FUNCTION_NOT_PERMITTED", cardbroker.Unsupported, "the key is not for that"},
		{p11.CKR_MECHANISM_INVALID, "CKR_MECHANISM_INVALID", cardbroker.Unsupported, "the token has no such mechanism"},
		{p11.CKR_MECHANISM_PARAM_INVALID, "CKR_MECHANISM_PARAM_INVALID", cardbroker.Unsupported, "the token has no such mechanism"},
		{p11.CKR_OBJECT_HANDLE_INVALID, "CKR_OBJECT_HANDLE_INVALID", cardbroker.ObjectUnknown, "there is no such object any more"},
		{p11.CKR_OPERATION_ACTIVE, "CKR_OPERATION_ACTIVE", cardbroker.ReaderBusy, "the session is in use"},
		{p11.CKR_PIN_INCORRECT, "CKR_PIN_INCORRECT", cardbroker.PINIncorrect, "the PIN is wrong"},
		{p11.CKR_PIN_INVALID, "CKR_PIN_INVALID", cardbroker.Invalid, "the token does not take such a PIN"},
		{p11.CKR_PIN_LEN_RANGE, "CKR_PIN_LEN_RANGE", cardbroker.Invalid, "the PIN is too short or too long for the token"},
		{p11.CKR_PIN_EXPIRED, "CKR_PIN_EXPIRED", cardbroker.Forbidden, "the PIN has expired and has to be changed"},
		{p11.CKR_PIN_LOCKED, "CKR_PIN_LOCKED", cardbroker.PINBlocked, "the PIN is blocked"},
		{p11.CKR_PIN_TOO_WEAK, "CKR_PIN_TOO_WEAK", cardbroker.Invalid, "the new PIN is too weak for the token"},
		{p11.CKR_SESSION_CLOSED, "CKR_SESSION_CLOSED", cardbroker.CardRemoved, "the token was removed"},
		{p11.CKR_SESSION_COUNT, "CKR_SESSION_COUNT", cardbroker.ReaderBusy, "the token has no room for another session"},
		{p11.CKR_SESSION_HANDLE_INVALID, "CKR_SESSION_HANDLE_INVALID", cardbroker.CardRemoved, "the token was removed"},
		{p11.CKR_SESSION_PARALLEL_NOT_SUPPORTED, "CKR_SESSION_PARALLEL_NOT_SUPPORTED", cardbroker.Unsupported, "the library has no such session"},
		{p11.CKR_SESSION_EXISTS, "CKR_SESSION_EXISTS", cardbroker.ReaderBusy, "another session is open"},
		{p11.CKR_SESSION_READ_ONLY_EXISTS, "CKR_SESSION_READ_ONLY_EXISTS", cardbroker.ReaderBusy, "another session is open"},
		{p11.CKR_SESSION_READ_WRITE_SO_EXISTS, "CKR_SESSION_READ_WRITE_SO_EXISTS", cardbroker.ReaderBusy, "another session is open"},
		{p11.CKR_TOKEN_NOT_PRESENT, "CKR_TOKEN_NOT_PRESENT", cardbroker.CardAbsent, "no token is in the slot"},
		{p11.CKR_TOKEN_NOT_RECOGNIZED, "CKR_TOKEN_NOT_RECOGNIZED", cardbroker.Unsupported, "the library does not know this token"},
		{p11.CKR_TOKEN_WRITE_PROTECTED, "CKR_TOKEN_WRITE_PROTECTED", cardbroker.Forbidden, "the token is protected against changes"},
		{p11.CKR_USER_NOT_LOGGED_IN, "CKR_USER_NOT_LOGGED_IN", cardbroker.Forbidden, "the token wants its PIN for that"},
		{p11.CKR_USER_PIN_NOT_INITIALIZED, "CKR_USER_PIN_NOT_INITIALIZED", cardbroker.Forbidden, "the token has no PIN yet"},
		{p11.CKR_USER_TYPE_INVALID, "CKR_USER_TYPE_INVALID", cardbroker.Unsupported, "the token has no such user"},
		{p11.CKR_USER_TOO_MANY_TYPES, "CKR_USER_TOO_MANY_TYPES", cardbroker.ReaderBusy, "another user is logged in to the token"},
		{p11.CKR_CRYPTOKI_NOT_INITIALIZED, "CKR_CRYPTOKI_NOT_INITIALIZED", cardbroker.Unavailable, "the library has ended"},
	}
}

// explain returns what err, which a call returned, is; nil for nil.
func explain(err error) error {
	if err == nil {
		return nil
	}
	code := codeOf(err)
	for _, m := range meanings() {
		if m.code == code {
			e := cardbroker.Wrapf(err, m.reason, "%s (%s)", m.message, m.name)
			if m.reason == cardbroker.PINIncorrect {
				e.Retries = cardbroker.RetriesUnknown
			}
			return e
		}
	}
	return cardbroker.Wrapf(err, cardbroker.Internal, "the library failed (%s)", nameOf(code))
}

// nameOf names a number that a call returned.
func nameOf(code uint) string {
	for _, m := range meanings() {
		if m.code == code {
			return m.name
		}
	}
	return fmt.Sprintf("CKR 0x%08X", code)
}

// codeOf returns the number in err's chain that a call returned; CKR_OK for nil, CKR_GENERAL_ERROR for what is none.
func codeOf(err error) uint {
	if err == nil {
		return p11.CKR_OK
	}
	if e, ok := errors.AsType[p11.Error](err); ok {
		return uint(e)
	}
	return p11.CKR_GENERAL_ERROR
}
