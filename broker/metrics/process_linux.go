// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"bytes"
	"os"
	"strconv"
)

// ticks is how many of what /proc/self/stat counts are a second, proc_pid_stat(5).
const ticks = 100

// process writes what the kernel knows of this process; what cannot be read is left out.
func (t *text) process() {
	if stat, err := os.ReadFile("/proc/self/stat"); err == nil {
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]) // from the third on
		if len(fields) > 21 {
			user, _ := strconv.ParseFloat(string(fields[11]), 64)
			system, _ := strconv.ParseFloat(string(fields[12]), 64)
			pages, _ := strconv.ParseFloat(string(fields[21]), 64)
			t.single("process_cpu_seconds_total", isCounter, "Time of the processor, of this process.", (user+system)/ticks)
			t.single("process_resident_memory_bytes", isGauge, "Memory of this process.", pages*float64(os.Getpagesize()))
		}
	}
	if open, err := os.ReadDir("/proc/self/fd"); err == nil {
		t.single("process_open_fds", isGauge, "Files and sockets that this process has open.", float64(len(open)-1)) // but for the directory
	}
}
