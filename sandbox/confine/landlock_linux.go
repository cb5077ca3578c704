// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package confine

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cardbroker/cardbroker"
)

// Rights to what is below a directory, or to a file.
const (
	mayRead  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	mayRun   = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_EXECUTE
	mayWrite = mayRead | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE |
		unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR
	mayConnect = unix.LANDLOCK_ACCESS_FS_RESOLVE_UNIX

	ofFiles = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_EXECUTE // those that a rule for a file may name
)

// rule grants rights to a file, or to all below a directory.
type rule struct {
	path   string
	rights uint64
}

// rulesOf returns the rules for the program, what it is linked with, and its needs.
func rulesOf(version int, program string, needs Needs) []rule {
	rules := []rule{{program, mayRun}}
	add := func(rights uint64, paths []string) {
		for _, path := range paths {
			rules = append(rules, rule{path, rights})
		}
	}
	add(mayRun, interpreters())
	add(mayRead, libraries())
	add(mayRead, needs.Read)
	add(mayWrite, needs.Write)
	add(mayConnect, needs.Sockets)
	for i := range rules {
		rules[i].rights &= handled(version).Handled_access_fs // the kernel refuses a rule with rights that it does not know
	}
	return rules
}

// handled returns all that this version of Landlock can refuse. Versions above those known here refuse no less.
func handled(version int) unix.LandlockRulesetAttr {
	h := unix.LandlockRulesetAttr{Handled_access_fs: unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1} // all of version 1
	if version >= 2 {
		h.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_REFER // in version 1 nobody has it
	}
	if version >= versionTruncate {
		h.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if version >= versionTCP {
		h.Handled_access_net |= unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	if version >= versionDevices {
		h.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	if version >= versionScopes {
		h.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
	}
	if version >= versionUnix {
		h.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_RESOLVE_UNIX
	}
	if version >= versionUDP {
		h.Handled_access_net |= unix.LANDLOCK_ACCESS_NET_BIND_UDP | unix.LANDLOCK_ACCESS_NET_CONNECT_SEND_UDP
	}
	return h
}

// landlockVersion asks the kernel for the version of its Landlock, 0 if it has none or was started without.
func landlockVersion() (int, error) {
	n, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	switch errno {
	case 0:
		return int(n), nil
	case unix.ENOSYS, unix.EOPNOTSUPP:
		return 0, nil
	}
	return 0, fmt.Errorf("cannot ask for the version of Landlock: %w", errno)
}

// restrict binds this thread, and those that it starts, to the rules. It takes no new privileges for granted.
func restrict(version int, rules []rule) error {
	attr := handled(version)
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if errno != 0 {
		return fmt.Errorf("cannot make a ruleset of Landlock: %w", errno)
	}
	defer unix.Close(int(fd)) // it is closed on exec
	for _, r := range rules {
		if err := r.add(int(fd)); err != nil {
			return fmt.Errorf("cannot allow %s: %w", r.path, err)
		}
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return fmt.Errorf("cannot confine to files: %w", errno)
	}
	return nil
}

// add adds the rule to a ruleset. A path that does not exist needs none.
func (r rule) add(ruleset int) error {
	fd, err := unix.Open(r.path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var stat, root unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return err
	}
	if err := unix.Stat("/", &root); err != nil {
		return err
	}
	if stat.Dev == root.Dev && stat.Ino == root.Ino {
		return cardbroker.Errorf(cardbroker.Invalid, "that is all files; use a directory of its own")
	}
	attr := unix.LandlockPathBeneathAttr{Allowed_access: r.rights, Parent_fd: int32(fd)}
	if stat.Mode&unix.S_IFMT != unix.S_IFDIR {
		attr.Allowed_access &= ofFiles
	}
	if attr.Allowed_access == 0 { // this kernel does not refuse it to anybody
		return nil
	}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&attr)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
