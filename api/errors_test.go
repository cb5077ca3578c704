// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
)

// TestEveryReasonHasOneRow holds the table against the constants of the dictionary, in their order.
func TestEveryReasonHasOneRow(t *testing.T) {
	var rows []string
	for _, row := range api.Reasons() {
		rows = append(rows, string(row.Reason))
	}
	var want []string
	for _, c := range constants(t, "Reason") {
		want = append(want, c.value)
	}
	if !slices.Equal(rows, want) {
		t.Errorf("Reasons() are %q, want %q", rows, want)
	}
}

// TestCodes holds what makes a code tell one thing from all others, also by its last three digits alone.
func TestCodes(t *testing.T) {
	known := map[cardbroker.Reason]int{ // by existing clients, facts of the Trust1Connector contract
		cardbroker.Invalid: 106997, cardbroker.Unauthenticated: 104025, cardbroker.ConsentRequired: 814501,
		cardbroker.NoAgent: 814500, cardbroker.NotFound: 112999, cardbroker.CardAbsent: 201010,
	}
	codes := map[int]cardbroker.Reason{}
	details := map[int]cardbroker.Reason{}
	for _, row := range api.Reasons() {
		detail := row.Code % 1000
		want, isKnown := known[row.Reason]
		switch {
		case isKnown && row.Code != want:
			t.Errorf("%s has the code %d, want %d, which clients know", row.Reason, row.Code, want)
		case !isKnown && (row.Code < 100000 || row.Code > 999999 || detail < 700 || detail > 799):
			t.Errorf("%s has the code %d, want six digits with a detail from 700 to 799", row.Reason, row.Code)
		case codes[row.Code] != "" || details[detail] != "":
			t.Errorf("%s has the code %d, which is also of %s%s", row.Reason, row.Code, codes[row.Code], details[detail])
		}
		codes[row.Code], details[detail] = row.Reason, row.Reason
	}
}

// TestStatuses holds the two statuses that make existing clients forget the number, and keeps errors from looking like
// answers.
func TestStatuses(t *testing.T) {
	only := map[int]cardbroker.Reason{401: cardbroker.Unauthenticated, 404: cardbroker.NotFound}
	for _, row := range api.Reasons() {
		if reason, special := only[row.Status]; special != (reason == row.Reason) && row.Status < 500 {
			t.Errorf("%s is %d, which is for %s alone", row.Reason, row.Status, reason)
		}
		if row.Status < 400 || http.StatusText(row.Status) == "" {
			t.Errorf("%s is %d, which is no error", row.Reason, row.Status)
		}
		if row.RetryAfter != 0 && row.Status != 503 && row.Status != 429 {
			t.Errorf("%s is %d with Retry-After", row.Reason, row.Status)
		}
	}
}

// TestRoundTrip sends an error of every reason through HTTP.
func TestRoundTrip(t *testing.T) {
	for _, row := range api.Reasons() {
		sent := &cardbroker.Error{Reason: row.Reason, Message: "what happened", Rule: cardbroker.RuleTicket, Err: errors.New("cause")}
		if row.Reason == cardbroker.PINIncorrect {
			sent.Retries = 2
		}
		w := httptest.NewRecorder()
		api.WriteError(w, fmt.Errorf("cannot do it: %w", sent))
		want := &cardbroker.Error{Reason: row.Reason, Message: "what happened", Rule: cardbroker.RuleTicket, Retries: sent.Retries}
		if row.Reason == cardbroker.Internal {
			want = &cardbroker.Error{Reason: cardbroker.Internal, Message: "internal error"}
		}
		answer := w.Result()
		got, ok := errors.AsType[*cardbroker.Error](api.ReadError(answer))
		if !ok || *got != *want || answer.StatusCode != row.Status {
			t.Errorf("ReadError(WriteError(%v)) = %+v with %d, want %+v with %d", sent, got, answer.StatusCode, want, row.Status)
		}
		retry := answer.Header.Get("Retry-After")
		if row.RetryAfter == 0 && retry != "" || row.RetryAfter > 0 && retry != fmt.Sprint(row.RetryAfter) {
			t.Errorf("%s has Retry-After %q, want %d", row.Reason, retry, row.RetryAfter)
		}
		if kind := answer.Header.Get("Content-Type"); kind != "application/json" || answer.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s is %q, want JSON that nobody keeps", row.Reason, kind)
		}
	}
}

// TestNoRetriesUnlessThePIN: zero tries left is something to say of a PIN, and of nothing else.
func TestNoRetriesUnlessThePIN(t *testing.T) {
	if body := api.Describe(&cardbroker.Error{Reason: cardbroker.PINIncorrect}); body.Retries == nil || *body.Retries != 0 {
		t.Errorf("Describe(pin_incorrect).Retries = %v, want 0", body.Retries)
	}
	if body := api.Describe(&cardbroker.Error{Reason: cardbroker.PINBlocked, Retries: 3}); body.Retries != nil {
		t.Errorf("Describe(pin_blocked).Retries = %d, want none", *body.Retries)
	}
}

// TestCausesAreNotShown looks for causes in what the outside sees.
func TestCausesAreNotShown(t *testing.T) {
	cause := errors.New("open /var/lib/cardbroker/registry.db: 4a0ffe")
	for _, test := range []struct {
		name string
		err  error
		want string
	}{
		{"without a reason", cause, "internal error"},
		{"internal, with a message", cardbroker.Wrapf(cause, cardbroker.Internal, "at 4a0ffe"), "internal error"},
		{"the cause of a reason", cardbroker.Wrapf(cause, cardbroker.Unavailable, "the store cannot be written"), "the store cannot be written"},
		{"the wrapping of a reason", fmt.Errorf("4a0ffe: %w", cardbroker.Errorf(cardbroker.Conflict, "taken")), "taken"},
		{"a reason alone", &cardbroker.Error{Reason: cardbroker.CardMute, Err: cause}, "card_mute"},
		{"a deadline", fmt.Errorf("4a0ffe: %w", context.DeadlineExceeded), "timed out"},
		{"the asker left", fmt.Errorf("4a0ffe: %w", context.Canceled), "canceled"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			api.WriteError(w, test.err)
			text := w.Body.String()
			if strings.Contains(text, "4a0ffe") || api.Describe(test.err).Description != test.want {
				t.Errorf("WriteError(%v) says %s, want the description %q", test.err, text, test.want)
			}
		})
	}
}

// TestReadErrorOfOthers reads what no server of ours says, such as a proxy's page.
func TestReadErrorOfOthers(t *testing.T) {
	for _, test := range []struct{ name, body string }{
		{"nothing", ""},
		{"a page", "<html>Bad Gateway"},
		{"JSON of somebody else", `{"error":"x"}`},
		{"no end", `{"reason":"conflict","description":"` + strings.Repeat("x", 1<<20)},
		{"half of it", `{"reason":"conf`},
	} {
		t.Run(test.name, func(t *testing.T) {
			body := &closer{Reader: strings.NewReader(test.body)}
			err := api.ReadError(&http.Response{StatusCode: 502, Status: "502 Bad Gateway", Body: body})
			if reason := cardbroker.ReasonOf(err); reason != cardbroker.Unavailable || !strings.Contains(err.Error(), "502") {
				t.Errorf("ReadError = %v, want unavailable with the status", err)
			}
			if !body.closed {
				t.Error("ReadError leaves the body open")
			}
		})
	}
}

type closer struct {
	io.Reader
	closed bool
}

func (c *closer) Close() error {
	c.closed = true
	return nil
}

// TestUnknownReason: a newer program's reason passes through, with the number of an internal error.
func TestUnknownReason(t *testing.T) {
	body := api.Describe(cardbroker.Errorf("from_the_future", "new"))
	if body.Reason != "from_the_future" || body.Code != 112727 || body.Error().Reason != "from_the_future" {
		t.Errorf("Describe of an unknown reason = %+v", body)
	}
}

// TestNoHTMLEscaping: descriptions are for people, not for pages.
func TestNoHTMLEscaping(t *testing.T) {
	w := httptest.NewRecorder()
	api.WriteError(w, cardbroker.Errorf(cardbroker.Invalid, "want <READER> & more"))
	if !strings.Contains(w.Body.String(), `"want <READER> & more"`) {
		t.Errorf("WriteError says %s", w.Body)
	}
}
