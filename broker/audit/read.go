// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cardbroker/cardbroker"
)

// Filter says which records are wanted. Empty fields want all.
type Filter struct {
	Since, Until time.Time // by the broker's clock; Until is excluded
	Event        cardbroker.EventName
	User         string // uid, SID or name
	Origin       cardbroker.Origin
	Tenant       cardbroker.Tenant
}

// Wants says whether a record passes.
func (f Filter) Wants(r Record) bool {
	user := r.SID
	if r.UID != nil {
		user = fmt.Sprint(*r.UID)
	}
	return !r.Time.Before(f.Since) && (f.Until.IsZero() || r.Time.Before(f.Until)) &&
		(f.Event == "" || f.Event == r.Name) &&
		(f.User == "" || f.User == user || f.User == r.User) &&
		(f.Origin == "" || f.Origin == r.Origin) &&
		(f.Tenant == "" || f.Tenant == r.Tenant)
}

// Line is a record and the very bytes that it is in the log.
type Line struct {
	Record
	Text []byte // without the newline
}

// decode reads what a line says.
func decode(text []byte) (Line, error) {
	l := Line{Text: text}
	if err := json.Unmarshal(text, &l.Record); err != nil {
		return l, unreadable(err)
	}
	return l, nil
}

// Reader reads a log that a broker may be writing, in constant memory. It does not verify.
type Reader struct {
	Dir    string
	Filter Filter
}

// Each calls each with the records that are wanted, from the oldest on, until it returns an error. Its Line is valid until it
// returns. Errors: Invalid, the log cannot be read; that of each.
func (r Reader) Each(ctx context.Context, each func(Line) error) error {
	paths, err := list(r.Dir)
	if err != nil {
		return unreadable(err)
	}
	for _, path := range paths {
		if err := r.file(ctx, path, each); err != nil {
			return err
		}
	}
	return nil
}

// file reads one file. One that the broker has cut off meanwhile is as if it had been before.
func (r Reader) file(ctx context.Context, path string, each func(Line) error) error {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return unreadable(err)
	}
	defer file.Close()
	return r.rest(ctx, newLines(file), each)
}

// rest reads what is there of a file's lines. A line that is no record is shown as it is: to leave it out would hide it.
func (r Reader) rest(ctx context.Context, in *lines, each func(Line) error) error {
	for {
		text, err := in.next()
		if errors.Is(err, io.EOF) || errors.As(err, new(tornError)) {
			return ctx.Err()
		}
		if err != nil {
			return unreadable(err)
		}
		if in.n == 1 {
			continue // the header
		}
		l, err := decode(text)
		if err == nil && !r.Filter.Wants(l.Record) {
			continue
		}
		if err := each(l); err != nil {
			return err
		}
		if in.n%often == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// Last returns the last n records that are wanted, from the oldest on. It reads the newest files first, and no more than it
// needs.
func (r Reader) Last(ctx context.Context, n int) ([]Line, error) {
	paths, err := list(r.Dir)
	if err != nil {
		return nil, unreadable(err)
	}
	var found []Line
	for _, path := range slices.Backward(paths) {
		if len(found) >= n {
			break
		}
		var newest []Line
		err := r.file(ctx, path, func(l Line) error {
			l.Text = slices.Clone(l.Text)
			if newest = append(newest, l); len(newest) >= 2*n+64 {
				newest = slices.Clone(newest[len(newest)-n:])
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		newest = newest[max(0, len(newest)-(n-len(found))):]
		found = append(newest, found...)
	}
	return found, nil
}

// followEvery is how often a log that is followed is looked at.
const followEvery = 500 * time.Millisecond

// Follow calls each with the records that come from now on, until ctx ends or each returns an error.
func (r Reader) Follow(ctx context.Context, each func(Line) error) error {
	at, err := r.end()
	if err != nil {
		return unreadable(err)
	}
	timer := time.NewTicker(followEvery)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil
		}
		if err := r.follow(ctx, &at, each); err != nil {
			return err
		}
	}
}

// place is how far a log was followed.
type place struct {
	path string
	size int64
	line int
}

// end returns the place behind the last whole line.
func (r Reader) end() (p place, err error) {
	err = r.follow(context.Background(), &p, func(Line) error { return nil })
	return p, err
}

// follow reads what is new since p, and moves p.
func (r Reader) follow(ctx context.Context, p *place, each func(Line) error) error {
	paths, err := list(r.Dir)
	if err != nil {
		return unreadable(err)
	}
	for _, path := range paths {
		if filepath.Base(path) < filepath.Base(p.path) {
			continue
		}
		if path != p.path {
			*p = place{path: path}
		}
		file, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return unreadable(err)
		}
		in := newLines(io.NewSectionReader(file, p.size, 1<<62))
		in.n = p.line
		err = r.rest(ctx, in, each)
		file.Close()
		p.size, p.line = p.size+in.size, in.n
		if err != nil {
			return err
		}
	}
	return nil
}
