// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io/fs"

	"github.com/cardbroker/cardbroker/internal/atrlist"
	"github.com/cardbroker/cardbroker/test/bench/atrs"
)

// atrs measures looking up what a card is, for each whole ATR of the installed list.
func (b *bench) atrs(ctx context.Context) ([]measured, error) {
	took, err := atrs.Look(atrlist.DistributionFile)
	if errors.Is(err, fs.ErrNotExist) {
		return []measured{{skip: "needs the list of pcsc-tools: " + err.Error()}}, nil
	}
	return []measured{{ours: took}}, errors.Join(err, ctx.Err())
}
