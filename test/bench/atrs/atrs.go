// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package atrs measures looking up what a card is.
package atrs

import (
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker/internal/atrlist"
	"github.com/cardbroker/cardbroker/test/bench/sample"
)

// LookUp times it for each whole ATR of the installed list, in µs. Without the list it returns why there is nothing to measure.
func LookUp() (took []float64, skip string, err error) {
	text, err := os.ReadFile(atrlist.DistributionFile)
	if err != nil {
		return nil, "needs the list of pcsc-tools: " + err.Error(), nil
	}
	list, err := atrlist.Load(atrlist.DistributionFile)
	if err != nil {
		return nil, "", err
	}
	for line := range strings.Lines(string(text)) {
		atr, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(line), " ", ""))
		if err != nil || len(atr) == 0 { // a description, or a pattern
			continue
		}
		start := time.Now()
		found := list.Find(atr)
		took = append(took, sample.Micros(time.Since(start)))
		if len(found) == 0 {
			return nil, "", fmt.Errorf("no description of %X", atr)
		}
	}
	return took, "", nil
}
