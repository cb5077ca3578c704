// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/cardbroker/cardbroker"
)

// check reads the whole file: that it is as long as it says, every record, and then the pages as such. A new file is
// empty and needs to be filled.
func (s *Store) check() (empty bool, err error) {
	err = s.reading(func() error {
		return s.db.View(func(tx *bbolt.Tx) error {
			info, err := os.Stat(s.path)
			if err != nil {
				return s.openError(err)
			}
			if info.Size() < tx.Size() {
				return s.damaged(fmt.Errorf("%d bytes are used, it has %d", tx.Size(), info.Size()), "its end")
			}
			first, _ := tx.Cursor().First()
			if empty = first == nil; !empty {
				if _, err := s.read(tx); err != nil { // before Check, whose own goroutine a memory fault would end
					return err
				}
			}
			return s.checkPages(tx)
		})
	})
	return empty, err
}

func (s *Store) checkPages(tx *bbolt.Tx) error {
	var problems []error
	for problem := range tx.Check() {
		problems = append(problems, problem)
	}
	if len(problems) > 0 {
		return s.damaged(errors.Join(problems...), "its pages")
	}
	return nil
}

// reading runs f, which reads pages that may be damaged. bbolt panics on a page that makes no sense, and one beyond the
// end of the file is a memory fault: the one place of the program where a panic is a finding. If it happens while bbolt
// opens the file, the file stays open and locked until the process ends.
func (s *Store) reading(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = s.damaged(fmt.Errorf("%v", p), "its pages")
		}
	}()
	return f()
}

// damaged returns Internal: the file does not hold what was written.
func (s *Store) damaged(err error, place string) error {
	return cardbroker.Wrapf(err, cardbroker.Internal,
		"the store %s is damaged (%s: %v): restore a backup, or move it away to begin with an empty one", s.path, place, err)
}

// openError says what an administrator can do about a file that cannot be opened.
func (s *Store) openError(err error) error {
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return cardbroker.Wrapf(err, cardbroker.Conflict,
			"the store %s is in use by another broker: stop that one, or give this one a state directory of its own", s.path)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return s.damaged(err, "its first pages")
	}
	return cardbroker.Wrapf(err, cardbroker.Invalid, "the store %s cannot be opened: %v", s.path, err)
}

// foreign returns Invalid: the file is something else.
func (s *Store) foreign() error {
	return cardbroker.Errorf(cardbroker.Invalid, "%s is not a store of cardbroker", s.path)
}
