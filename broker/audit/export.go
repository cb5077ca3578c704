// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker"
)

// Export is a piece of a log: the records From to To. Zero means the first and the last that are there.
type Export struct {
	Dir      string
	From, To uint64
}

// errDone ends a walk before its end.
var errDone = errors.New("done")

// JSONL writes the piece as a file of the log: a header and the records as they are, byte by byte. Such a file can be verified
// anywhere. It returns how many records those are. Errors: Invalid, the log cannot be read; Conflict, a file that is needed was
// cut off meanwhile; those of w.
func (e Export) JSONL(ctx context.Context, w io.Writer) (records uint64, err error) {
	err = e.walk(ctx, func(prev cardbroker.Anchor, text []byte) error {
		if records == 0 {
			if _, err := w.Write(header(prev)); err != nil {
				return err
			}
		}
		records++
		_, err := w.Write(append(text, '\n'))
		return err
	})
	return records, err
}

// columns are those of an export as CSV.
const columns = "seq,time,event,by,uid,sid,user,session,reason,rule,origin,tenant,reader,tunnel,method,address,count,detail,told,hash"

// CSV writes the piece as a table (RFC 4180), for people and their spreadsheets; it cannot be verified. A cell that a
// spreadsheet would take for a formula begins with an apostrophe: cells are the words of others.
func (e Export) CSV(ctx context.Context, w io.Writer) (records uint64, err error) {
	table := csv.NewWriter(w)
	if err := table.Write(strings.Split(columns, ",")); err != nil {
		return 0, err
	}
	err = e.walk(ctx, func(_ cardbroker.Anchor, text []byte) error {
		l, err := decode(text)
		if err != nil {
			return err
		}
		records++
		return table.Write(row(l))
	})
	table.Flush()
	return records, errors.Join(err, table.Error())
}

// row returns a record's cells.
func row(l Line) []string {
	uid, told, count := "", "", ""
	if l.UID != nil {
		uid = strconv.FormatUint(uint64(*l.UID), 10)
	}
	if l.Told != nil {
		told = l.Told.Format(time.RFC3339Nano)
	}
	if l.Count > 0 {
		count = strconv.FormatUint(l.Count, 10)
	}
	at, _ := parseLine(l.Text)
	cells := []string{strconv.FormatUint(l.Seq, 10), l.Time.Format(time.RFC3339Nano), string(l.Name), l.By, uid, l.SID, l.User,
		string(l.Session), string(l.Reason), string(l.Rule), string(l.Origin), string(l.Tenant), l.Reader, l.Tunnel, l.Method,
		l.Address, count, l.Detail, told, fmt.Sprintf("%x", at.Hash)}
	for i, cell := range cells {
		if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
			cells[i] = "'" + cell
		}
	}
	return cells
}

// walk calls each with the lines of the piece and the place before each.
func (e Export) walk(ctx context.Context, each func(prev cardbroker.Anchor, text []byte) error) error {
	paths, err := list(e.Dir)
	if err != nil {
		return unreadable(err)
	}
	for i, path := range paths {
		if i+1 < len(paths) && firstOf(filepath.Base(paths[i+1])) <= e.From {
			continue // all of it is before
		}
		err := e.walkFile(ctx, path, each)
		if errors.Is(err, errDone) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (e Export) walkFile(ctx context.Context, path string, each func(prev cardbroker.Anchor, text []byte) error) error {
	file, err := os.Open(path)
	if err != nil {
		return errCut(err)
	}
	defer file.Close()
	in := newLines(file)
	var at cardbroker.Anchor
	for {
		text, err := in.next()
		switch {
		case errors.Is(err, io.EOF), errors.As(err, new(tornError)):
			return nil
		case err != nil:
			return unreadable(err)
		case in.n == 1:
			if at, err = parseHeader(text); err != nil {
				return unreadable(fmt.Errorf("%s: %w", path, err))
			}
			continue
		}
		l, err := parseLine(text)
		if err != nil {
			return unreadable(fmt.Errorf("%s, line %d: %w", path, in.n, err))
		}
		if e.To > 0 && l.Seq > e.To {
			return errDone
		}
		if l.Seq >= e.From {
			if err := each(at, text); err != nil {
				return err
			}
		}
		if at = l.Anchor; in.n%often == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
	}
}
