// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package hostsession

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/cardbroker/cardbroker"
)

// noAuditSession is what /proc/PID/sessionid says where no login program has set one.
const noAuditSession = 1<<32 - 1

// ofProcess returns the logind or audit session of the process with that folder in /proc. It is false where the process
// has none, as programs of a systemd user manager, or has ended. Where both are set they are the same: logind takes the
// number of the audit session.
func ofProcess(folder string) (cardbroker.SessionID, bool) {
	if id, ok := scopeOf(folder); ok {
		return id, true
	}
	return auditOf(folder)
}

// scopeOf returns the logind session whose scope the process is in.
func scopeOf(folder string) (cardbroker.SessionID, bool) {
	cgroups, _ := os.ReadFile(filepath.Join("/proc", folder, "cgroup"))
	for line := range strings.Lines(string(cgroups)) { // hierarchy:controllers:path, cgroups(7); any hierarchy will do
		if fields := strings.SplitN(strings.TrimSpace(line), ":", 3); len(fields) == 3 {
			if id, ok := ofPath(fields[2]); ok {
				return id, true
			}
		}
	}
	return "", false
}

// auditOf returns the session that the kernel's audit has the process in.
func auditOf(folder string) (cardbroker.SessionID, bool) {
	audit, _ := os.ReadFile(filepath.Join("/proc", folder, "sessionid"))
	n, err := strconv.ParseUint(string(audit), 10, 32)
	if err != nil || n == 0 || n == noAuditSession {
		return "", false
	}
	return cardbroker.SessionID(strconv.FormatUint(n, 10)), true
}

// ofPath finds the scope of a logind session, such as /user.slice/user-1001.slice/session-7.scope, in a cgroup's path. What
// is below a service is not logind's: a user names cgroups there as he likes.
func ofPath(path string) (cardbroker.SessionID, bool) {
	for name := range strings.SplitSeq(path, "/") {
		if id, ok := ofScope(name); ok {
			return id, true
		}
		if strings.HasSuffix(name, ".service") {
			break
		}
	}
	return "", false
}

func ofScope(name string) (cardbroker.SessionID, bool) {
	name, isSession := strings.CutPrefix(name, "session-")
	name, isScope := strings.CutSuffix(name, ".scope")
	if !isSession || !isScope {
		return "", false
	}
	id, err := cardbroker.ParseSessionID(name)
	return id, err == nil
}

// OfCgroup returns the logind session of a cgroup v2 id, as the kernel gives it for a socket. It walks the cgroups, about
// 0.1 ms on a small host. It is false for a cgroup that is gone, or of no session.
func OfCgroup(id uint64) (cardbroker.SessionID, bool) {
	root, ok := cgroupMount()
	if !ok || id == 0 {
		return "", false
	}
	var found cardbroker.SessionID
	filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil: // a cgroup that ended meanwhile
			return nil
		case !d.IsDir():
			return nil
		case strings.HasSuffix(d.Name(), ".service"): // most cgroups; no session is inside one
			return fs.SkipDir
		}
		session, ok := ofPath(strings.TrimPrefix(path, root))
		if !ok {
			return nil
		}
		info, err := d.Info()
		if err != nil || info.Sys().(*syscall.Stat_t).Ino != id { // a cgroup's id is its inode, on 64-bit kernels
			return nil
		}
		found = session
		return fs.SkipAll
	})
	return found, found != ""
}

// cgroupMount returns where cgroup v2 is mounted: often /sys/fs/cgroup, but /sys/fs/cgroup/unified beside version 1.
func cgroupMount() (string, bool) {
	mounts, _ := os.ReadFile("/proc/self/mountinfo") // proc_pid_mountinfo(5)
	for line := range strings.Lines(string(mounts)) {
		mount, kind, _ := strings.Cut(line, " - ")
		fields := strings.Fields(mount)
		if strings.HasPrefix(kind, "cgroup2 ") && len(fields) > 4 {
			return fields[4], true
		}
	}
	return "", false
}
