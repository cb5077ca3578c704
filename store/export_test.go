// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"os"
)

// CheckPages is checkPages of a file in memory.
func CheckPages(file []byte, pageSize int) error {
	return checkPages(bytes.NewReader(file), pageSize, int64(len(file)))
}

// CheckFile is checkPages of a file, whoever has it open.
func CheckFile(path string, pageSize int) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	return checkPages(file, pageSize, info.Size())
}

// NameSum is nameSum.
func NameSum(name []byte) uint64 { return nameSum(name) }
