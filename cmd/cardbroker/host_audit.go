// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/broker/audit"
	"github.com/cardbroker/cardbroker/store"
)

// auditDir is the audit log in the broker's state directory.
const auditDir = "audit"

// hostAudit reads the audit log. It needs the files alone: a broker may write them meanwhile, or be gone for years.
func (p *program) hostAudit(socket *string) *cobra.Command {
	var where auditPlace
	c := p.group("audit", "Show, verify or export the audit log",
		p.auditShow(&where), p.auditVerify(&where, socket), p.auditExport(&where))
	c.PersistentFlags().StringVar(&where.state, "state", defaultHostState(""), "the broker's state directory")
	c.PersistentFlags().StringVar(&where.dir, "dir", "", "the log's own directory, such as a copy (default: audit in the state directory)")
	return c
}

// auditPlace is where a log is.
type auditPlace struct{ state, dir string }

// path returns the log's directory. Errors: Unavailable, there is none.
func (a auditPlace) path() (string, error) {
	dir := a.dir
	if dir == "" {
		dir = filepath.Join(a.state, auditDir)
	}
	if _, err := os.Stat(dir); err != nil {
		return dir, cardbroker.Wrapf(err, cardbroker.Unavailable, "there is no audit log that we may read in %s", dir)
	}
	return dir, nil
}

func (p *program) auditShow(where *auditPlace) *cobra.Command {
	var filter audit.Filter
	var since, until, event, origin, tenant string
	var last int
	var follow bool
	c := &cobra.Command{Use: "show", Short: "Show records, the newest last", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if filter.Since, err = parseTime("since", since); err != nil {
				return err
			}
			if filter.Until, err = parseTime("until", until); err != nil {
				return err
			}
			if last < 0 || last > maxShown {
				return cardbroker.Errorf(cardbroker.Invalid, "-n %d: want 0 (all) to %d", last, maxShown)
			}
			filter.Event, filter.Origin, filter.Tenant = cardbroker.EventName(event), cardbroker.Origin(origin), cardbroker.Tenant(tenant)
			dir, err := where.path()
			if err != nil {
				return err
			}
			if !c.Flags().Changed("number") && since != "" {
				last = 0
			}
			ctx, stop := p.service(c.Context())
			defer stop()
			return p.showAudit(ctx, audit.Reader{Dir: dir, Filter: filter}, last, follow)
		}}
	c.Flags().StringVar(&since, "since", "", "from this time on: 2026-08-01, 2026-08-01T12:00:00Z, or 2h ago")
	c.Flags().StringVar(&until, "until", "", "until this time")
	c.Flags().StringVar(&event, "event", "", "events of this name only")
	c.Flags().StringVar(&filter.User, "user", "", "of this user only: uid, SID or name")
	c.Flags().StringVar(&origin, "origin", "", "of this origin only")
	c.Flags().StringVar(&tenant, "tenant", "", "of this tenant only")
	c.Flags().IntVarP(&last, "number", "n", 20, "how many at most, of the newest; 0: all (default 20; with --since all)")
	c.Flags().BoolVar(&follow, "follow", false, "go on with new records, until interrupted")
	return c
}

// maxShown is how many records are held in memory at most, to show the last of them.
const maxShown = 100_000

// parseTime reads a day, a time (RFC 3339) or how long ago that was; "" is the zero time.
func parseTime(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(strings.TrimSuffix(text, " ago")); err == nil && ago >= 0 {
		return time.Now().Add(-ago), nil
	}
	if t, err := time.ParseInLocation(time.DateOnly, text, time.Local); err == nil {
		return t, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, cardbroker.Errorf(cardbroker.Invalid, "--%s %s: want 2026-08-01, 2026-08-01T12:00:00Z or 2h", flag, text)
	}
	return t, nil
}

// showAudit writes records as they come: lines for people, one object as JSON, or, if it follows, an object a line.
func (p *program) showAudit(ctx context.Context, log audit.Reader, last int, follow bool) error {
	out := bufio.NewWriter(p.stdout)
	show, end := p.recordWriter(out, follow)
	err := error(nil)
	if last == 0 {
		err = log.Each(ctx, show)
	} else {
		var lines []audit.Line
		if lines, err = log.Last(ctx, last); err == nil {
			for _, l := range lines {
				show(l)
			}
		}
	}
	if err == nil && follow {
		if err = out.Flush(); err != nil {
			return err
		}
		err = log.Follow(ctx, func(l audit.Line) error {
			show(l)
			return out.Flush()
		})
	}
	end()
	if failed := out.Flush(); err == nil {
		err = failed
	}
	return err
}

// recordWriter returns what writes a record, and what ends the output.
func (p *program) recordWriter(out *bufio.Writer, stream bool) (show func(audit.Line) error, end func()) {
	switch {
	case !p.json:
		return func(l audit.Line) error {
			_, err := fmt.Fprintln(out, printable(auditRow(l), ' '))
			return err
		}, func() {}
	case stream:
		return func(l audit.Line) error {
			_, err := fmt.Fprintf(out, "%s\n", l.Text)
			return err
		}, func() {}
	}
	before := `{"events":[`
	show = func(l audit.Line) error {
		_, err := fmt.Fprintf(out, "%s%s", before, l.Text)
		before = ","
		return err
	}
	return show, func() {
		if before != "," {
			out.WriteString(before)
		}
		out.WriteString("]}\n")
	}
}

// auditRow is a record for people: when, what, who, and what else is known.
func auditRow(l audit.Line) string {
	if l.Seq == 0 {
		return "NOT A RECORD: " + string(l.Text)
	}
	who := "broker"
	switch {
	case l.User != "":
		who = l.User
	case l.UID != nil:
		who = fmt.Sprint("uid ", *l.UID)
	case l.SID != "":
		who = l.SID
	case l.Address != "":
		who = "-"
	}
	row := fmt.Sprintf("%s  %-18s %-12s", l.Time.Local().Format("2006-01-02 15:04:05"), l.Name, who)
	for _, fact := range []struct{ name, value string }{
		{"session", string(l.Session)}, {"reason", string(l.Reason)}, {"rule", string(l.Rule)}, {"origin", string(l.Origin)},
		{"tenant", string(l.Tenant)}, {"reader", l.Reader}, {"tunnel", l.Tunnel}, {"method", l.Method}, {"address", l.Address},
	} {
		if fact.value != "" {
			row += fmt.Sprintf(" %s=%s", fact.name, fact.value)
		}
	}
	if l.Count > 0 {
		row += fmt.Sprintf(" count=%d", l.Count)
	}
	if l.Detail != "" {
		row += " " + l.Detail
	}
	return row
}

func (p *program) auditExport(where *auditPlace) *cobra.Command {
	var format, path string
	var piece audit.Export
	c := &cobra.Command{Use: "export", Short: "Write a piece of the log that can be verified elsewhere", Args: cobra.NoArgs,
		Long: "Write the records --from to --to (numbers; default: all), with what is needed to verify them elsewhere: an export as jsonl is\n" +
			"a file of the log, for `host audit verify FILE`. One as csv is for spreadsheets and cannot be verified.",
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if format != "jsonl" && format != "csv" {
				return cardbroker.Errorf(cardbroker.Invalid, "--format %s: want jsonl or csv", format)
			}
			if piece.Dir, err = where.path(); err != nil {
				return err
			}
			out := p.stdout
			if path != "" {
				file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
				if err != nil {
					return cardbroker.Wrapf(err, cardbroker.Invalid, "cannot write %s", path)
				}
				defer file.Close()
				out = file
			}
			buffer := bufio.NewWriter(out)
			write := piece.JSONL
			if format == "csv" {
				write = piece.CSV
			}
			n, err := write(c.Context(), buffer)
			if err == nil {
				err = buffer.Flush()
			}
			if err == nil && n == 0 {
				err = cardbroker.Errorf(cardbroker.Unavailable, "the log has no such records")
			}
			if err != nil || path == "" {
				return err
			}
			return p.write(map[string]any{"records": n, "file": path}, func(w io.Writer) { fmt.Fprintf(w, "%d records written to %s\n", n, path) })
		}}
	c.Flags().StringVar(&format, "format", "jsonl", "jsonl or csv")
	c.Flags().Uint64Var(&piece.From, "from", 0, "number of the first record (default: the oldest)")
	c.Flags().Uint64Var(&piece.To, "to", 0, "number of the last record (default: the newest)")
	c.Flags().StringVar(&path, "out", "", "file to write, which must not be there yet (default: standard output)")
	return c
}

// keptHead returns the head that the registry's file keeps, or that a running broker tells of, which has that file open.
func keptHead(c *cobra.Command, where auditPlace, socket string) (head cardbroker.Anchor, from string, err error) {
	path := filepath.Join(where.state, storeFile)
	err = withStore(path, func(s *store.Store) (err error) {
		head, err = s.AuditHead(c.Context())
		return err
	})
	if err == nil {
		return head, "store", nil
	}
	if cardbroker.ReasonOf(err) != cardbroker.Conflict {
		return head, "", err
	}
	status, err := askBroker(c, socket).Audit(c.Context())
	if err != nil {
		return head, "", err
	}
	head, err = cardbroker.ParseAnchor(fmt.Sprintf("%d:%s", status.Seq, status.Hash))
	return head, "broker", err
}
