// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package atrlist says what a card probably is, by its answer to reset and a list of patterns with descriptions.
//
// The format is that of smartcard_list.txt by Ludovic Rousseau, which Debian's pcsc-tools installs as
// [DistributionFile]. Its licence is the GPL, version 2 or later: therefore it is not shipped with cardbroker, nor is any
// of it in this source, and it is read only where the distribution has installed it. An administrator's own list,
// [AdminFile], replaces it.
//
// A list is made, asked and dropped: it never changes and has no owner.
package atrlist

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/cardbroker/cardbroker"
)

// Where lists are looked for, in this order.
const (
	AdminFile        = "/etc/cardbroker/smartcard_list.txt"
	DistributionFile = "/usr/share/pcsc/smartcard_list.txt"
)

// The limits of a list: ten times what the largest that is known has.
const (
	maxSize     = 8 << 20 // bytes of the file
	maxPatterns = 50_000
	maxLine     = 2000 // bytes
	maxLoose    = 64   // patterns that only a regular expression can match: each costs every look-up
	maxGroups   = 256  // groups of masked patterns of one length: likewise
	maxFound    = 32   // descriptions of one ATR
	maxText     = 8192 // bytes of them
)

// List is a list of patterns, indexed. The zero List knows no card.
type List struct {
	entries []string         // the descriptions of each pattern, lines of the file, in its order
	exact   map[string]int32 // by pattern, the last of the entries without a wildcard
	before  []int32          // for each entry: the one before it with the same pattern; -1: none
	masked  map[int][]group  // by the ATR's length
	loose   []loose
	wrong   []Problem
	path    string
}

// group are the masked patterns of one length whose first bytes have the same wildcards.
type group struct {
	mask uint64              // of the first bytes
	rows map[uint64][]masked // by the first bytes under the mask
}

// masked is a pattern of fixed length.
type masked struct {
	value, mask []byte
	entry       int32
}

// loose is a pattern that is not of fixed length, or that has too many alternatives.
type loose struct {
	prefix  string         // that the ATR begins with in any case
	pattern *regexp.Regexp // of the ATR in upper-case hexadecimal, a space between bytes
	entry   int32
}

// Load reads the first of the files that is there. Lines that are malformed are skipped and counted, see [List.Skipped].
// Without any of the files the list is empty. Errors: Invalid (the file cannot be read, or is too large).
func Load(paths ...string) (*List, error) {
	for _, path := range paths {
		text, err := read(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, cardbroker.Wrapf(err, cardbroker.Invalid, "cannot read the list of ATRs %s", path)
		}
		list := Parse(text)
		list.path = path
		return list, nil
	}
	return &List{}, nil
}

// Check reads the file strictly and returns how many patterns it has. Errors: Invalid, with the number of the first line
// that is malformed.
func Check(path string) (patterns int, err error) {
	text, err := read(path)
	if err != nil {
		return 0, cardbroker.Wrapf(err, cardbroker.Invalid, "cannot read the list of ATRs %s", path)
	}
	list := Parse(text)
	switch wrong := list.wrong; len(wrong) {
	case 0:
		return list.Len(), nil
	case 1:
		return 0, cardbroker.Errorf(cardbroker.Invalid, "%s: %v", path, wrong[0])
	}
	return 0, cardbroker.Errorf(cardbroker.Invalid, "%s: %v; and %d more malformed lines", path, list.wrong[0], len(list.wrong)-1)
}

// read returns the text of a regular file.
func read(path string) (string, error) {
	info, err := os.Stat(path) // before it is opened: who opens a pipe waits
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", errors.New("it is no file")
	}
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	var text strings.Builder
	text.Grow(int(min(info.Size(), maxSize)) + 1)
	n, err := io.Copy(&text, io.LimitReader(file, maxSize+1))
	if err == nil && n > maxSize {
		err = errors.New("it is too large")
	}
	return text.String(), err
}

// Path returns the file that [Load] has read; empty: there was none.
func (l *List) Path() string { return l.path }

// Len returns how many patterns the list has.
func (l *List) Len() int { return len(l.entries) }

// Skipped returns the malformed lines that are not part of the list, in their order.
func (l *List) Skipped() []Problem { return l.wrong }

// Find returns what a card with that ATR probably is, one description a string, the more certain first: those of
// patterns without a wildcard, then the others, both in the order of the file. Nothing is known of most cards: nil.
func (l *List) Find(atr []byte) []string {
	var found []string
	room := maxText
	for _, i := range l.match(atr) {
		for line := range strings.Lines(l.entries[i]) {
			line = strings.TrimSpace(line)
			if line == "" || slices.Contains(found, line) {
				continue
			}
			if room -= len(line); room < 0 || len(found) == maxFound {
				return found
			}
			found = append(found, strings.Clone(line)) // not to keep the list's text alive
		}
	}
	return found
}

// match returns the entries that an ATR matches.
func (l *List) match(atr []byte) []int32 {
	text := spaced(atr)
	var found []int32
	if i, ok := l.exact[string(text)]; ok {
		for ; i >= 0; i = l.before[i] {
			found = append(found, i)
		}
		slices.Reverse(found)
	}
	exact := len(found)
	head := headOf(atr)
	for _, g := range l.masked[len(atr)] {
		for _, m := range g.rows[head&g.mask] {
			if m.matches(atr) {
				found = append(found, m.entry)
			}
		}
	}
	for _, p := range l.loose {
		if bytes.HasPrefix(text, []byte(p.prefix)) && p.pattern.Match(text) {
			found = append(found, p.entry)
		}
	}
	slices.Sort(found[exact:])
	return found
}

func (m masked) matches(atr []byte) bool {
	for i, c := range atr {
		if c&m.mask[i] != m.value[i] {
			return false
		}
	}
	return true
}

// headOf returns the first eight bytes, with 00 for those that are not there.
func headOf(b []byte) uint64 {
	var head [8]byte
	copy(head[:], b)
	return binary.BigEndian.Uint64(head[:])
}

// spaced returns an ATR as patterns have it.
func spaced(atr []byte) []byte {
	const digits = "0123456789ABCDEF"
	text := make([]byte, 0, 3*len(atr))
	for i, c := range atr {
		if i > 0 {
			text = append(text, ' ')
		}
		text = append(text, digits[c>>4], digits[c&0x0F])
	}
	return text
}
