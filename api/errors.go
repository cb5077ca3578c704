// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/cardbroker/cardbroker"
)

// ErrorBody is the body of every error. Code is the six-digit number that existing Trust1Connector clients know; Reason
// is what new programs rely on.
type ErrorBody struct {
	Success     bool              `json:"success"` // always false
	Code        int               `json:"code"`
	Description string            `json:"description"`
	Reason      cardbroker.Reason `json:"reason"`
	Rule        cardbroker.Rule   `json:"rule,omitempty"`
	Retries     *int              `json:"retries,omitempty"` // PIN tries left, with pin_incorrect where the card tells
}

// A Mapping says how a reason looks on the wire.
type Mapping struct {
	Reason     cardbroker.Reason
	Status     int // HTTP
	Code       int // XYYZZZ: origin, type, detail; details from 700 on are ours and unique
	RetryAfter int // seconds for the header Retry-After; 0: no header
}

// Reasons returns the one table from reason to HTTP status and code, in the order of package cardbroker. Rows are
// append-only.
func Reasons() []Mapping {
	return []Mapping{
		{cardbroker.Invalid, 400, 106997, 0},
		{cardbroker.Unauthenticated, 401, 104025, 0},
		{cardbroker.ConsentRequired, 412, 814501, 0},
		{cardbroker.NoAgent, 412, 814500, 0},
		{cardbroker.Forbidden, 403, 104701, 0},
		{cardbroker.OriginDenied, 403, 104702, 0},
		{cardbroker.TenantDenied, 403, 104703, 0},
		{cardbroker.CallerRefused, 403, 104704, 0},
		{cardbroker.ReaderSharedHost, 403, 201728, 0},
		{cardbroker.NotFound, 404, 112999, 0},
		{cardbroker.ReaderUnknown, 412, 201705, 0},
		{cardbroker.ObjectUnknown, 412, 202706, 0},
		{cardbroker.Conflict, 409, 807707, 0},
		{cardbroker.StaleEpoch, 409, 807708, 0},
		{cardbroker.SessionAmbiguous, 409, 807731, 0},
		{cardbroker.ReaderBusy, 409, 201709, 0},
		{cardbroker.CardAbsent, 409, 201010, 0},
		{cardbroker.CardRemoved, 409, 202711, 0},
		{cardbroker.CardReset, 409, 202712, 0},
		{cardbroker.CardMute, 409, 202713, 0},
		{cardbroker.CardUnexpected, 409, 202732, 0},
		{cardbroker.Indeterminate, 409, 202714, 0},
		{cardbroker.PINIncorrect, 403, 208715, 0},
		{cardbroker.PINBlocked, 423, 208716, 0},
		{cardbroker.PINCanceled, 409, 208717, 0},
		{cardbroker.PINNotEncrypted, 412, 208729, 0},
		{cardbroker.TooLarge, 413, 106718, 0},
		{cardbroker.RateLimited, 429, 112719, 1},
		{cardbroker.Unsupported, 501, 111720, 0},
		{cardbroker.Overloaded, 503, 112721, 1},
		{cardbroker.PortsExhausted, 503, 815722, 0},
		{cardbroker.Unavailable, 503, 112723, 0},
		{cardbroker.NoLeader, 503, 815724, 0},
		{cardbroker.AgentRestarting, 503, 815730, 2},
		{cardbroker.AuditBroken, 500, 812740, 0},
		{cardbroker.SessionUnknown, 412, 107733, 0},
		{cardbroker.Timeout, 504, 112725, 0},
		{cardbroker.Canceled, 409, 112726, 0},
		{cardbroker.Internal, 500, 112727, 0},
	}
}

// mappingOf returns the row of a reason; an unknown one is Internal's.
func mappingOf(reason cardbroker.Reason) Mapping {
	rows := Reasons()
	for _, row := range rows {
		if row.Reason == reason {
			return row
		}
	}
	return rows[len(rows)-1]
}

// Describe returns what the outside may know of err: its reason and safe message, never its cause.
func Describe(err error) ErrorBody {
	reason := cardbroker.ReasonOf(err)
	body := ErrorBody{Code: mappingOf(reason).Code, Reason: reason, Description: describe(reason)}
	e, ok := errors.AsType[*cardbroker.Error](err)
	if !ok || reason == cardbroker.Internal {
		return body
	}
	if e.Message != "" {
		body.Description = e.Message
	}
	body.Rule = e.Rule
	if reason == cardbroker.PINIncorrect && e.Retries != cardbroker.RetriesUnknown {
		body.Retries = &e.Retries
	}
	return body
}

// describe is what is said of an error that has no message of its own.
func describe(reason cardbroker.Reason) string {
	switch reason {
	case cardbroker.Internal:
		return "internal error"
	case cardbroker.Timeout:
		return "timed out"
	case cardbroker.Canceled:
		return "canceled"
	}
	return string(reason)
}

// WriteError answers a request with err: status, Retry-After and a JSON body, never an empty one (existing clients wait
// for ever on those). Logging is the caller's.
func WriteError(w http.ResponseWriter, err error) {
	row := mappingOf(cardbroker.ReasonOf(err))
	if row.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(row.RetryAfter))
	}
	WriteJSON(w, row.Status, Describe(err))
}

// WriteJSON answers with v as JSON, unchanged by HTML escaping.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.Encode(v) // an error is the connection's, and shows at the next read
}

// maxErrorBody is how much of an error's body is read, in bytes.
const maxErrorBody = 64 << 10

// ReadError turns the answer to a request that failed back into the error that [WriteError] was given, as far as it was
// shown. It reads and closes the body.
func ReadError(resp *http.Response) error {
	defer resp.Body.Close()
	var body ErrorBody
	err := json.NewDecoder(io.LimitReader(resp.Body, maxErrorBody)).Decode(&body)
	if err != nil || body.Reason == "" {
		return cardbroker.Wrapf(err, cardbroker.Unavailable, "the answer was HTTP %s, without a reason", resp.Status)
	}
	return body.Error()
}

// Error returns the error that the body describes.
func (b ErrorBody) Error() *cardbroker.Error {
	e := &cardbroker.Error{Reason: b.Reason, Message: b.Description, Rule: b.Rule}
	if b.Retries != nil {
		e.Retries = *b.Retries
	} else if b.Reason == cardbroker.PINIncorrect {
		e.Retries = cardbroker.RetriesUnknown
	}
	return e
}
