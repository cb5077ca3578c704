// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package api

import "time"

// AuditStatus answers GET /local/v1/audit on the local socket: how the broker's audit log is. Its head is on the disk.
type AuditStatus struct {
	Seq       uint64     `json:"seq"`  // of the head
	Hash      string     `json:"hash"` // of the head, 64 hexadecimal digits
	Written   *time.Time `json:"written"`
	Files     int        `json:"files"`
	Bytes     int64      `json:"bytes"` // of all files
	Lost      uint64     `json:"lost"`  // events since the broker's start that are not in the log
	Failing   string     `json:"failing"`
	Stalled   float64    `json:"stalled"` // seconds for which the disk has not answered
	Kept      uint64     `json:"kept"`    // the number of the head in the registry's file
	Told      *time.Time `json:"told"`    // when the system log was told last
	TellError string     `json:"tellError"`
	Damage    string     `json:"damage"` // what was found at the start; empty: all was as it had been left
	FreeBytes uint64     `json:"freeBytes"`
	DiskBytes uint64     `json:"diskBytes"` // 0: unknown
}
