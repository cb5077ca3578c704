// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// remoteTypes are file systems over a network, statfs(2).
func remoteType(kind int64) string {
	return map[int64]string{
		unix.NFS_SUPER_MAGIC: "NFS", unix.SMB_SUPER_MAGIC: "SMB", unix.SMB2_SUPER_MAGIC: "SMB", unix.CIFS_SUPER_MAGIC: "CIFS",
		unix.AFS_SUPER_MAGIC: "AFS", unix.V9FS_MAGIC: "9P", unix.CODA_SUPER_MAGIC: "Coda", unix.CEPH_SUPER_MAGIC: "Ceph",
	}[kind]
}

// remote names the network file system that a directory is on; empty: none.
func remote(dir string) string {
	var stat unix.Statfs_t
	if unix.Statfs(dir, &stat) != nil {
		return ""
	}
	return remoteType(int64(uint32(stat.Type)))
}

// systemClock returns the mainboard's clock, and whether the kernel takes its own for synchronised.
func systemClock(root string) (hardware time.Time, synchronised bool) {
	if text, err := os.ReadFile(root + "/sys/class/rtc/rtc0/since_epoch"); err == nil {
		if seconds, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
			hardware = time.Unix(seconds, 0)
		}
	}
	var t unix.Timex
	_, err := unix.Adjtimex(&t)
	return hardware, err == nil && t.Status&unix.STA_UNSYNC == 0
}

// kernel returns Landlock's version, and whether there is seccomp.
func kernel() (landlock int, seccomp bool) {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno == 0 {
		landlock = int(version)
	}
	_, err := os.Stat("/proc/sys/kernel/seccomp/actions_avail")
	return landlock, err == nil
}
