// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package store

import "bytes"

// CheckPages is checkPages of a file in memory.
func CheckPages(file []byte, pageSize int) error {
	return checkPages(bytes.NewReader(file), pageSize, int64(len(file)))
}
