// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package prompt

import (
	"context"

	"github.com/cardbroker/cardbroker"
)

// runProgram is Unsupported: nothing here ends a program with all that it has started.
func runProgram(context.Context, []string, []byte, []byte) (n, status int, err error) {
	return 0, 0, cardbroker.Errorf(cardbroker.Unsupported, "this system has no prompts for PINs")
}
