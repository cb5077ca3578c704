// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
)

// write answers with v as JSON, or with what table writes for people.
func (p *program) write(v any, table func(w io.Writer)) error {
	if p.json {
		e := json.NewEncoder(p.stdout)
		e.SetEscapeHTML(false)
		return e.Encode(v)
	}
	var text strings.Builder
	table(&text)
	_, err := io.WriteString(p.stdout, printable(text.String(), '\n'))
	return err
}

// done answers what has nothing to say but that it is done: an object all the same, as every answer in JSON is one.
func (p *program) done(err error) error {
	if err != nil {
		return err
	}
	return p.write(struct{}{}, func(io.Writer) {})
}

// printable returns text without what could move a terminal's cursor, but for one character to keep: names of readers, and
// what agents say of others, are the words of other users.
func printable(text string, keep rune) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) || r == keep {
			return r
		}
		return '?'
	}, text)
}

// rows writes a table.
func rows[T any](w io.Writer, head string, items []T, row func(T) string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, head)
	for _, item := range items {
		fmt.Fprintln(t, printable(row(item), '\t')) // a name never makes a row of its own
	}
	t.Flush()
}

// leaseRows writes the table of leases, for administrators and users alike.
func leaseRows(w io.Writer, leases []api.Lease) {
	const clock = "15:04:05"
	rows(w, "TENANT\tREADER\tUSER\tSESSION\tSINCE\tUNTIL\tUSE\tBY\tBACK END\tTUNNEL", leases, func(l api.Lease) string {
		use := cmp.Or(l.Share, "shared")
		if l.Cut != nil {
			use += ", cut off since " + l.Cut.Local().Format(clock)
		}
		return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s", l.Tenant, l.Reader, cmp.Or(l.User, "-"), l.Session,
			l.Since.Local().Format(clock), l.Expires.Local().Format(clock), use, l.Method, l.Backend, l.Tunnel)
	})
}

// writeEvent writes one event, one a line.
func (p *program) writeEvent(e api.ReaderEvent) error {
	return p.write(e, func(w io.Writer) {
		fmt.Fprintf(w, "%s  %-14s  %s  %s\n", e.Time.Local().Format("15:04:05.000"), e.Event, e.Reader, e.ATR)
	})
}

// ready is the line that a service writes when it is ready.
type ready struct {
	Ready   bool                 `json:"ready"`
	PID     int                  `json:"pid"`
	Listen  []string             `json:"listen,omitempty"`
	Fixed   []string             `json:"fixed,omitempty"`
	Metrics []string             `json:"metrics,omitempty"`
	Socket  string               `json:"socket,omitempty"`
	Backend string               `json:"backend,omitempty"`
	Session cardbroker.SessionID `json:"session,omitempty"`
	Port    cardbroker.Port      `json:"port,omitempty"`
	Readers []string             `json:"readers,omitempty"`
	Version string               `json:"version"`
}

// openReady returns where the ready line goes: descriptor fd, or standard output if that is 0. It comes before all else
// that opens something, and might get the number of a descriptor that is not there.
func (p *program) openReady(fd int) (io.Writer, error) {
	switch fd {
	case 0, 1:
		return p.stdout, nil
	case 2:
		return p.stderr, nil
	}
	file := os.NewFile(uintptr(fd), "ready")
	if _, err := file.Stat(); err != nil {
		return nil, cardbroker.Errorf(cardbroker.Invalid, "--ready-fd %d is not open", fd)
	}
	return file, nil
}

// writeReady writes the line, and closes a descriptor that is for nothing else.
func (p *program) writeReady(out io.Writer, line ready) error {
	line.Ready, line.PID, line.Version = true, os.Getpid(), version()
	err := json.NewEncoder(out).Encode(line)
	if file, ok := out.(*os.File); ok && out != p.stdout && out != p.stderr {
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		return cardbroker.Wrapf(err, cardbroker.Unavailable, "nobody reads the ready line")
	}
	return nil
}
