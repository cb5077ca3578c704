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

// checkContent checks the pages, then reads all that is written in the file, if there is one. It comes first: bbolt opened
// like this touches no page but the first two by itself, so what is found leaves nothing behind.
func (s *Store) checkContent() error {
	info, err := os.Stat(s.path)
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		return nil // nothing to check; to open it will tell
	}
	file, err := os.Open(s.path)
	if err != nil {
		return s.openError(err)
	}
	defer file.Close()
	if err := checkPageSize(file); err != nil {
		return s.damaged(err, "its first pages")
	}
	return s.reading(func() error {
		db, err := bbolt.Open(s.path, 0o600, &bbolt.Options{
			Timeout:  lockTimeout,
			ReadOnly: true,
			OpenFile: func(string, int, os.FileMode) (*os.File, error) { return file, nil },
		})
		if err != nil {
			return s.openError(err)
		}
		defer db.Close()
		info, err := file.Stat() // now nobody writes
		if err != nil {
			return s.openError(err)
		}
		if err := checkPages(file, db.Info().PageSize, info.Size()); err != nil {
			return s.damaged(err, "its pages")
		}
		return db.View(s.checkValues)
	})
}

// checkValues reads all values, also those that nobody may ask for.
func (s *Store) checkValues(tx *bbolt.Tx) error {
	if isEmpty(tx) {
		return nil
	}
	if _, err := s.read(tx); err != nil {
		return err
	}
	return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
		if string(name) == agentsBucket { // has been read
			return nil
		}
		return b.ForEach(func(key, value []byte) error {
			if _, err := content(key, value); err != nil {
				return s.damaged(err, fmt.Sprintf("%q in %q", key, name))
			}
			return nil
		})
	})
}

func isEmpty(tx *bbolt.Tx) bool {
	first, _ := tx.Cursor().First()
	return first == nil
}

// update changes the file by one transaction. A fault in it, of a file that was cut off or a disk that cannot be read any
// more, may leave bbolt locked: nobody calls it after that.
func (s *Store) update(f func(tx *bbolt.Tx) error) error {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	if s.broken != nil {
		return s.broken
	}
	ended := false
	err := s.reading(func() error {
		err := s.db.Update(f)
		ended = true
		return err
	})
	if !ended {
		s.broken = err
	}
	return err
}

// reading runs f, which reads pages of the file. They have been checked, and bbolt panics if they make no sense none the
// less; one that the disk does not give, or that is no longer there, is a memory fault: the one place of the program where
// a panic is a finding. If bbolt panics while it opens the file, that stays locked until the process ends.
func (s *Store) reading(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = s.damaged(fmt.Errorf("bbolt failed: %v", p), "its pages")
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
