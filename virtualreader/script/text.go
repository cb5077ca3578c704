// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package script

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/cardbroker/cardbroker"
)

// MaxText is the longest text of a script, in bytes.
const MaxText = 16 << 20

// Parse reads a script as people write it, in YAML, of which JSON is a part; docs/scripts.md is the reference. It is strict:
// what it does not know is Invalid, as is a script that [Script.Check] refuses. Errors name the line and the place.
func Parse(text []byte) (Script, error) {
	if len(text) > MaxText {
		return Script{}, cardbroker.Errorf(cardbroker.TooLarge, "a script has %d bytes, want %d or fewer", len(text), MaxText)
	}
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		return Script{}, invalid("%s", yamlText(err))
	}
	if len(file.Docs) != 1 || file.Docs[0].Body == nil {
		return Script{}, invalid("want one YAML document with steps")
	}
	r := reader{lines: make(map[string]int)}
	s := r.script(file.Docs[0].Body)
	if r.err != nil {
		return Script{}, r.err
	}
	s.measure()
	if f := s.check(); f != nil {
		return Script{}, invalid("%s%s", r.line(f.path()), f.err().(*cardbroker.Error).Message)
	}
	return s, nil
}

// measure gives inserts without a length that of their register.
func (s *Script) measure() {
	lengths := make(map[string]int)
	for _, step := range s.Steps {
		for i, n := range step.Insert {
			if n.Length == 0 {
				step.Insert[i].Length = lengths[n.Register]
			}
		}
		for _, c := range step.Capture {
			lengths[c.Register] = c.Length
		}
	}
}

// reader turns the nodes of a YAML text into a script. After the first error nothing is read any more.
type reader struct {
	lines map[string]int // by path, where it stands in the text
	err   error
}

func (r *reader) fail(n ast.Node, path, format string, args ...any) {
	if r.err != nil {
		return
	}
	if path != "" {
		path += ": "
	}
	r.err = invalid("line %d: %s%s", n.GetToken().Position.Line, path, fmt.Sprintf(format, args...))
}

// line says where a path, or what it is a part of, stands.
func (r *reader) line(path string) string {
	for path != "" {
		if line, ok := r.lines[path]; ok {
			return fmt.Sprintf("line %d: ", line)
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return ""
}

func (r *reader) script(n ast.Node) (s Script) {
	r.mapping(n, "", func(key, path string, value ast.Node) bool {
		switch key {
		case "name":
			s.Name = r.text(value, path)
		case "limit":
			s.Limit = r.duration(value, path)
		case "steps":
			r.list(value, path, false, func(path string, n ast.Node) { s.Steps = append(s.Steps, r.step(n, path)) })
		default:
			return false
		}
		return true
	})
	return s
}

func (r *reader) step(n ast.Node, path string) (s Step) {
	if _, ok := n.(ast.MapNode); !ok { // the command alone
		s.Command = r.hex(n, path)
		return s
	}
	r.mapping(n, path, func(key, path string, value ast.Node) bool {
		switch key {
		case "label":
			s.Label = r.text(value, path)
		case "command":
			s.Command = r.hex(value, path)
		case "expect":
			r.list(value, path, true, func(path string, n ast.Node) { s.Expect = append(s.Expect, r.match(n, path)) })
		case "on_mismatch":
			s.OnMismatch, s.Goto = r.action(value, path)
		case "get_response":
			s.RawMore = !r.truth(value, path)
		case "fix_le":
			s.RawLe = !r.truth(value, path)
		case "capture":
			r.list(value, path, true, func(path string, n ast.Node) { s.Capture = append(s.Capture, Capture(r.copy(n, path))) })
		case "insert":
			r.list(value, path, true, func(path string, n ast.Node) { s.Insert = append(s.Insert, r.copy(n, path)) })
		case "max_response":
			s.MaxResponse = r.number(value, path)
		case "sensitive":
			s.Sensitive = r.truth(value, path)
		default:
			return false
		}
		return true
	})
	return s
}

// copy reads a capture or an insert.
func (r *reader) copy(n ast.Node, path string) (c Insert) {
	r.mapping(n, path, func(key, path string, value ast.Node) bool {
		switch key {
		case "register":
			c.Register = r.text(value, path)
		case "offset":
			c.Offset = r.number(value, path)
		case "length":
			c.Length = r.number(value, path)
		default:
			return false
		}
		return true
	})
	return c
}

// mapping calls f for each key of a mapping; f says whether it knows the key.
func (r *reader) mapping(n ast.Node, path string, f func(key, path string, value ast.Node) bool) {
	m, ok := n.(ast.MapNode)
	if !ok {
		r.fail(n, path, "want keys and values")
		return
	}
	seen := make(map[string]bool)
	for i := m.MapRange(); r.err == nil && i.Next(); {
		key, plain := i.Key().(*ast.StringNode)
		if !plain {
			r.fail(i.Key(), path, "a key is not a word")
			return
		}
		at := strings.TrimPrefix(path+"."+key.Value, ".")
		r.lines[at] = key.GetToken().Position.Line
		if seen[key.Value] {
			r.fail(key, at, "it is there twice")
		} else if !f(key.Value, at, i.Value()) {
			r.fail(key, at, "unknown key")
		}
		seen[key.Value] = true
	}
}

// list calls f for each element of a list; if one may stand alone, also for what is none.
func (r *reader) list(n ast.Node, path string, alone bool, f func(path string, n ast.Node)) {
	s, ok := n.(*ast.SequenceNode)
	if !ok && !alone {
		r.fail(n, path, "want a list")
	}
	if !ok {
		f(path, n)
		return
	}
	for i, value := range s.Values {
		at := fmt.Sprintf("%s[%d]", path, i)
		r.lines[at] = value.GetToken().Position.Line
		f(at, value)
	}
}

// text returns a scalar as it was written: 6E00 is no number here, and 0084 no octal one.
func (r *reader) text(n ast.Node, path string) string {
	switch v := n.(type) {
	case *ast.StringNode:
		return v.Value
	case *ast.LiteralNode:
		return v.Value.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode:
		return n.GetToken().Value
	}
	r.fail(n, path, "want a text or a number")
	return ""
}

// hex reads bytes in hexadecimal, with or without spaces and colons.
func (r *reader) hex(n ast.Node, path string) []byte {
	text := r.text(n, path)
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", ":", "", "\n", "", "\t", "", "\r", "").Replace(text))
	if err != nil {
		r.fail(n, path, "want bytes in hexadecimal, such as 00 A4 04 00") // and never what was written: it may be a key
	}
	return b
}

func (r *reader) truth(n ast.Node, path string) bool {
	v, ok := n.(*ast.BoolNode)
	if !ok {
		r.fail(n, path, "want true or false")
		return false
	}
	return v.Value
}

func (r *reader) number(n ast.Node, path string) int {
	v, err := strconv.Atoi(r.text(n, path))
	if err != nil || v < 0 || v > MaxText {
		r.fail(n, path, "want a number of bytes")
	}
	return v
}

func (r *reader) duration(n ast.Node, path string) time.Duration {
	d, err := time.ParseDuration(r.text(n, path))
	if err != nil || d <= 0 {
		r.fail(n, path, "want a time such as 30s or 2m")
	}
	return d
}

func (r *reader) action(n ast.Node, path string) (Action, string) {
	switch words := strings.Fields(r.text(n, path)); {
	case len(words) == 1 && words[0] == "stop":
		return ActionStop, ""
	case len(words) == 1 && words[0] == "continue":
		return ActionContinue, ""
	case len(words) == 2 && words[0] == "goto":
		return ActionGoto, words[1]
	}
	r.fail(n, path, "want stop, continue or goto LABEL")
	return ActionStop, ""
}

func (r *reader) match(n ast.Node, path string) Match {
	m, ok := ParseMatch(r.text(n, path))
	if !ok {
		r.fail(n, path, "want a status word such as 9000, 61xx or not_found")
	}
	return m
}

// yamlText is what the YAML library says of a text: the line, and what is wrong.
func yamlText(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	if at, what, ok := strings.Cut(strings.TrimPrefix(text, "["), "] "); ok {
		line, _, _ := strings.Cut(at, ":")
		return fmt.Sprintf("line %s: %s", line, what)
	}
	return text
}
