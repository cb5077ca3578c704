// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !cgo && !windows

package pcsc

import (
	"context"
	"log/slog"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/sandbox"
)

var _ sandbox.Readers = (*Readers)(nil)

// Readers is without readers in this build.
type Readers struct{}

// New returns what answers Unavailable.
func New(*slog.Logger) *Readers { return &Readers{} }

// Watch is Unavailable.
func (*Readers) Watch(context.Context, func(sandbox.Event)) error { return errWithout() }

// Connect is Unavailable.
func (*Readers) Connect(string, cardbroker.ShareMode) (sandbox.Card, error) { return nil, errWithout() }

func errWithout() error {
	return cardbroker.Errorf(cardbroker.Unavailable, "this program was built without cgo, so that it cannot reach PC/SC")
}
