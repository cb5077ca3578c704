// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"time"

	"github.com/cardbroker/cardbroker"
)

// ConsentRequest is the body of POST /v3/consent, as clients of the Trust1Connector contract send it. Of CodeWord the form
// counts only; DurationInDays is cut to what policy allows; Consents are those that the page got before.
type ConsentRequest struct {
	CodeWord       string   `json:"codeWord"`
	DurationInDays *int     `json:"durationInDays,omitempty"`
	Consents       []string `json:"consents,omitempty"`
}

// ValidateRequest is the body of POST /v3/validate.
type ValidateRequest struct {
	Consents []string `json:"consents"`
}

// The states of consent.
const (
	ConsentApproved = "APPROVED"
	ConsentRequired = "REQUIRED"
)

// ConsentState answers both, as data. Consent is base64 of JSON, in ASCII, with the agent's port in agent.apiPort; Consents
// are what the page is to keep, those of other hosts among them.
type ConsentState struct {
	State    string   `json:"consentState"`
	Consent  string   `json:"consent"` // empty unless State is ConsentApproved
	Consents []string `json:"consents"`
}

// T1CAgent is an agent of the caller's user, as GET /v3/agents lists them.
type T1CAgent struct {
	Username        string `json:"username"`
	APIIP           string `json:"apiIp"`
	APIPort         string `json:"apiPort"`
	APIPID          string `json:"apiPid"`
	SandboxIP       string `json:"sandboxIp"`
	SandboxPort     string `json:"sandboxPort"`
	SandboxPID      string `json:"sandboxPid"`
	APILastUsed     string `json:"apiLastUsed"`
	ClientLastUsed  string `json:"clientLastUsed"`
	ValidityInDays  string `json:"validityInDays"` // of the page's consent; empty for a local program
	ConnectionState string `json:"connectionState"`
	Hostname        string `json:"hostname"`
}

// T1CTime is how the contract writes times, in UTC.
const T1CTime = "2006-01-02 15:04:05.000000 UTC"

// Consents answers GET /cb/v1/consents. A web page sees its own consent only, a program of the user all.
type Consents struct {
	Consents []Consent        `json:"consents"`
	Waiting  []ConsentWaiting `json:"waiting"`        // the user is asked; the first is shown
	Page     string           `json:"page,omitempty"` // where the user can answer in his browser; for programs only
}

// Consent is one consent.
type Consent struct {
	Origin  cardbroker.Origin    `json:"origin"`
	Granted time.Time            `json:"granted"`
	Expires time.Time            `json:"expires"`
	By      cardbroker.ConsentBy `json:"by"`
	Session cardbroker.SessionID `json:"session"`

	DeviceKeyThumbprint string `json:"deviceKeyThumbprint"`
}

// ConsentWaiting is a question that the user has not answered.
type ConsentWaiting struct {
	Origin   cardbroker.Origin `json:"origin"`
	Days     int               `json:"days"`
	Deadline time.Time         `json:"deadline"`
}

// ConsentAnswer is the body of POST /cb/v1/consents: the user's answer, also before he is asked.
type ConsentAnswer struct {
	Origin string `json:"origin"`
	Answer string `json:"answer"`         // AnswerApprove or AnswerDeny
	Days   int    `json:"days,omitempty"` // 0: as long as policy allows
}

// The answers.
const (
	AnswerApprove = "approve"
	AnswerDeny    = "deny"
)

// ConsentRevoke is the body of POST /cb/v1/consents/revoke.
type ConsentRevoke struct {
	Origin string `json:"origin"`
}

// Ask has the agent say, over the link, whether a page of its user's may use his cards. The broker has asked the kernel whose
// page it is, and keeps nothing of the answer.
type Ask struct {
	ID       string            `json:"id"` // 32 hexadecimal digits
	Kind     AskKind           `json:"kind"`
	Origin   cardbroker.Origin `json:"origin,omitempty"`
	Days     int               `json:"days,omitempty"` // AskConsent: that the page asks for; 0: as long as policy allows
	Consents []string          `json:"consents,omitempty"`
}

// AskKind is what is asked.
type AskKind string

// The kinds.
const (
	AskConsent  AskKind = "consent"  // the user, if need be
	AskValidate AskKind = "validate" // whether one of Consents still counts
	AskKnown    AskKind = "known"    // whether there is a consent
	AskEnd      AskKind = "end"      // nobody waits for the answer to this ID any more
)

// Answer answers [Ask].
type Answer struct {
	ID    string        `json:"id"`
	State *ConsentState `json:"state,omitempty"`
	Days  int           `json:"days,omitempty"`  // that the consent still lasts
	Error *ErrorBody    `json:"error,omitempty"` // else
}
