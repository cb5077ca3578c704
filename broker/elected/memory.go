// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package elected

import (
	"context"
	"crypto/rand"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/broker/registry"
)

// memory is the ledger of a term, which begins empty: nobody would read what it kept. So no full disk, no home that is read-only or
// another host's too, and no file that somebody else has locked keeps an agent from office.
type memory struct{}

var _ registry.Ledger = memory{}

// Load returns an empty snapshot.
func (memory) Load(context.Context) (kept cardbroker.Snapshot, _ error) {
	rand.Read(kept.Salt[:]) // never fails
	return kept, nil
}

// Commit keeps nothing.
func (memory) Commit(context.Context, cardbroker.Changes) error { return nil }
