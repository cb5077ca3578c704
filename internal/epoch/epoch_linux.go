// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package epoch

import (
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sinceBoot reads the clock of the host, not that of our time namespace: agents inside and outside of a container are to agree.
func sinceBoot() time.Duration {
	var t unix.Timespec
	unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) // cannot fail: the clock is older than what we run on
	return time.Duration(t.Nano()) - offset()
}

// offset is how far our time namespace is ahead of the host, time_namespaces(7). A kernel that has none lacks the file.
func offset() time.Duration {
	lines, _ := os.ReadFile("/proc/self/timens_offsets")
	for line := range strings.Lines(string(lines)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "boottime" {
			seconds, _ := strconv.ParseInt(f[1], 10, 64)
			nanoseconds, _ := strconv.ParseInt(f[2], 10, 64)
			return time.Duration(seconds)*time.Second + time.Duration(nanoseconds)
		}
	}
	return 0
}
