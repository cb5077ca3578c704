// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// dataSync has what was written reach the disk, but not the times of the file.
func dataSync(file *os.File) error {
	for {
		if err := unix.Fdatasync(int(file.Fd())); err != unix.EINTR {
			return err
		}
	}
}

// syncFolder has the file's name reach the disk.
func syncFolder(path string) error {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}

// local says whether a folder is on this machine, by its file system's number in statfs(2). On another one a record could be lost
// while the card works. FUSE counts as remote: it may be.
func local(folder string) bool {
	var fs unix.Statfs_t
	if err := unix.Statfs(folder, &fs); err != nil {
		return false
	}
	switch uint32(fs.Type) {
	case unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.AFS_SUPER_MAGIC,
		unix.AFS_FS_MAGIC, unix.CEPH_SUPER_MAGIC, unix.CODA_SUPER_MAGIC, unix.V9FS_MAGIC, unix.FUSE_SUPER_MAGIC:
		return false
	}
	return true
}
