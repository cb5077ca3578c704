// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package readers

import (
	"strings"

	"github.com/cardbroker/cardbroker/internal/config"
)

// fits says whether a card of that ATR, in hexadecimal, is one that a module is for.
func fits(m config.Module, atr string) bool {
	for _, pattern := range m.ATRs {
		if fitsPattern(strings.ToUpper(pattern), atr) {
			return true
		}
	}
	return len(m.ATRs) == 0
}

func fitsPattern(pattern, atr string) bool {
	start, open := strings.CutSuffix(pattern, "*")
	if len(atr) < len(start) || !open && len(atr) != len(start) {
		return false
	}
	for i := range start {
		if start[i] != 'X' && start[i] != atr[i] {
			return false
		}
	}
	return true
}
