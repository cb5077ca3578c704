// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package store keeps what the broker's registry must not forget: agents, their ports and the hashes of their claims, in
// one bbolt file; and the head of the audit log. It is the only package that imports bbolt, decides nothing about agents, and never hands out a
// transaction: what it returns are copies.
//
// The file has two buckets, and one for each shelf, whose sequence number is made from its name. "meta": schema, epoch,
// salt and audit. "agents": a record for each port, the port as two bytes in big-endian order. Each value is the CRC-32C
// of its key and content, four bytes in big-endian order, then the content.
package store

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cardbroker/cardbroker"
)

const (
	lockTimeout = time.Second // then another broker holds the file, not one that is just ending
	mmapSize    = 16 << 20    // bytes: below it, no reader makes a writer wait that must grow the file
)

// Options say how a store is opened.
type Options struct {
	ReadOnly bool // for tools: nothing is made or changed, and no broker may hold the file
}

// Store is an open store. Its methods may be called by any goroutine.
type Store struct {
	db     *bbolt.DB
	path   string
	turn   chan struct{} // capacity 1: who changes the file has its turn
	broken error         // belongs to who has the turn; not nil: the file could not be read any more
}

// Open opens the store in the file path, or makes it (0600), with the last directory of path (0700) if that is missing.
// It reads the whole file, so that damage is found now. Errors: Conflict, another broker has it open; Invalid, path
// cannot be used, or is not a store; Unsupported, a newer version made it; Internal, it is damaged, and where.
func Open(path string, options Options) (*Store, error) {
	s := &Store{path: path, turn: make(chan struct{}, 1)}
	if !options.ReadOnly {
		if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil && !os.IsExist(err) {
			return nil, s.openError(err)
		}
	}
	if err := s.checkContent(); err != nil {
		return nil, err
	}
	if err := s.open(options); err != nil {
		return nil, err
	}
	if err := s.ready(options); err != nil {
		s.db.Close()
		return nil, err
	}
	return s, nil
}

func (s *Store) open(options Options) error {
	return s.reading(func() (err error) {
		s.db, err = bbolt.Open(s.path, 0o600, &bbolt.Options{
			Timeout:         lockTimeout,
			InitialMmapSize: mmapSize,
			ReadOnly:        options.ReadOnly,
			NoStatistics:    true,
		})
		if err != nil {
			return s.openError(err)
		}
		return nil
	})
}

// ready fills the file if it is new.
func (s *Store) ready(options Options) error {
	var empty bool
	err := s.reading(func() error {
		return s.db.View(func(tx *bbolt.Tx) error {
			empty = isEmpty(tx)
			return nil
		})
	})
	switch {
	case err != nil:
		return err
	case options.ReadOnly && empty:
		return s.foreign()
	case options.ReadOnly:
		return nil
	}
	if err := os.Chmod(s.path, 0o600); err != nil { // who can read it can hold its lock
		return s.openError(err)
	}
	if !empty {
		return nil
	}
	if err := s.update(create); err != nil {
		return s.openError(err)
	}
	return nil
}

// Close closes the store. It waits for a Commit that runs. After a fault in a Commit the file stays open until the
// process ends.
func (s *Store) Close() error {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	if s.broken != nil {
		return nil
	}
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("cannot close the store %s: %w", s.path, err)
	}
	return nil
}

// Load returns all that the store holds. Errors: Internal, it is damaged, and where.
func (s *Store) Load(ctx context.Context) (cardbroker.Snapshot, error) {
	if err := ctx.Err(); err != nil {
		return cardbroker.Snapshot{}, err
	}
	var snapshot cardbroker.Snapshot
	err := s.reading(func() error {
		return s.db.View(func(tx *bbolt.Tx) (err error) {
			snapshot, err = s.read(tx)
			return err
		})
	})
	return snapshot, err
}

// Commit makes the changes last with one transaction: when it returns nil they survive a loss of power. Once begun it
// does not heed ctx. Errors: StaleEpoch, a registry of a higher epoch has written; Unavailable, the file cannot be
// written, and whether the changes last is unknown.
func (s *Store) Commit(ctx context.Context, changes cardbroker.Changes) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.unwritable(s.update(func(tx *bbolt.Tx) error { return s.apply(tx, changes) }))
}

func (s *Store) apply(tx *bbolt.Tx, changes cardbroker.Changes) error {
	meta, agents := tx.Bucket([]byte(metaBucket)), tx.Bucket([]byte(agentsBucket))
	epoch, err := s.meta(meta, epochKey, 8)
	if err != nil {
		return err
	}
	switch seen := binary.BigEndian.Uint64(epoch); {
	case seen > changes.Epoch:
		return cardbroker.Errorf(cardbroker.StaleEpoch, "epoch %d is over, the store is at %d", changes.Epoch, seen)
	case seen != changes.Epoch:
		if err := put(meta, []byte(epochKey), binary.BigEndian.AppendUint64(nil, changes.Epoch)); err != nil {
			return err
		}
	}
	for _, port := range changes.Delete {
		if err := agents.Delete(portKey(port)); err != nil {
			return err
		}
	}
	for _, r := range changes.Put {
		text, err := json.Marshal(newRow(r))
		if err != nil {
			return err
		}
		if err := put(agents, portKey(r.Agent.Port), text); err != nil {
			return err
		}
	}
	return nil
}
