// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardbroker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/cardbroker/cardbroker"
)

func TestErrorText(t *testing.T) {
	cause := errors.New("disk on fire")
	tests := []struct {
		name string
		err  *cardbroker.Error
		want string
	}{
		{"reason and message", cardbroker.Errorf(cardbroker.ReaderUnknown, "no reader %q", "7"), `reader_unknown: no reader "7"`},
		{"with the cause", cardbroker.Wrapf(cause, cardbroker.Unavailable, "cannot store"), "unavailable: cannot store: disk on fire"},
		{"with the rule", cardbroker.Refusef(cardbroker.CallerRefused, cardbroker.RuleOtherUser, "not yours"), "caller_refused: not yours [other_user]"},
		{"reason alone", &cardbroker.Error{Reason: cardbroker.Timeout}, "timeout"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.err.Error(); got != tt.want {
				t.Errorf("Error() = %q, want %q", got, tt.want)
			}
		})
	}
}

// The message is what others see: it must not take the cause along.
func TestCauseStaysOutOfTheMessage(t *testing.T) {
	err := cardbroker.Wrapf(errors.New("token abc"), cardbroker.Internal, "internal error")
	if want := "internal error"; err.Message != want {
		t.Errorf("Message = %q, want %q", err.Message, want)
	}
	if !errors.Is(err, err.Err) {
		t.Error("the cause is not in the chain")
	}
}

func TestReasonOf(t *testing.T) {
	inner := cardbroker.Refusef(cardbroker.CallerRefused, cardbroker.RuleOtherUser, "not yours")
	outer := cardbroker.Wrapf(inner, cardbroker.Unavailable, "cannot ask")
	tests := []struct {
		name   string
		err    error
		reason cardbroker.Reason
		rule   cardbroker.Rule
	}{
		{"nil", nil, "", ""},
		{"itself", inner, cardbroker.CallerRefused, cardbroker.RuleOtherUser},
		{"wrapped", fmt.Errorf("cannot open: %w", inner), cardbroker.CallerRefused, cardbroker.RuleOtherUser},
		{"the outermost decides", outer, cardbroker.Unavailable, ""},
		{"joined", errors.Join(io.EOF, inner), cardbroker.CallerRefused, cardbroker.RuleOtherUser},
		{"deadline of a context", fmt.Errorf("x: %w", context.DeadlineExceeded), cardbroker.Timeout, ""},
		{"deadline of a connection", os.ErrDeadlineExceeded, cardbroker.Timeout, ""},
		{"cancelled", context.Canceled, cardbroker.Canceled, ""},
		{"a reason beats the context", cardbroker.Wrapf(context.Canceled, cardbroker.CardRemoved, "gone"), cardbroker.CardRemoved, ""},
		{"anything else", io.ErrUnexpectedEOF, cardbroker.Internal, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := cardbroker.ReasonOf(tt.err); got != tt.reason {
				t.Errorf("ReasonOf(%v) = %q, want %q", tt.err, got, tt.reason)
			}
			if got := cardbroker.RuleOf(tt.err); got != tt.rule {
				t.Errorf("RuleOf(%v) = %q, want %q", tt.err, got, tt.rule)
			}
		})
	}
}

// wantInvalid checks that err says Invalid, which is what all parsers of this package say.
func wantInvalid(t *testing.T, call string, err error) {
	t.Helper()
	if got := cardbroker.ReasonOf(err); got != cardbroker.Invalid {
		t.Errorf("%s: reason %q (%v), want %q", call, got, err, cardbroker.Invalid)
	}
}
