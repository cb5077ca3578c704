// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/cardbroker/cardbroker"
)

// lockName is the file that is locked while a log is open for writing.
const lockName = "lock"

// lockDir makes the directory if need be, ours alone, and locks it.
func lockDir(dir string) (*os.File, error) {
	if err := os.Mkdir(dir, 0o700); err != nil && !os.IsExist(err) {
		return nil, cardbroker.Wrapf(err, cardbroker.Invalid, "cannot make the directory of the audit log %s", dir)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, cardbroker.Wrapf(err, cardbroker.Invalid, "cannot use the directory of the audit log %s", dir)
	}
	file, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, cardbroker.Wrapf(err, cardbroker.Invalid, "cannot use the directory of the audit log %s", dir)
	}
	if err := lockFile(file); err != nil {
		file.Close()
		return nil, cardbroker.Wrapf(err, cardbroker.Conflict, "another broker writes the audit log in %s", dir)
	}
	return file, nil
}

// reopen finds the end of the log, so that it goes on there.
func reopen(ctx context.Context, l *Log) (*writer, error) {
	w := &writer{log: l, jobs: make(chan []entry), results: make(chan error), names: make(map[cardbroker.UserID]name), trimAt: time.Now()}
	var err error
	if w.kept, err = l.cfg.Heads.AuditHead(ctx); err != nil {
		return nil, err
	}
	paths, err := list(l.cfg.Dir)
	if err != nil {
		return nil, err
	}
	for len(paths) > 0 && w.file == nil {
		if err := w.reopenFile(paths[len(paths)-1]); err != nil {
			return nil, err
		}
		paths = paths[:len(paths)-1]
	}
	var damage error
	if w.file != nil {
		damage = w.scan()
	}
	if damage == nil && w.kept.Seq > w.head.Seq {
		damage = fmt.Errorf("the records from %d to %d are gone", w.head.Seq+1, w.kept.Seq)
	}
	if damage != nil {
		w.leave(damage)
	}
	return w, nil
}

// reopenFile opens the last file and cuts off a torn line. It removes a file of which nothing is left: then there is none.
func (w *writer) reopenFile(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return err
	}
	torn, err := tail(file)
	if err == nil && torn > 0 {
		err = errors.Join(file.Truncate(info.Size()-torn), file.Sync())
		w.note(cardbroker.EventLogRepaired, fmt.Sprintf("%s: %d bytes of a torn line were cut off", filepath.Base(path), torn))
	}
	if w.size = info.Size() - torn; err == nil && w.size == 0 {
		file.Close()
		return os.Remove(path)
	}
	if err != nil {
		file.Close()
		return err
	}
	w.file, w.first, w.day = file, firstOf(filepath.Base(path)), info.ModTime().UTC().Format(time.DateOnly)
	return nil
}

// scan reads the last file and finds the head. It returns what is wrong first, and goes on to the last line that is a record.
func (w *writer) scan() (damage error) {
	if _, err := w.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	name := filepath.Base(w.file.Name())
	note := func(n int, err error) {
		if damage == nil {
			damage = fmt.Errorf("%s, line %d: %w", name, n, err)
		}
	}
	in := newLines(w.file)
	text, err := in.next()
	if err == nil {
		w.head, err = parseHeader(text)
	}
	if err != nil || w.head.Seq+1 != firstOf(name) {
		w.head = cardbroker.Anchor{Seq: firstOf(name)} // a new file's name is to be greater
		note(1, errors.New("the first line is not the file's header"))
	}
	for {
		text, err := in.next()
		if errors.Is(err, io.EOF) {
			return damage
		}
		if err != nil {
			note(in.n+1, err)
			return damage
		}
		l, err := parseLine(text)
		if err != nil {
			note(in.n, err)
			continue
		}
		err = follows(w.head, l)
		if err == nil && l.Seq == w.kept.Seq && l.Hash != w.kept.Hash {
			err = fmt.Errorf("record %d is not the one whose hash was kept", l.Seq)
		}
		if err != nil {
			note(in.n, err)
		}
		if l.Seq > w.head.Seq && l.Seq < math.MaxInt64/2 {
			w.head = l.Anchor
		}
	}
}

// follows says whether the line is the record after prev.
func follows(prev cardbroker.Anchor, l line) error {
	switch {
	case l.Seq != prev.Seq+1:
		return fmt.Errorf("record %d follows record %d", l.Seq, prev.Seq)
	case chain(prev.Hash, l.body) != l.Hash:
		return fmt.Errorf("record %d, or one before it, was changed: its hash is another", l.Seq)
	}
	return nil
}

// leave leaves a damaged log as it is: the next record begins a new file, after all that is or was there.
func (w *writer) leave(damage error) {
	if w.file != nil {
		w.file.Close()
		w.file = nil
	}
	if w.kept.Seq > w.head.Seq {
		w.head = w.kept
	}
	w.log.damage = damage.Error()
	w.log.cfg.Log.Error("the audit log is damaged; it goes on in a new file", "err", damage)
	w.note(cardbroker.EventLogDamaged, damage.Error())
}

// note has something recorded that was found at the start.
func (w *writer) note(name cardbroker.EventName, detail string) {
	w.found = append(w.found, newEntry(nil, cardbroker.Event{Name: name, Detail: detail}, byBroker))
}
