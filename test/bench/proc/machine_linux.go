// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Kernel returns the version of the kernel.
func Kernel() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return ""
	}
	return unix.ByteSliceToString(name.Release[:])
}

// Processor returns the name of the processor.
func Processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	_, rest, _ := strings.Cut(string(text), "model name\t: ")
	model, _, _ := strings.Cut(rest, "\n")
	return model
}

// Load returns the load average of the last minute.
func Load() string {
	text, _ := os.ReadFile("/proc/loadavg")
	minute, _, _ := strings.Cut(string(text), " ")
	return minute
}
