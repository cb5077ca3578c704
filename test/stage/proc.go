// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package stage

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// ChildOf returns the one child of a process: an agent's sandbox.
func ChildOf(pid int) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0, err
	}
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return 0, err
	}
	for _, task := range tasks { // a child belongs to the thread that started it
		more, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		text = append(append(text, ' '), more...)
	}
	children := strings.Fields(string(text))
	if len(children) == 0 {
		return 0, fmt.Errorf("process %d has no child", pid)
	}
	return strconv.Atoi(children[0])
}

// Ended says whether a process is no more, whether somebody has waited for it or not: an init may take its time with orphans.
func Ended(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, state, _ := strings.Cut(string(text), ") ") // after the program's name, proc_pid_stat(5)
	return strings.HasPrefix(state, "Z") || strings.HasPrefix(state, "X")
}
