// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package atrs measures looking up what a card is by its ATR.
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

// Look looks each whole ATR of a list up in it, and returns how long that took, in µs.
func Look(file string) ([]float64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	list, err := atrlist.Load(file)
	if err != nil {
		return nil, err
	}
	var took []float64
	for line := range strings.Lines(string(text)) {
		atr, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(line), " ", ""))
		if err != nil || len(atr) == 0 { // a description, or a pattern
			continue
		}
		start := time.Now()
		found := list.Find(atr)
		took = append(took, sample.Micros(time.Since(start)))
		if len(found) == 0 {
			return nil, fmt.Errorf("no description of %X", atr)
		}
	}
	return took, nil
}
