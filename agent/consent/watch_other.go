// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package consent

import (
	"context"

	"github.com/cardbroker/cardbroker"
)

// watch is Unsupported: the file is looked at by time.
func watch(context.Context, string, func()) error {
	return cardbroker.Errorf(cardbroker.Unsupported, "this system does not tell of changes of files")
}
