// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardbroker

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// Error is an error that crosses a package or a wire. Message is safe to show to the caller; Err, if any, is for the
// log of the side where it arose and never leaves the process.
type Error struct {
	Reason  Reason
	Message string
	Rule    Rule  // the check that refused, if one did
	Retries int   // PIN tries left, or RetriesUnknown; meaningful with PINIncorrect only
	Err     error // the cause, for the log; may be nil
}

// RetriesUnknown is for a card that does not tell how often a PIN may still be wrong.
const RetriesUnknown = -1

// Error returns the reason, the message and the cause, for logs. Show Message to others.
func (e *Error) Error() string {
	s := string(e.Reason)
	if e.Message != "" {
		s += ": " + e.Message
	}
	if e.Rule != "" {
		s += " [" + string(e.Rule) + "]"
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an [Error] whose message is safe to show: put no cause into it, use [Wrapf] for that.
func Errorf(reason Reason, format string, args ...any) *Error {
	return &Error{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// Wrapf is [Errorf] with the cause err, which is logged but not shown.
func Wrapf(err error, reason Reason, format string, args ...any) *Error {
	return &Error{Reason: reason, Message: fmt.Sprintf(format, args...), Err: err}
}

// Refusef is [Errorf] for a refusal, which always names the rule that decided.
func Refusef(reason Reason, rule Rule, format string, args ...any) *Error {
	return &Error{Reason: reason, Rule: rule, Message: fmt.Sprintf(format, args...)}
}

// ReasonOf returns the reason of the outermost [Error] in err's chain; for a passed deadline [Timeout], for a cancelled
// context [Canceled], for anything else [Internal], and "" for nil.
func ReasonOf(err error) Reason {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return Timeout
	case errors.Is(err, context.Canceled):
		return Canceled
	}
	return Internal
}

// RuleOf returns the rule of the outermost [Error] in err's chain, or "".
func RuleOf(err error) Rule {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Rule
	}
	return ""
}
