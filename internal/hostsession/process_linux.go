// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package hostsession

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cardbroker/cardbroker"
)

// process names one process for good: pids are used again, with a later start.
type process struct {
	pid   int
	start uint64 // clock ticks since boot
}

// stat is what /proc/PID/stat says, proc_pid_stat(5).
type stat struct {
	process
	name   string // at most 15 bytes, and the program's own choice
	parent int
}

// readStat reads what the kernel says of the process that has the pid now.
func readStat(pid int) (stat, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, err
	}
	text := string(b)
	begin, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')') // a name may hold anything
	if begin < 0 || end < begin {
		return stat{}, fmt.Errorf("/proc/%d/stat has no name", pid)
	}
	fields := strings.Fields(text[end+1:])
	if len(fields) < 20 {
		return stat{}, fmt.Errorf("/proc/%d/stat has %d fields after the name", pid, len(fields))
	}
	parent, bad := strconv.Atoi(fields[1])
	start, worse := strconv.ParseUint(fields[19], 10, 64)
	return stat{process{pid, start}, text[begin+1 : end], parent}, errors.Join(bad, worse)
}

// lives says whether the pid still is this process.
func (p process) lives() bool {
	now, err := readStat(p.pid)
	return err == nil && now.process == p
}

// userOf returns the effective uid of the process that has the pid now. The owner of its folder in /proc would do but for
// processes that are not dumpable, ours for one: their folders are root's.
func userOf(pid int) (uint32, bool) {
	b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	_, rest, _ := strings.Cut(string(b), "\nUid:")
	line, _, _ := strings.Cut(rest, "\n")
	fields := strings.Fields(line) // real, effective, saved, file system
	if len(fields) != 4 {
		return 0, false
	}
	uid, err := strconv.ParseUint(fields[1], 10, 32)
	return uint32(uid), err == nil
}

// folderOwner returns whose the process's folder in /proc is: its effective user, or root where it is not dumpable.
func folderOwner(pid int) (uint32, bool) {
	var st unix.Stat_t
	err := unix.Stat("/proc/"+strconv.Itoa(pid), &st)
	return st.Uid, err == nil
}

// await waits until the process has ended. Errors: that of ctx, Unsupported on a kernel without pidfds (before 5.3).
func (p process) await(ctx context.Context) error {
	fd, err := unix.PidfdOpen(p.pid, 0)
	switch {
	case errors.Is(err, unix.ESRCH):
		return nil
	case err == nil:
		err = unix.SetNonblock(fd, true) // the runtime's poller waits for it, not a thread
	}
	if err != nil {
		return cardbroker.Wrapf(err, cardbroker.Unsupported, "cannot wait for the end of a process")
	}
	file := os.NewFile(uintptr(fd), "pidfd")
	defer file.Close()
	if !p.lives() { // another has its pid
		return nil
	}
	stop := context.AfterFunc(ctx, func() { file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := file.SyscallConn()
	if err == nil {
		err = raw.Read(ended)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// ended says whether the process of a pidfd has ended, pidfd_open(2).
func ended(fd uintptr) bool {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, _ := unix.Poll(poll, 0)
	return n > 0
}

// ancestry is how far up a process is followed at most.
const ancestry = 64

// ancestors returns the process and those above it, itself first, up to and without pid 1 or what cannot be seen. A parent
// that has ended meanwhile, and whose pid another has now, began after its child: there it ends.
func ancestors(pid int) (chain []stat) {
	for len(chain) < ancestry && pid > 1 {
		s, err := readStat(pid)
		if err != nil || len(chain) > 0 && s.start > chain[len(chain)-1].start {
			break
		}
		chain = append(chain, s)
		pid = s.parent
	}
	return chain
}
