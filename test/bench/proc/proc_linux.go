// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Memory is what a process occupies, in MiB: proc_pid_smaps(5).
type Memory struct {
	PrivateDirty float64 // its own, and nobody else's
	PSS          float64 // that, and its share of what it shares
	RSS          float64 // that, and all of what it shares
}

// MemoryOf reads the memory of a process.
func MemoryOf(pid int) (m Memory, err error) {
	fields, err := fieldsOf(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return m, err
	}
	const kibPerMiB = 1024
	m.PrivateDirty = float64(fields["Private_Dirty"]) / kibPerMiB
	m.PSS = float64(fields["Pss"]) / kibPerMiB
	m.RSS = float64(fields["Rss"]) / kibPerMiB
	return m, nil
}

// The switches of a process's threads, proc_pid_status(5): to wait for something, and because others are to run.
const (
	voluntary    = "voluntary_ctxt_switches"
	nonvoluntary = "nonvoluntary_ctxt_switches"
)

// Switches reads how often the threads of a process were put to sleep or made to wait, all together.
func Switches(pid int) (int, error) { return countSwitches(pid, voluntary, nonvoluntary) }

// Wakes reads how often they fell asleep, which is how often they woke up. What others do on the machine does not change
// that.
func Wakes(pid int) (int, error) { return countSwitches(pid, voluntary) }

// CountAll counts of each process.
func CountAll(pids []int, count func(int) (int, error)) ([]int, error) {
	counts := make([]int, len(pids))
	for i, pid := range pids {
		n, err := count(pid)
		if err != nil {
			return nil, err
		}
		counts[i] = n
	}
	return counts, nil
}

func countSwitches(pid int, kinds ...string) (int, error) {
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
		for _, kind := range kinds {
			sum += fields[kind]
		}
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
