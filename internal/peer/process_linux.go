// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cardbroker/cardbroker"
)

// Process finds a process that has the socket open, as far as we may look: at those of our own user that can be dumped. It looks at every
// process, and is for people. 0: it is not to be seen.
func (l Listener) Process() (pid int, name string) {
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && target == fmt.Sprintf("socket:[%d]", l.Inode) {
			pid, _ = strconv.Atoi(strings.Split(link, "/")[2])
			return pid, command(pid)
		}
	}
	return 0, ""
}

// LockedBy finds the process that has locked a file, flock(2), of whichever user, and is for people. 0: nobody, or it is not to be seen.
func LockedBy(path string) (pid int, name string) {
	var stat unix.Stat_t
	if unix.Stat(path, &stat) != nil {
		return 0, ""
	}
	file := fmt.Sprintf("%02x:%02x:%d", unix.Major(stat.Dev), unix.Minor(stat.Dev), stat.Ino) // proc_locks(5)
	for tries, whole := 0, false; tries < 5 && !whole; tries++ {
		var locks string
		locks, whole = fileLocks()
		for line := range strings.Lines(locks) {
			if f := strings.Fields(line); len(f) > 5 && f[1] == "FLOCK" && f[5] == file {
				pid, _ = strconv.Atoi(f[4])
				return pid, command(pid)
			}
		}
	}
	return 0, ""
}

// maxLocks is how much of the kernel's list of locks is looked at, in bytes: some 15,000 locks. Whoever likes makes it longer, and the
// kernel looks for the place where it was each time that it is read.
const maxLocks = 1 << 20

// fileLocks returns the kernel's list of locks. What it gives at a time, a page at most, is as it is then; a lock may be missing in a
// list that is not whole, where one that stands before it has ended between two reads.
func fileLocks() (text string, whole bool) {
	file, err := os.Open("/proc/locks")
	if err != nil {
		return "", true
	}
	defer file.Close()
	return locksIn(file)
}

func locksIn(list io.Reader) (text string, whole bool) {
	all, buf := make([]byte, 0, 1<<12), make([]byte, 1<<16)
	for reads := 0; len(all) < maxLocks; reads++ {
		n, err := list.Read(buf)
		if n == 0 || err != nil {
			return string(all), reads < 2
		}
		all = append(all, buf[:n]...)
	}
	return string(all), true // it does not get better
}

// Lock locks a file, flock(2), that it makes if it is missing (0600), so that [LockedBy] finds this process, until the file is closed.
// Nothing is written to it. Errors: Conflict if somebody else has locked it; Unavailable.
func Lock(path string) (io.Closer, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, cardbroker.Wrapf(err, cardbroker.Unavailable, "cannot open %s", path)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		return nil, cardbroker.Wrapf(err, cardbroker.Conflict, "another process has locked %s", path)
	}
	return file, nil
}

// command is what a process calls itself.
func command(pid int) string {
	comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(comm))
}
