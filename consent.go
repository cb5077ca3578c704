// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardbroker

import "time"

// Consent is the user's yes to web pages of an Origin. His Agents decide, store and enforce it; all Agents of one user on a
// Host share it.
type Consent struct {
	Origin  Origin    `json:"origin"`
	Granted time.Time `json:"granted"`
	Expires time.Time `json:"expires"`
	By      ConsentBy `json:"by"`
	Session SessionID `json:"session"` // in which he was asked

	DeviceKeyThumbprint string `json:"deviceKeyThumbprint"` // of the Agent that asked him, RFC 7638; empty: it had no key yet
}

// ConsentBy says whose a Consent is.
type ConsentBy string

// Who gives consent.
const (
	ConsentByUser   ConsentBy = "user"
	ConsentByPolicy ConsentBy = "policy" // machine policy, whatever the user wants
)
