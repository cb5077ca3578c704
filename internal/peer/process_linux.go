// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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
