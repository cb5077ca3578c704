// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcsc_test

import (
	"testing"

	"github.com/cardbroker/cardbroker/sandbox"
	"github.com/cardbroker/cardbroker/sandbox/sandboxtest"
	"github.com/cardbroker/cardbroker/test/pcscbed"
)

// TestSuite is what every source of readers does, with a real service.
func TestSuite(t *testing.T) {
	b := newBed(t)
	b.insert(pcscbed.Card{})
	hand := &sandboxtest.Hand{
		Pull:   func(*testing.T) { b.remove() },
		Insert: func(*testing.T) { b.insert(pcscbed.Card{}) },
	}
	sandboxtest.Run(t, func(*testing.T) sandbox.Readers { return b.readers }, hand)
}
