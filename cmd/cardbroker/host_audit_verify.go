// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/broker/audit"
)

func (p *program) auditVerify(where *auditPlace, socket *string) *cobra.Command {
	var anchors, anchorFiles []string
	c := &cobra.Command{Use: "verify [EXPORT…]", Short: "Find any change of the log, and any cut that the anchors can show",
		Long: "Verify the log, or exports of it in their order. Anchors are places of the chain that were noted elsewhere; without them a cut of\n" +
			"the log's end, and a log that was made anew as a whole, cannot be found. The head that the broker keeps is one of them; --dir\n" +
			"and exports are verified without it. Exit status 5: the log is not what was recorded.",
		RunE: func(c *cobra.Command, args []string) error {
			v := audit.Verify{Files: args, Progress: p.progress()}
			var err error
			if v.Anchors, err = readAnchors(anchors, anchorFiles); err != nil {
				return err
			}
			head := "none"
			if len(args) == 0 && where.dir == "" {
				kept, from, err := keptHead(c, *where, *socket)
				if err != nil {
					return fmt.Errorf("cannot tell which head the broker keeps; with --dir the log is verified without: %w", err)
				}
				v.Anchors, head = append(v.Anchors, kept), from
			}
			if len(args) == 0 {
				if v.Dir, err = where.path(); err != nil {
					return err
				}
			}
			report, err := v.Run(c.Context())
			if err != nil {
				return err
			}
			return p.writeReport(report, head)
		}}
	c.Flags().StringArrayVar(&anchors, "anchor", nil, "a place that must be in the chain, SEQ:HASH (repeatable)")
	c.Flags().StringArrayVar(&anchorFiles, "anchors", nil, "file of lines of the system log, with such places (repeatable); - is standard input")
	return c
}

// writeReport says what was found; a log that is not in order is an error.
func (p *program) writeReport(report audit.Report, head string) error {
	answer := struct {
		audit.Report
		Head string `json:"head"` // where the broker's own head was read: store, broker or none
	}{report, head}
	err := p.write(answer, func(w io.Writer) {
		fmt.Fprintf(w, "records %d to %d in %d files hang together, hash %s\n", report.First, report.Last, report.Files, report.Hash)
		fmt.Fprintf(w, "anchors: %d hold, %d are of records before, %d of records after; the broker's own head: %s\n",
			report.Anchors.Held, report.Anchors.Before, report.Anchors.After, head)
		if report.Trimmed {
			fmt.Fprintln(w, "the broker has cut off what was before, and recorded it")
		}
		if report.Torn > 0 {
			fmt.Fprintf(w, "the last line is not finished (%d bytes): a broker that writes just now, or a crash\n", report.Torn)
		}
	})
	if b := report.Problem; err == nil && b != nil {
		err = cardbroker.Errorf(cardbroker.AuditBroken, "%s, line %d, record %d: %s", b.File, b.Line, b.Seq, b.Why)
	}
	return err
}

// readAnchors reads the anchors of the command line. A line of a file without one is no error, a file without any is.
func readAnchors(texts, paths []string) (anchors []cardbroker.Anchor, err error) {
	for _, text := range texts {
		a, err := cardbroker.ParseAnchor(text)
		if err != nil {
			return nil, err
		}
		anchors = append(anchors, a)
	}
	for _, path := range paths {
		found, err := anchorsIn(path)
		if err != nil {
			return nil, cardbroker.Wrapf(err, cardbroker.Invalid, "cannot read the anchors in %s", path)
		}
		if len(found) == 0 {
			return nil, cardbroker.Errorf(cardbroker.Invalid, "%s holds no anchors: lines with %q", path, "cardbroker audit head seq=N hash=H")
		}
		anchors = append(anchors, found...)
	}
	return anchors, nil
}

func anchorsIn(path string) (anchors []cardbroker.Anchor, err error) {
	file := os.Stdin
	if path != "-" {
		if file, err = os.Open(path); err != nil {
			return nil, err
		}
		defer file.Close()
	}
	in := bufio.NewScanner(file)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		if a, ok := cardbroker.FindAnchor(in.Text()); ok {
			anchors = append(anchors, a)
		}
	}
	return anchors, in.Err()
}

// progressEvery is how often a long verification says how far it is.
const progressEvery = 2 * time.Second

// progress returns what tells people of a long verification.
func (p *program) progress() func(records, bytes int64) {
	next := time.Now().Add(progressEvery)
	return func(records, bytes int64) {
		if now := time.Now(); !p.json && now.After(next) {
			next = now.Add(progressEvery)
			fmt.Fprintf(p.stderr, "%d records, %d MiB so far\n", records, bytes>>20)
		}
	}
}
