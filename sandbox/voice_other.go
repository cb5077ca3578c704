// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package sandbox

import (
	"io"

	"github.com/cardbroker/cardbroker"
)

// Voice is where this process logs to.
type Voice struct{ io.Writer }

// OwnVoice is Unsupported.
func OwnVoice(other io.Writer) (Voice, error) { return Voice{other}, errVoice() }

// Hush is Unsupported.
func (Voice) Hush() error { return errVoice() }

func errVoice() error {
	return cardbroker.Errorf(cardbroker.Unsupported, "this system has no voice of its own for the sandbox")
}
