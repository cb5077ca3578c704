// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package notice

import (
	"context"

	"github.com/cardbroker/cardbroker"
)

func dial(context.Context, string) (desktop, error) {
	return nil, cardbroker.Errorf(cardbroker.Unsupported, "no notices on this system's desktop yet")
}
