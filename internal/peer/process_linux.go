// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Process finds a process that has the socket open, as far as we may look: at those of our own user. It looks at every process, and is
// for people. 0: it is not to be seen.
func (l Listener) Process() (pid int, name string) {
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && target == fmt.Sprintf("socket:[%d]", l.Inode) {
			process := strings.Split(link, "/")[2]
			pid, _ = strconv.Atoi(process)
			comm, _ := os.ReadFile("/proc/" + process + "/comm")
			return pid, strings.TrimSpace(string(comm))
		}
	}
	return 0, ""
}

// LockHolder finds the process that holds a lock (flock(2)) on the file, which the kernel tells everybody who may name the file. It is
// for people, and finds those, too, that hide what they have open. 0: there is none.
func LockHolder(path string) (pid int, name string) {
	var info unix.Stat_t
	if unix.Stat(path, &info) != nil {
		return 0, ""
	}
	file := fmt.Sprintf("%02x:%02x:%d", unix.Major(info.Dev), unix.Minor(info.Dev), info.Ino)
	locks, _ := os.ReadFile("/proc/locks") // proc_locks(5)
	for line := range strings.Lines(string(locks)) {
		if words := strings.Fields(line); len(words) == 8 && words[1] == "FLOCK" && words[5] == file {
			pid, _ = strconv.Atoi(words[4])
			comm, _ := os.ReadFile("/proc/" + words[4] + "/comm")
			return pid, strings.TrimSpace(string(comm))
		}
	}
	return 0, ""
}
