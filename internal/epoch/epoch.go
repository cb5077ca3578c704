// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package epoch numbers the terms of elected leaders. A number is a moment of the host: microseconds since it started, which
// no process can be ahead of and no clock setting turns back. So two leaders never have one number, as one port is bound in
// between, even if nobody has lived to tell of the first; and a number from the future is a lie.
package epoch

import (
	"time"

	"github.com/cardbroker/cardbroker"
)

// Now returns the number of a term that begins now: the microseconds since the host started, suspends included.
func Now() uint64 { return uint64(sinceBoot() / time.Microsecond) }

// Check refuses the number of a term that cannot have begun yet. Errors: Invalid.
func Check(n uint64) error {
	if now := Now(); n == 0 || n > now {
		return cardbroker.Errorf(cardbroker.Invalid, "no term has the epoch %d: the host has been up for %d µs", n, now)
	}
	return nil
}
