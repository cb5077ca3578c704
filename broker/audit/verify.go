// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/cardbroker/cardbroker"
)

// Verify says what is verified, and by what.
type Verify struct {
	Dir      string                     // a whole log; or
	Files    []string                   // pieces of one in order, such as an export: nothing is said of what is around them
	Anchors  []cardbroker.Anchor        // that must be in the chain
	Progress func(records, bytes int64) // is called now and then; may be nil
}

// Report says what was found.
type Report struct {
	OK      bool     `json:"ok"`
	First   uint64   `json:"first"` // the numbers of the first and the last record that hang together
	Last    uint64   `json:"last"`
	Hash    string   `json:"hash"` // of the last
	Records uint64   `json:"records"`
	Files   int      `json:"files"`
	Anchors Anchored `json:"anchors"`
	Trimmed bool     `json:"trimmed"` // the broker has cut off what was before the first
	Torn    int64    `json:"torn"`    // bytes of an unfinished last line: a crash, or a broker that writes just now
	Problem *Problem `json:"problem"` // the first; null: there is none
}

// Anchored says how many anchors there were.
type Anchored struct {
	Held   int `json:"held"`   // in the chain
	Before int `json:"before"` // of records before the first: they show nothing
	After  int `json:"after"`  // of records after the last of a piece
}

// Problem is where the log is not what was recorded.
type Problem struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Seq  uint64 `json:"seq"` // of the record that is wrong or missing
	Why  string `json:"why"`
}

// errCut says that the broker cut off a file that was still to be read.
func errCut(err error) error {
	return cardbroker.Wrapf(err, cardbroker.Conflict, "old files were cut off meanwhile; verify once more")
}

// Run reads everything in constant memory. A log that is not in order is no error: the Report says so. Errors: Invalid, it
// cannot be read; Conflict, the broker has cut off a part meanwhile; those of ctx.
func (v Verify) Run(ctx context.Context) (Report, error) {
	paths := v.Files
	if v.Dir != "" {
		var err error
		if paths, err = list(v.Dir); err != nil {
			return Report{}, unreadable(err)
		}
	}
	c := &check{v: v, anchors: sorted(v.Anchors)}
	for i, path := range paths {
		err := c.file(ctx, path, i == len(paths)-1)
		if errors.Is(err, fs.ErrNotExist) && v.Dir != "" {
			return Report{}, errCut(err)
		}
		if err != nil {
			return Report{}, unreadable(err)
		}
		if c.Problem != nil {
			break
		}
	}
	c.end()
	c.OK = c.Problem == nil
	c.Last, c.Hash = c.at.Seq, fmt.Sprintf("%x", c.at.Hash)
	return c.Report, nil
}

func unreadable(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return cardbroker.Wrapf(err, cardbroker.Invalid, "the audit log cannot be read: %v", err)
}

func sorted(anchors []cardbroker.Anchor) []cardbroker.Anchor {
	anchors = slices.Clone(anchors)
	slices.SortFunc(anchors, func(a, b cardbroker.Anchor) int { return cmp.Compare(a.Seq, b.Seq) })
	return anchors
}

// check is a verification that is under way.
type check struct {
	Report
	v       Verify
	anchors []cardbroker.Anchor // ascending; those that are still to come
	begin   cardbroker.Anchor   // the place before the first record
	at      cardbroker.Anchor   // the record before the next
	bytes   int64
	path    string
	in      *lines
}

// bad notes the first problem.
func (c *check) bad(seq uint64, format string, args ...any) {
	if c.Problem != nil {
		return
	}
	c.Problem = &Problem{File: c.path, Seq: seq, Why: fmt.Sprintf(format, args...)}
	if c.in != nil {
		c.Problem.Line = max(c.in.n, 1)
	}
}

// file verifies one file. Only the last of all may end within a line.
func (c *check) file(ctx context.Context, path string, last bool) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	c.path, c.in = path, newLines(file)
	c.Files++
	for c.Problem == nil {
		text, err := c.in.next()
		torn, isTorn := errors.AsType[tornError](err)
		switch {
		case errors.Is(err, io.EOF) && (c.in.n > 0 || last):
			return nil
		case isTorn && last:
			c.Torn = torn.bytes
			return nil
		case errors.Is(err, io.EOF), isTorn, errors.Is(err, errLong):
			c.in.n++
			c.bad(c.at.Seq+1, "the file is cut off, or a line in it is none of ours: %v", err)
			return nil
		case err != nil:
			return err
		case c.in.n == 1:
			c.header(text)
		default:
			c.line(text)
		}
		if err := c.progress(ctx, int64(len(text)+1)); err != nil {
			return err
		}
	}
	return nil
}

// header verifies that a file goes on where the one before it ends, and that its name says so.
func (c *check) header(text []byte) {
	prev, err := parseHeader(text)
	name := filepath.Base(c.path)
	switch {
	case err != nil:
		c.bad(c.at.Seq+1, "%v", err)
	case c.v.Dir != "" && prev.Seq+1 != firstOf(name):
		c.bad(prev.Seq+1, "the file's name is another than its header says")
	case c.Files == 1:
		c.begin, c.at, c.First = prev, prev, prev.Seq+1
		c.anchored()
	case prev.Seq > c.at.Seq:
		c.bad(c.at.Seq+1, "the records from %d to %d are missing", c.at.Seq+1, prev.Seq)
	case prev != c.at:
		c.bad(prev.Seq+1, "the file does not begin after record %d, with which the one before it ends", c.at.Seq)
	}
}

// line verifies one record.
func (c *check) line(text []byte) {
	l, err := parseLine(text)
	if err == nil {
		err = follows(c.at, l)
	}
	if err != nil {
		c.bad(c.at.Seq+1, "%v", err)
		return
	}
	c.at = l.Anchor
	c.Records++
	switch cardbroker.EventName(l.event) {
	case cardbroker.EventLogTrimmed:
		if trimmed, ok := detailOf(text); ok && trimmed == c.begin {
			c.Trimmed = true
		}
	case cardbroker.EventLogDamaged:
		c.bad(l.Seq, "the broker itself found the log damaged when it started")
	}
	c.anchored()
}

// detailOf returns the anchor that a record of the broker's tells of.
func detailOf(text []byte) (cardbroker.Anchor, bool) {
	var r Record
	if json.NewDecoder(bytes.NewReader(text)).Decode(&r) != nil || r.By != byBroker {
		return cardbroker.Anchor{}, false
	}
	return cardbroker.FindAnchor(r.Detail)
}

// anchored compares the record at hand with the anchors of its number. Those of earlier ones are left over from before the
// first record.
func (c *check) anchored() {
	for len(c.anchors) > 0 && c.anchors[0].Seq <= c.at.Seq {
		switch anchor := c.anchors[0]; {
		case anchor.Seq < c.at.Seq:
			c.Anchors.Before++
		case anchor.Hash != c.at.Hash:
			c.bad(anchor.Seq, "record %d is not the one that an anchor tells of: it, or one before it, was changed", anchor.Seq)
			return
		default:
			c.Anchors.Held++
		}
		c.anchors = c.anchors[1:]
	}
}

// end looks for what is missing before the first and after the last record.
func (c *check) end() {
	if c.v.Dir == "" {
		c.Anchors.After = len(c.anchors)
		return
	}
	if len(c.anchors) > 0 && c.Problem == nil {
		c.bad(c.at.Seq+1, "the records from %d to %d, of which an anchor tells, are missing", c.at.Seq+1, c.anchors[len(c.anchors)-1].Seq)
	}
	if c.begin.Seq > 0 && !c.Trimmed && c.Problem == nil {
		c.in = nil
		c.path = filepath.Join(c.v.Dir, fileName(c.begin.Seq+1))
		c.bad(1, "the records from 1 to %d are missing, and no record says that the broker cut them off", c.begin.Seq)
	}
}

// often is how many records pass between two looks at the outside.
const often = 1 << 14

func (c *check) progress(ctx context.Context, n int64) error {
	c.bytes += n
	if c.Records%often != 0 {
		return nil
	}
	if c.v.Progress != nil {
		c.v.Progress(int64(c.Records), c.bytes)
	}
	return ctx.Err()
}
