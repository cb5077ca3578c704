// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"encoding/json"
	"strings"
)

// maxMembers is how many names of an object are kept: none that is wanted has as many.
const maxMembers = 256

// members looks for a name that stands twice in an object of the JSON that is written to it, large and small letters alike, as encoding/json takes
// them. RFC 8259 §4 leaves open which of the two counts. It keeps names only, never values: those may be PINs.
type members struct {
	open    []map[string]bool // the names so far in each value that has not ended, from the outermost on; nil: a list
	name    []byte            // as it is written
	text    bool              // within a string
	escaped bool              // after a backslash there
	named   bool              // what is read is a name
	next    bool              // the next string is a name

	offset int
	twice  string // the first name that stands twice
	at     int    // where it ends
}

// Write reads on. It never fails.
func (m *members) Write(p []byte) (int, error) {
	for _, c := range p {
		m.offset++
		if m.text {
			m.inText(c)
		} else {
			m.between(c)
		}
	}
	return len(p), nil
}

func (m *members) inText(c byte) {
	switch {
	case m.escaped:
		m.escaped = false
	case c == '\\':
		m.escaped = true
	case c == '"':
		m.text = false
		if m.named {
			m.take()
		}
		return
	}
	if m.named {
		m.name = append(m.name, c)
	}
}

func (m *members) between(c byte) {
	switch c {
	case '"':
		m.text, m.named, m.next = true, m.next, false
		m.name = m.name[:0]
	case '{':
		m.open, m.next = append(m.open, map[string]bool{}), true
	case '[':
		m.open, m.next = append(m.open, nil), false
	case '}', ']':
		m.open, m.next = m.open[:max(0, len(m.open)-1)], false
	case ',':
		m.next = len(m.open) > 0 && m.open[len(m.open)-1] != nil
	}
}

// take adds a name to its object.
func (m *members) take() {
	var name string
	if json.Unmarshal([]byte(`"`+string(m.name)+`"`), &name) != nil {
		return // the decoder says so
	}
	names, folded := m.open[len(m.open)-1], strings.ToLower(strings.ToUpper(name))
	switch {
	case names[folded] && m.at == 0:
		m.twice, m.at = name, m.offset
	case len(names) < maxMembers:
		names[folded] = true
	}
}
