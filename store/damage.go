// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"syscall"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/cardbroker/cardbroker"
)

// checkContent reads all that is written in the file, if there is one, and that it is as long as it says. It comes first:
// bbolt opened like this touches no page by itself, so what is found leaves nothing behind.
func (s *Store) checkContent() error {
	info, err := os.Stat(s.path)
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		return nil // nothing to check; to open it will tell
	}
	return s.reading(func() error {
		db, err := bbolt.Open(s.path, 0o600, &bbolt.Options{Timeout: lockTimeout, ReadOnly: true})
		if err != nil {
			return s.openError(err)
		}
		defer db.Close()
		return db.View(func(tx *bbolt.Tx) error {
			if info.Size() < tx.Size() {
				return s.damaged(fmt.Errorf("%d bytes are used, it has %d", tx.Size(), info.Size()), "its end")
			}
			if isEmpty(tx) {
				return nil
			}
			_, err := s.read(tx)
			return err
		})
	})
}

// checkPages checks the pages as such, and says whether the file is new and needs to be filled.
func (s *Store) checkPages() (empty bool, err error) {
	err = s.reading(func() error {
		return s.db.View(func(tx *bbolt.Tx) error {
			empty = isEmpty(tx)
			if err := s.checkHeaders(tx); err != nil {
				return err
			}
			var problems []error
			for problem := range tx.Check() {
				problems = append(problems, problem)
			}
			if len(problems) > 0 {
				return s.damaged(errors.Join(problems...), "its pages")
			}
			return nil
		})
	})
	return empty, err
}

// checkHeaders checks the size of each page, which tx.Check believes: it would count to four billion.
func (s *Store) checkHeaders(tx *bbolt.Tx) error {
	end := int(tx.Size()) / s.db.Info().PageSize
	for id := 0; id < end; {
		page, err := tx.Page(id)
		if err != nil {
			return fmt.Errorf("cannot read page %d of the store %s: %w", id, s.path, err)
		}
		id++
		if page.Type == "free" { // holds whatever it last was
			continue
		}
		if id += page.OverflowCount; id > end {
			return s.damaged(fmt.Errorf("page %d reaches beyond the end", page.ID), "its pages")
		}
	}
	return nil
}

func isEmpty(tx *bbolt.Tx) bool {
	first, _ := tx.Cursor().First()
	return first == nil
}

// reading runs f, which reads pages that may be damaged. bbolt panics on a page that makes no sense, and one beyond the
// end of the file is a memory fault: the one place of the program where a panic is a finding. If bbolt panics while it
// opens the file (its list of free pages is damaged), the file stays locked until the process ends.
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
	if errors.Is(err, bolterrors.ErrTimeout) {
		return cardbroker.Wrapf(err, cardbroker.Conflict,
			"the store %s is in use by another broker: stop that one, or give this one a state directory of its own", s.path)
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return cardbroker.Wrapf(err, cardbroker.Invalid, "the store %s cannot be opened: %v", s.path, errno)
	}
	return s.damaged(err, "its first pages")
}

// foreign returns Invalid: the file is something else.
func (s *Store) foreign() error {
	return cardbroker.Errorf(cardbroker.Invalid, "%s is not a store of cardbroker", s.path)
}
