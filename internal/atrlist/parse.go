// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package atrlist

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Problem is a line of a list that is malformed.
type Problem struct {
	Line int // from 1
	Text string
}

// String returns "line 3: a description without a pattern", for example.
func (p Problem) String() string { return fmt.Sprintf("line %d: %s", p.Line, p.Text) }

// parser reads a list: a pattern on a line of its own, then its descriptions, each on a line that begins with a tab, then
// an empty line. A line that begins with # is a comment.
type parser struct {
	list    *List
	text    string
	line    int // the number of the current one
	at      int // the line of the pattern that descriptions belong to; 0: none
	pattern string
	lines   string // its descriptions, up to a line between them that is none
	from    int    // offset of its descriptions behind that; 0: none yet
	to      int    // offset behind them
	useless bool   // the pattern was malformed: its descriptions are not reported too
}

// Parse reads a list from its text, of which it keeps parts. Malformed lines are skipped, see [List.Skipped].
func Parse(text string) *List {
	const usual = 110 // bytes for a pattern and its descriptions: room for all at once, so that little is thrown away
	n := min(len(text)/usual, maxPatterns) + 1
	p := &parser{text: text, list: &List{
		entries: make([]string, 0, n),
		exact:   make(map[string]int32, n),
		before:  make([]int32, 0, n),
		masked:  map[int][]group{},
	}}
	at := 0
	for line := range strings.Lines(text) {
		p.line++
		end := at + len(line)
		p.take(strings.TrimRight(line, "\r\n"), at, end)
		at = end
	}
	p.finish()
	return p.list
}

func (p *parser) wrong(line int, format string, args ...any) {
	p.list.wrong = append(p.list.wrong, Problem{line, fmt.Sprintf(format, args...)})
}

// take reads the line that is text[at:end].
func (p *parser) take(line string, at, end int) {
	switch {
	case strings.TrimSpace(line) == "":
		p.finish()
		p.useless = false
	case line[0] == '#':
	case len(line) > maxLine:
		p.useless = p.at == 0
		p.wrong(p.line, "it has %d bytes, at most %d are taken", len(line), maxLine)
	case line[0] == '\t':
		p.description(at, end)
	case line[0] == ' ':
		p.useless = p.at == 0
		p.wrong(p.line, "it begins with a space; descriptions begin with a tab")
	default:
		p.finish()
		p.useless = false
		p.at, p.pattern = p.line, strings.ToUpper(strings.TrimRight(line, " "))
	}
}

func (p *parser) description(at, end int) {
	switch {
	case p.useless:
	case p.at == 0:
		p.wrong(p.line, "a description without a pattern")
	case p.from == 0:
		p.from, p.to = at, end
	case p.to == at:
		p.to = end
	default: // a comment or a malformed line lies between
		p.lines += p.text[p.from:p.to]
		p.from, p.to = at, end
	}
}

// finish adds what was read last to the list.
func (p *parser) finish() {
	defer func() { p.at, p.lines, p.from, p.to = 0, "", 0, 0 }()
	if p.at == 0 {
		return
	}
	p.lines += p.text[p.from:p.to]
	if p.lines == "" {
		p.wrong(p.at, "a pattern without a description")
		return
	}
	if err := p.list.add(p.pattern, p.lines); err != nil {
		p.wrong(p.at, "%v", err)
	}
}

// add takes a pattern and its descriptions into the index.
func (l *List) add(pattern, text string) error {
	if len(l.entries) == maxPatterns {
		return fmt.Errorf("more than %d patterns", maxPatterns)
	}
	number, before := int32(len(l.entries)), int32(-1)
	if exact(pattern) {
		if last, ok := l.exact[pattern]; ok {
			before = last
		}
		l.exact[pattern] = number
	} else if err := l.mask(pattern, number); err != nil {
		return err
	}
	l.entries, l.before = append(l.entries, text), append(l.before, before)
	return nil
}

// mask takes a pattern with wildcards.
func (l *List) mask(pattern string, number int32) error {
	sets, ok := plain(pattern)
	if len(sets) > 2*maxLength {
		return fmt.Errorf("%d bytes, an ATR has at most %d", len(sets)/2, maxLength)
	}
	var list []masked
	if ok {
		list, ok = variants(sets)
	}
	switch {
	case ok:
		for _, m := range list {
			m.entry = number
			if !l.index(m) {
				return errors.New("too many kinds of masks")
			}
		}
		return nil
	case len(l.loose) == maxLoose:
		return errors.New("too many patterns that are neither bytes nor simple masks")
	}
	compiled, err := expression(pattern)
	if err != nil {
		return err
	}
	l.loose = append(l.loose, loose{prefixOf(pattern), compiled, number})
	return nil
}

// index takes one masked pattern. It is false if that would make look-ups slow. All variants of a pattern have one mask: if
// there is no room, it is for the first.
func (l *List) index(m masked) bool {
	mask := headOf(m.mask)
	groups := l.masked[len(m.mask)]
	at := slices.IndexFunc(groups, func(g group) bool { return g.mask == mask })
	if at < 0 {
		if len(groups) == maxGroups {
			return false
		}
		at = len(groups)
		groups = append(groups, group{mask, map[uint64][]masked{}})
		l.masked[len(m.mask)] = groups
	}
	key := headOf(m.value)
	groups[at].rows[key] = append(groups[at].rows[key], m)
	return true
}
