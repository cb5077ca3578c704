// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/cardbroker/cardbroker"
)

// Shelf is a part of the store that holds small values by name, beside the registry: each for one purpose and one owner.
type Shelf struct {
	store  *Store
	bucket []byte
}

// Shelf returns the shelf of that name; an empty one is made where there is none. Errors: Unavailable, the file cannot be
// written.
func (s *Store) Shelf(name string) (*Shelf, error) {
	shelf := &Shelf{store: s, bucket: []byte("shelf " + name)}
	err := s.update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(shelf.bucket)
		if err != nil || b.Sequence() == nameSum(shelf.bucket) {
			return err
		}
		return b.SetSequence(nameSum(shelf.bucket)) // else a shelf of a damaged name would look like one that is missing
	})
	return shelf, s.unwritable(err)
}

// Load returns all that is on the shelf. Errors: Internal, it is damaged, and where.
func (f *Shelf) Load(ctx context.Context) (map[string][]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	values := make(map[string][]byte)
	err := f.store.reading(func() error {
		return f.store.db.View(func(tx *bbolt.Tx) error {
			return tx.Bucket(f.bucket).ForEach(func(key, value []byte) error {
				kept, err := content(key, value)
				if err != nil {
					return f.store.damaged(err, fmt.Sprintf("%q on the %s", key, f.bucket))
				}
				values[string(key)] = kept
				return nil
			})
		})
	})
	return values, err
}

// Commit makes the changes last with one transaction, all or none: when it returns nil they survive a loss of power. Once
// begun it does not heed ctx. Errors: Unavailable, the file cannot be written, and whether the changes last is unknown.
func (f *Shelf) Commit(ctx context.Context, values map[string][]byte, drop []string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return f.store.unwritable(f.store.update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(f.bucket)
		for _, name := range drop {
			if err := b.Delete([]byte(name)); err != nil {
				return err
			}
		}
		for _, name := range slices.Sorted(maps.Keys(values)) {
			if err := put(b, []byte(name), values[name]); err != nil {
				return err
			}
		}
		return nil
	}))
}

// nameSum is the number of a shelf's bucket, which nothing else needs. It is not 0, which older versions wrote.
func nameSum(name []byte) uint64 { return 1<<32 | uint64(checksum(name, nil)) }

// unwritable says of an error of bbolt's what it means here.
func (s *Store) unwritable(err error) error {
	if err != nil && cardbroker.ReasonOf(err) == cardbroker.Internal {
		return cardbroker.Wrapf(err, cardbroker.Unavailable, "the store %s cannot be written", s.path)
	}
	return err
}
