// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/cardbroker/cardbroker"
)

// Audit says how much of the audit log is kept.
type Audit struct {
	KeepDays uint16 `yaml:"keep_days"` // records that are older are cut off; 400
	MaxSize  string `yaml:"max_size"`  // of all its files, such as 512MiB: the oldest are cut off; 4GiB
}

// The least and the most that max_size may be, in bytes.
const (
	minAuditSize = 16 << 20
	maxAuditSize = 16 << 40
)

// Bytes returns MaxSize as a number. Errors: Invalid.
func (a Audit) Bytes() (int64, error) {
	text := cmp.Or(a.MaxSize, "4GiB")
	for shift, unit := range map[int]string{20: "MiB", 30: "GiB", 40: "TiB"} {
		digits, ok := strings.CutSuffix(text, unit)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(digits, 10, 32)
		if size := n << shift; err == nil && size >= minAuditSize && size <= maxAuditSize {
			return size, nil
		}
	}
	return 0, cardbroker.Errorf(cardbroker.Invalid, "audit.max_size: %q, want a number and MiB, GiB or TiB, from 16MiB to 16TiB", a.MaxSize)
}
