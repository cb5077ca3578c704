// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"os"
	"os/user"
	"path/filepath"
	"time"

	"github.com/cardbroker/cardbroker"
)

const (
	retryWrite = time.Second // after a failure
	keepHead   = time.Second // from a record to its place in Heads
	tellHead   = time.Hour   // between two lines in the system log, if nothing begins or ends
	maxNames   = 1024        // of users, that are remembered
	nameLife   = 10 * time.Minute
)

// writer has the log's files. Its goroutine is the only one that waits for the disk.
type writer struct {
	log     *Log
	jobs    chan []entry
	results chan error // nil: the batch is on the disk; else it is tried again

	file  *os.File // the last; nil: the next record begins one
	begun string   // the path of the file that was begun last: it may be left from a failure
	first uint64   // the number of its first record
	size  int64    // of what is good in it, in bytes
	day   string   // of the records in it, UTC
	head  cardbroker.Anchor
	kept  cardbroker.Anchor
	found []entry // what was found at the start, to be recorded first
	names map[cardbroker.UserID]name
	disk  disk

	keepAt, tellAt, trimAt time.Time // zero: never
}

// disk is what a status tells of the disk.
type disk struct {
	head, kept cardbroker.Anchor
	at         *time.Time
	err        error
	files      int
	bytes      int64
}

// name is what a user is called.
type name struct {
	text  string
	until time.Time
}

// run writes what it is given until ctx ends.
func (w *writer) run(ctx context.Context) error {
	for {
		timer := time.NewTimer(time.Until(w.wake()))
		select {
		case batch := <-w.jobs:
			w.write(ctx, batch)
		case <-timer.C:
			w.tick(ctx, time.Now())
		case <-ctx.Done():
			timer.Stop()
			w.close(context.WithoutCancel(ctx))
			return nil
		}
		timer.Stop()
	}
}

// wake is when something is due though there is nothing to write.
func (w *writer) wake() time.Time {
	at := w.trimAt
	for _, other := range []time.Time{w.keepAt, w.tellAt} {
		if !other.IsZero() && other.Before(at) {
			at = other
		}
	}
	return at
}

// write writes a batch, again and again if need be, and says after each time how it went.
func (w *writer) write(ctx context.Context, batch []entry) {
	text, head := w.render(batch)
	for {
		err := w.commit(text, head)
		select {
		case w.results <- err:
		case <-ctx.Done():
		}
		if err == nil {
			break
		}
		timer := time.NewTimer(retryWrite)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
	now := time.Now()
	if w.keepAt.IsZero() {
		w.keepAt = now.Add(keepHead)
	}
	if w.tellAt.IsZero() { // the first batch: the broker's start
		w.tell(now)
	}
}

// render chains the events after the head.
func (w *writer) render(batch []entry) (text []byte, head cardbroker.Anchor) {
	head = w.head
	for _, e := range batch {
		if e.record.UID != nil || e.record.SID != "" {
			e.record.User = w.nameOf(e.user)
		}
		var line []byte
		line, head = seal(head, e.record)
		text = append(text, line...)
	}
	return text, head
}

// nameOf returns what the system calls a user; "" if it does not know.
func (w *writer) nameOf(id cardbroker.UserID) string {
	now := time.Now()
	if n, ok := w.names[id]; ok && now.Before(n.until) {
		return n.text
	}
	if len(w.names) >= maxNames {
		clear(w.names)
	}
	n := name{until: now.Add(nameLife)}
	if u, err := user.LookupId(id.String()); err == nil {
		n.text = printable(u.Username, maxText)
	}
	w.names[id] = n
	return n.text
}

// commit makes lines last, all or none, and publishes the new head.
func (w *writer) commit(text []byte, head cardbroker.Anchor) error {
	now := time.Now()
	w.log.busy.Store(now.UnixNano())
	defer w.log.busy.Store(0)
	day := now.UTC().Format(time.DateOnly)
	err := error(nil)
	full := day != w.day || w.size+int64(len(text)) > w.log.cfg.FileBytes
	if w.file == nil || full && w.head.Seq >= w.first { // one without records is not full
		err = w.begin(text, day)
	} else {
		err = w.append(text)
	}
	if err != nil {
		w.log.cfg.Log.Error("cannot write the audit log", "err", err)
		w.publish(err)
		return cardbroker.Wrapf(err, cardbroker.Unavailable, "the audit log cannot be written")
	}
	w.head, w.disk.at = head, &now
	w.disk.bytes += int64(len(text))
	w.publish(nil)
	return nil
}

// append writes lines to the end of the file. What a failure leaves of them is cut off; what was not synced is written
// again, since a file whose fsync failed may have dropped it.
func (w *writer) append(text []byte) error {
	_, err := w.file.WriteAt(text, w.size)
	if err == nil {
		err = w.file.Sync()
	}
	if err != nil {
		w.file.Truncate(w.size)
		return err
	}
	w.size += int64(len(text))
	return nil
}

// begin writes lines to a new file.
func (w *writer) begin(text []byte, day string) error {
	path := filepath.Join(w.log.cfg.Dir, fileName(w.head.Seq+1))
	flag := os.O_EXCL
	if path == w.begun { // by us, a moment ago
		flag = os.O_TRUNC
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|flag, 0o600)
	if err != nil {
		return err
	}
	w.begun = path
	text = append(header(w.head), text...)
	_, err = file.Write(text)
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = syncDir(w.log.cfg.Dir)
	}
	if err != nil {
		file.Close()
		os.Remove(path)
		return err
	}
	if w.file != nil {
		w.file.Close()
	}
	w.file, w.first, w.size, w.day = file, w.head.Seq+1, int64(len(text)), day
	w.disk.files++
	w.keepAt, w.trimAt = time.Now(), time.Now()
	return nil
}

// tick does what is due.
func (w *writer) tick(ctx context.Context, now time.Time) {
	if !now.Before(w.trimAt) {
		w.trimAt = now.Add(tellHead)
		if err := w.trim(now); err != nil {
			w.log.cfg.Log.Error("cannot cut off the old part of the audit log", "err", err)
		}
	}
	if !w.keepAt.IsZero() && !now.Before(w.keepAt) {
		w.keepAt = time.Time{}
		w.keep(ctx)
	}
	if !w.tellAt.IsZero() && !now.Before(w.tellAt) {
		w.tell(now)
	}
}

// keep puts the head into Heads.
func (w *writer) keep(ctx context.Context) {
	if w.head == w.kept {
		return
	}
	w.log.busy.Store(time.Now().UnixNano())
	defer w.log.busy.Store(0)
	if err := w.log.cfg.Heads.KeepAuditHead(ctx, w.head); err != nil {
		w.log.cfg.Log.Warn("cannot keep the head of the audit log", "err", err)
		w.keepAt = time.Now().Add(tellHead / 60)
		return
	}
	w.kept = w.head
	w.publish(w.disk.err)
}

// tell has the system log told of the head.
func (w *writer) tell(now time.Time) {
	w.tellAt = now.Add(tellHead)
	w.log.teller.tell(w.head)
}

// close leaves everything as the next start wants it.
func (w *writer) close(ctx context.Context) {
	w.keep(ctx)
	if w.head.Seq > 0 {
		w.tell(time.Now())
	}
	if w.file != nil {
		w.file.Close()
	}
}

// publish has Status tell what the writer knows.
func (w *writer) publish(err error) {
	w.disk.head, w.disk.kept, w.disk.err = w.head, w.kept, err
	d := w.disk
	w.log.disk.Store(&d)
}

// trim cuts off the files that are too old or too many, all but the last. A record that says so comes first, so that nobody
// else can do the same unseen.
func (w *writer) trim(now time.Time) error {
	paths, err := list(w.log.cfg.Dir)
	if err != nil {
		return err
	}
	infos := make([]os.FileInfo, len(paths))
	w.disk.files, w.disk.bytes = len(paths), 0
	for i, path := range paths {
		if infos[i], err = os.Stat(path); err != nil {
			return err
		}
		w.disk.bytes += infos[i].Size()
	}
	oldest, n, why := now.AddDate(0, 0, -w.log.cfg.KeepDays), 0, "age"
	for ; n < len(paths)-1; n++ {
		if !infos[n].ModTime().Before(oldest) {
			if w.disk.bytes <= w.log.cfg.MaxBytes {
				break
			}
			why = "size"
		}
		w.disk.bytes -= infos[n].Size()
	}
	if n > 0 {
		err = w.cut(paths[:n], paths[n], why)
		w.disk.files -= n
	}
	w.publish(w.disk.err)
	return err
}

// cut removes files; next is the first that stays.
func (w *writer) cut(paths []string, next, why string) error {
	prev, err := headerOf(next)
	if err != nil {
		return err
	}
	e := newEntry(nil, cardbroker.Event{Name: cardbroker.EventLogTrimmed, Method: why,
		Count: prev.Seq + 1 - firstOf(filepath.Base(paths[0])), Detail: prev.String()}, byBroker)
	text, head := w.render([]entry{e})
	if err := w.commit(text, head); err != nil {
		return err
	}
	w.keepAt = time.Now()
	for _, path := range paths { // the oldest first: what is left is one piece
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return syncDir(w.log.cfg.Dir)
}

// headerOf returns the place in the chain after which a file begins.
func headerOf(path string) (cardbroker.Anchor, error) {
	file, err := os.Open(path)
	if err != nil {
		return cardbroker.Anchor{}, err
	}
	defer file.Close()
	text, err := newLines(file).next()
	if err != nil {
		return cardbroker.Anchor{}, err
	}
	return parseHeader(text)
}
