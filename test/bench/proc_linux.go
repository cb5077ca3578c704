// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// memory is what a process occupies, in MiB: proc_pid_smaps(5).
type memory struct {
	privateDirty float64 // its own, and nobody else's
	pss          float64 // that, and its share of what it shares
	rss          float64 // that, and all of what it shares
}

// memoryOf reads the memory of a process.
func memoryOf(pid int) (m memory, err error) {
	fields, err := fieldsOf(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return m, err
	}
	const kibPerMiB = 1024
	m.privateDirty = float64(fields["Private_Dirty"]) / kibPerMiB
	m.pss = float64(fields["Pss"]) / kibPerMiB
	m.rss = float64(fields["Rss"]) / kibPerMiB
	return m, nil
}

// switchesOf reads how often the threads of a process were put to sleep or made to wait, all together: proc_pid_status(5).
func switchesOf(pid int) (int, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(threads) == 0 {
		return 0, fmt.Errorf("process %d has no threads: %w", pid, err)
	}
	sum := 0
	for _, thread := range threads {
		fields, err := fieldsOf(thread)
		if err != nil {
			return 0, err
		}
		sum += fields["voluntary_ctxt_switches"] + fields["nonvoluntary_ctxt_switches"]
	}
	return sum, nil
}

// fieldsOf reads the numbers of a file of lines "Name: number …".
func fieldsOf(file string) (map[string]int, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	fields := make(map[string]int)
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(line, ":")
		if words := strings.Fields(rest); len(words) > 0 {
			if n, err := strconv.Atoi(words[0]); err == nil {
				fields[name] = n
			}
		}
	}
	return fields, nil
}
