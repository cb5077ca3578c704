// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package epoch

import (
	"time"

	"golang.org/x/sys/unix"
)

func sinceBoot() time.Duration {
	var t unix.Timespec
	unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) // cannot fail: the clock is older than what we run on
	return time.Duration(t.Nano())
}
