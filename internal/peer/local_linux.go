// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cardbroker/cardbroker"
)

// Local returns who connected to our listening local socket. The user decides; the pid is that of a live process when it
// was read, and only names it. Errors: CallerRefused for callers of other user or pid namespaces and callers that are
// gone, Unavailable if the kernel cannot be asked.
func Local(conn *net.UnixConn) (Caller, error) {
	var caller Caller
	err := control(conn, func(fd int) (err error) {
		if caller, err = credentials(fd); err == nil {
			caller.PID, err = livePID(fd, caller.PID)
		}
		return err
	})
	if err != nil {
		return Caller{}, err
	}
	return caller, nil
}

// LocalUser returns whose process connected to our listening local socket: what [Local] says without the name of the
// process, which takes several times as long. Errors: CallerRefused for callers of other user or pid namespaces,
// Unavailable if the kernel cannot be asked.
func LocalUser(conn *net.UnixConn) (cardbroker.UserID, error) {
	var caller Caller
	err := control(conn, func(fd int) (err error) {
		caller, err = credentials(fd)
		return err
	})
	return caller.User, err
}

// CheckServer returns who made the socket listen that we connected to, and checks that it is root or one of allowed. Its
// pid is not checked: a service manager, or a predecessor that has ended, may have made the socket. Errors:
// CallerRefused, Unavailable.
func CheckServer(conn *net.UnixConn, allowed ...cardbroker.UserID) (Caller, error) {
	var server Caller
	err := control(conn, func(fd int) (err error) {
		server, err = credentials(fd)
		return err
	})
	if err != nil {
		return Caller{}, err
	}
	if !trusted(server.User, allowed) {
		return Caller{}, refuse(cardbroker.RuleSocketForeign, "the local socket is served by user %s", server.User)
	}
	return server, nil
}

// Joined checks that the other side of a local connection still holds its end, whatever there is still to be read. Errors:
// CallerRefused with RuleSocketGone.
func Joined(conn syscall.Conn) error {
	return control(conn, func(fd int) error {
		ends := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		for {
			n, err := unix.Poll(ends, 0)
			switch {
			case err == unix.EINTR:
				continue
			case err != nil || n != 0:
				return socketGone()
			}
			return nil
		}
	})
}

// trusted says whether a user is root or one of allowed.
func trusted(user cardbroker.UserID, allowed []cardbroker.UserID) bool {
	return user == cardbroker.UserID{} || slices.Contains(allowed, user)
}

// credentials reads SO_PEERCRED, unix(7): for an accepted socket who connected, for a connected one who called listen.
func credentials(fd int) (Caller, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	switch {
	case err != nil:
		return Caller{}, cannotAsk(err)
	case cred.Uid == overflowUID():
		return Caller{}, refuse(cardbroker.RulePeerOverflowUID, "the process at the other end is of another user namespace")
	case cred.Pid <= 0:
		return Caller{}, refuse(cardbroker.RulePeerNoProcess, "the process at the other end is of another pid namespace")
	}
	return Caller{User: cardbroker.UserID{UID: cred.Uid}, PID: int(cred.Pid)}, nil
}

// livePID returns the pid of the process that connected, if it still lives. From kernel 6.5 on SO_PEERPIDFD holds that
// very process; before, pid can be no more than that of one process which lived throughout the check.
func livePID(fd, pid int) (int, error) {
	pidfd, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	switch {
	case errors.Is(err, unix.ENOPROTOOPT):
		return pid, checkPID(pid)
	case errors.Is(err, unix.ESRCH), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENODATA):
		return 0, ended()
	case err != nil:
		return 0, cannotAsk(err)
	}
	defer unix.Close(pidfd)
	info, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(pidfd))
	if err != nil {
		return 0, cannotAsk(err)
	}
	_, rest, _ := strings.Cut(string(info), "\nPid:\t")
	line, _, _ := strings.Cut(rest, "\n")
	if pid, err = strconv.Atoi(line); err != nil || pid <= 0 { // -1: it has ended
		return 0, ended()
	}
	return pid, nil
}

// checkPID checks that one process has the pid, by its start time before and after the pid was pinned.
func checkPID(pid int) error {
	before, err := startTime(pid)
	if err != nil {
		return ended()
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	switch {
	case errors.Is(err, unix.ENOSYS): // before kernel 5.3
		return nil
	case errors.Is(err, unix.ESRCH):
		return ended()
	case err != nil:
		return cannotAsk(err)
	}
	defer unix.Close(pidfd)
	if after, err := startTime(pid); err != nil || after != before {
		return ended()
	}
	return nil
}

// startTime returns field 22 of /proc/PID/stat, proc_pid_stat(5): ticks since boot, as text.
func startTime(pid int) (string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	stat := string(b)
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:]) // a name may hold anything, so start after it
	if len(fields) < 20 {
		return "", fmt.Errorf("/proc/%d/stat has %d fields after the name", pid, len(fields))
	}
	return fields[19], nil
}

func ended() error {
	return refuse(cardbroker.RulePeerNoProcess, "the process at the other end has ended")
}
