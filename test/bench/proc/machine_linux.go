// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Machine is where figures come from.
type Machine struct {
	OS     string    `json:"os"`
	Arch   string    `json:"arch"`
	Kernel string    `json:"kernel"`
	CPU    string    `json:"cpu"`
	CPUs   int       `json:"cpus"`
	Go     string    `json:"go"`
	Load   [2]string `json:"load"` // average of a minute, before and after
	Time   time.Time `json:"time"`
	Took   float64   `json:"took"` // seconds
}

// ThisMachine returns all but what is known afterwards.
func ThisMachine() Machine {
	return Machine{
		OS: runtime.GOOS, Arch: runtime.GOARCH, Kernel: Kernel(), CPU: Processor(), CPUs: runtime.NumCPU(), Go: runtime.Version(),
		Load: [2]string{Load()}, Time: time.Now().UTC().Truncate(time.Second),
	}
}

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
