// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package tokens_test

import (
	"slices"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/tokens"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/token"
)

// TestHidden: a reader that policy excludes is no slot of a module either; who knows it asks in vain.
func TestHidden(t *testing.T) {
	all := slotsOf(t, newTokens(t, tokens.Config{}))
	first := all[0]
	s := newTokens(t, tokens.Config{
		Modules: []config.Module{{Name: "fake", Library: library, PCSC: true}},
		Hidden:  func(reader string) bool { return reader == first.Description },
	})
	slots := slotsOf(t, s)
	if len(slots) == 0 || slices.ContainsFunc(slots, func(s token.Slot) bool { return s.ID == first.ID }) {
		t.Errorf("of the slots %+v the first is hidden, and listed are %+v", all, slots)
	}
	_, err := s.Do(t.Context(), "fake", first, token.Question{Call: token.CallToken})
	if got := cardbroker.ReasonOf(err); got != cardbroker.ObjectUnknown {
		t.Errorf("Do() of the hidden slot = %v, want object_unknown", err)
	}
}
