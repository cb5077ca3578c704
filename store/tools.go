// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"go.etcd.io/bbolt"

	"github.com/cardbroker/cardbroker"
)

// Check reads the whole file and says what is wrong with it first. Errors: as of [Open].
func Check(path string) error {
	s, err := Open(path, Options{ReadOnly: true})
	if err != nil {
		return err
	}
	return s.Close()
}

// Compact writes the content of the store src to the new file dst, without the space that is no longer used. Errors: as
// of [Open]; Conflict, dst is there already.
func Compact(src, dst string) error {
	from, err := Open(src, Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer from.Close()
	return from.copyTo(dst, func(file *os.File) error {
		to, err := bbolt.Open(dst, 0o600, &bbolt.Options{Timeout: lockTimeout})
		if err != nil {
			return err
		}
		if err := bbolt.Compact(to, from.db, 0); err != nil {
			to.Close()
			return err
		}
		return to.Close()
	})
}

// Backup writes the store as of now to the new file dst, while it may be in use. Errors: Conflict, dst is there already;
// Invalid, it cannot be written.
func (s *Store) Backup(dst string) error {
	return s.copyTo(dst, func(file *os.File) error {
		return s.db.View(func(tx *bbolt.Tx) error {
			_, err := tx.WriteTo(file)
			return err
		})
	})
}

// copyTo makes the file dst, has fill write it, and checks it. There is a good copy after it, or none.
func (s *Store) copyTo(dst string, fill func(*os.File) error) (err error) {
	file, err := os.OpenFile(dst, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case os.IsExist(err):
		return cardbroker.Wrapf(err, cardbroker.Conflict, "the file %s is there already", dst)
	case err != nil:
		return cardbroker.Wrapf(err, cardbroker.Invalid, "the file %s cannot be written: %v", dst, err)
	}
	defer func() {
		if err != nil {
			os.Remove(dst)
		}
	}()
	defer file.Close()
	if err := s.reading(func() error { return fill(file) }); err != nil {
		return fmt.Errorf("cannot copy the store %s to %s: %w", s.path, dst, err)
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("cannot copy the store %s to %s: %w", s.path, dst, err)
	}
	return Check(dst)
}

// Dump writes what the store holds, a JSON object a line: one with schema, epoch and the number of agents, then one for
// each agent. Secrets, and what they could be guessed from, are left out.
func (s *Store) Dump(ctx context.Context, w io.Writer) error {
	snapshot, err := s.Load(ctx) // first: w may be slow
	if err != nil {
		return err
	}
	buffer := bufio.NewWriter(w)
	lines := json.NewEncoder(buffer)
	head := struct {
		Schema int    `json:"schema"`
		Epoch  uint64 `json:"epoch"`
		Agents int    `json:"agents"`
	}{schema, snapshot.Epoch, len(snapshot.Records)}
	if err := lines.Encode(head); err != nil {
		return err
	}
	for _, record := range snapshot.Records {
		r := newRow(record)
		r.Claim = ""
		if err := lines.Encode(r); err != nil {
			return err
		}
	}
	return buffer.Flush()
}
