// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package certs

import "time"

// Warning says why a certificate is, or soon will be, of no use. Empty: it is valid for a while.
type Warning string

// The warnings. They are append-only.
const (
	Expired     Warning = "expired"
	ExpiresSoon Warning = "expires_soon" // within Soon
	NotYetValid Warning = "not_yet_valid"
)

// Soon is how long before its end a user is told that a certificate expires.
const Soon = 30 * 24 * time.Hour

// Warning returns the warning that applies at a time.
func (c Certificate) Warning(now time.Time) Warning {
	switch {
	case now.Before(c.NotBefore):
		return NotYetValid
	case now.After(c.NotAfter):
		return Expired
	case !now.Before(c.NotAfter.Add(-Soon)):
		return ExpiresSoon
	}
	return ""
}
