// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package child

import (
	"bytes"
	"log/slog"
	"strings"
	"unicode"
)

// maxLine is the longest line of the child's that is kept, in bytes.
const maxLine = 300

// informs begins a line of cardsandbox's own log that is no complaint.
const informs = "level=INFO "

// lines takes the child's standard error: it logs each line and keeps the last complaint, or the one that a crash begins
// with. One goroutine writes; last is called when that has ended.
type lines struct {
	log     *slog.Logger
	partial []byte
	latest  string
}

// Write implements io.Writer. It never fails.
func (l *lines) Write(p []byte) (int, error) {
	for part := range bytes.Lines(p) {
		l.partial = append(l.partial, part[:min(len(part), maxLine)]...)
		l.partial = l.partial[:min(len(l.partial), maxLine)]
		if part[len(part)-1] == '\n' {
			l.flush()
		}
	}
	return len(p), nil
}

// last returns the line that was kept, complete or not, and "" if there was none.
func (l *lines) last() string {
	l.flush()
	return l.latest
}

// flush ends the line. What could move a terminal's cursor goes.
func (l *lines) flush() {
	line := strings.TrimSpace(strings.Map(printable, string(l.partial)))
	l.partial = l.partial[:0]
	if line == "" {
		return
	}
	if strings.HasPrefix(line, informs) {
		l.log.Info("sandbox says", "status", strings.TrimPrefix(line, informs))
		return
	}
	l.log.Warn("sandbox says", "err", line)
	if !isCrash(l.latest) { // else a stack trace follows
		l.latest = line
	}
}

// isCrash says whether a line is how the Go runtime begins its report of a crash.
func isCrash(line string) bool {
	return strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") || strings.HasPrefix(line, "SIG")
}

func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return ' '
}
