// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"encoding/binary"

	"go.etcd.io/bbolt"

	"github.com/cardbroker/cardbroker"
)

// AuditHead returns the head of the audit log that was kept last; the zero Anchor: none was. Errors: Internal, it is damaged.
func (s *Store) AuditHead(ctx context.Context) (head cardbroker.Anchor, err error) {
	if err := ctx.Err(); err != nil {
		return head, err
	}
	err = s.reading(func() error {
		return s.db.View(func(tx *bbolt.Tx) error {
			meta := tx.Bucket([]byte(metaBucket))
			if meta.Get([]byte(auditKey)) == nil {
				return nil
			}
			value, err := s.meta(meta, auditKey, 8+len(head.Hash))
			if err != nil {
				return err
			}
			head.Seq = binary.BigEndian.Uint64(value)
			copy(head.Hash[:], value[8:])
			return nil
		})
	})
	return head, err
}

// KeepAuditHead makes the head of the audit log last. Once begun it does not heed ctx. Errors: Unavailable, the file cannot
// be written.
func (s *Store) KeepAuditHead(ctx context.Context, head cardbroker.Anchor) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	value := append(binary.BigEndian.AppendUint64(nil, head.Seq), head.Hash[:]...)
	err := s.update(func(tx *bbolt.Tx) error {
		return put(tx.Bucket([]byte(metaBucket)), []byte(auditKey), value)
	})
	if err != nil {
		return cardbroker.Wrapf(err, cardbroker.Unavailable, "the store %s cannot be written", s.path)
	}
	return nil
}
