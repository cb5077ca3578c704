// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package leases

import (
	"os"

	"golang.org/x/sys/unix"
)

const blockSize = 4096 // bytes: what a disk writes at least, mostly

// Block is a block of a file, which is written again and again: the least that a record costs that outlives a power cut.
type Block struct {
	file *os.File
	data [blockSize]byte
}

// NewBlock makes a file in the folder, twice as long as a block, so that its size does not change afterwards.
func NewBlock(folder string) (*Block, error) {
	file, err := os.CreateTemp(folder, "block-")
	if err != nil {
		return nil, err
	}
	b := &Block{file: file}
	if _, err = file.Write(make([]byte, 2*blockSize)); err == nil {
		err = file.Sync()
	}
	if err != nil {
		b.Remove()
		return nil, err
	}
	return b, nil
}

// Write writes the block, which is on the disk when it returns.
func (b *Block) Write() error {
	b.data[0]++
	if _, err := b.file.WriteAt(b.data[:], blockSize); err != nil {
		return err
	}
	return unix.Fdatasync(int(b.file.Fd()))
}

// InMemory says whether a folder is in memory alone: nothing is waited for there.
func InMemory(folder string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(folder, &fs) == nil && (fs.Type == unix.TMPFS_MAGIC || fs.Type == unix.RAMFS_MAGIC)
}

// Remove closes and removes the file.
func (b *Block) Remove() error {
	b.file.Close()
	return os.Remove(b.file.Name())
}
