// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/cardbroker/cardbroker"
)

// maxLinks is how many symbolic links a path may lead through, as in the kernel: path_resolution(7).
const maxLinks = 40

// CheckPath checks that nobody but root and the allowed users can put another socket at path. Everything that the path
// leads through, from / down and through symbolic links, the socket included, belongs to one of them, and every
// directory is writable by its owner only, or sticky like /tmp: there, nobody can replace what belongs to another. A
// path that was checked cannot be changed by others between the check and the connect. Errors: CallerRefused with
// RuleSocketForeign, Unavailable if a part is missing, Invalid for an abstract name, which no directory protects.
func CheckPath(path string, allowed ...cardbroker.UserID) error {
	if path == "" || path[0] == '@' || path[0] == 0 {
		return cardbroker.Errorf(cardbroker.Invalid, "the local socket needs a path in the file system")
	}
	if !filepath.IsAbs(path) {
		cwd, err := os.Getwd()
		if err != nil {
			return cannotCheck(err, path)
		}
		path = cwd + "/" + path // not cleaned: x/.. is not . where x is a link
	}
	at := "/"
	if _, err := checkEntry(at, allowed); err != nil {
		return err
	}
	links := 0
	for rest := strings.Split(path, "/"); len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		if name == "" || name == "." {
			continue
		}
		if name == ".." {
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, name)
		info, err := checkEntry(next, allowed)
		if err != nil {
			return err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		target, err := os.Readlink(next)
		if err != nil {
			return cannotCheck(err, next)
		}
		if links++; links > maxLinks {
			return cannotCheck(syscall.ELOOP, path)
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return nil
}

// CheckFile is [CheckPath] for a file or directory that is read: what the path ends at is writable by its owner only, too.
func CheckFile(path string, allowed ...cardbroker.UserID) error {
	if err := CheckPath(path, allowed...); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return cannotCheck(err, path)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return refuse(cardbroker.RuleSocketForeign, "%s is writable by others", path)
	}
	return nil
}

// checkEntry checks the owner of one file, link or directory, and who may write to a directory. A permission given by
// an access control list shows in the group's bits, acl(5).
func checkEntry(path string, allowed []cardbroker.UserID) (fs.FileInfo, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, cannotCheck(err, path)
	}
	owner := cardbroker.UserID{UID: info.Sys().(*syscall.Stat_t).Uid}
	if !trusted(owner, allowed) {
		return nil, refuse(cardbroker.RuleSocketForeign, "%s belongs to user %s", path, owner)
	}
	if info.IsDir() && info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0 {
		return nil, refuse(cardbroker.RuleSocketForeign, "%s is writable by others", path)
	}
	return info, nil
}

func cannotCheck(err error, path string) error {
	return cardbroker.Wrapf(err, cardbroker.Unavailable, "cannot check who may change %s", path)
}
