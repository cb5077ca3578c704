// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cardbroker/cardbroker"
)

// maxLine is the length of the longest line, in bytes. All texts of a record together, at 6 bytes for a character that JSON
// escapes, stay below it.
const maxLine = 16 << 10

// The sides that tell of events.
const (
	byBroker = "broker" // which saw it itself
	byAgent  = "agent"  // whose word it is
)

// Record is one line of the log but for its hash.
type Record struct {
	Seq  uint64    `json:"seq"`
	Time time.Time `json:"time"` // UTC, by the broker's clock
	cardbroker.Event
	By      string               `json:"by"`                // broker or agent
	UID     *uint32              `json:"uid,omitempty"`     // of the user, by the kernel
	SID     string               `json:"sid,omitempty"`     // the same on Windows
	User    string               `json:"user,omitempty"`    // his name
	Session cardbroker.SessionID `json:"session,omitempty"` // of his agent
	Told    *time.Time           `json:"told,omitempty"`    // by the agent's clock, if that is another time
}

// What stands around the varying parts of a line.
const (
	lineSeq   = `{"seq":`
	lineTime  = `,"time":"`
	lineEvent = `","event":"`
	lineHash  = `,"hash":"`
	lineEnd   = `"}`
	hashSize  = len(lineHash) + 2*sha256.Size + len(lineEnd)

	headerFirst = `{"cardbroker_audit":1,"first":`
	headerPrev  = `,"prev":"`
)

// seal returns the record as a line, newline included, and its place in the chain.
func seal(prev cardbroker.Anchor, r Record) (line []byte, at cardbroker.Anchor) {
	r.Seq = prev.Seq + 1
	body, err := json.Marshal(r)
	if err != nil {
		panic(fmt.Sprintf("BUG: an event cannot be written as JSON: %v", err))
	}
	body = body[:len(body)-1] // the object goes on
	at = cardbroker.Anchor{Seq: r.Seq, Hash: chain(prev.Hash, body)}
	line = append(body, lineHash...)
	line = hex.AppendEncode(line, at.Hash[:])
	return append(line, lineEnd+"\n"...), at
}

// chain returns the hash of a record whose line has that body.
func chain(prev [32]byte, body []byte) (hash [32]byte) {
	h := sha256.New()
	h.Write(prev[:])
	h.Write(body)
	h.Sum(hash[:0])
	return hash
}

// line is what a line says of its place. Its slices are part of the text that was parsed.
type line struct {
	cardbroker.Anchor
	event []byte
	body  []byte
}

// parseLine takes a line, without its newline, apart. It only looks at what the chain rests on: what else the line says is
// as it was written if the hash is.
func parseLine(text []byte) (l line, err error) {
	if len(text) < hashSize {
		return l, errors.New("the line is not a record")
	}
	l.body = text[:len(text)-hashSize]
	hash, ok := bytes.CutPrefix(text[len(l.body):], []byte(lineHash))
	if !ok || !bytes.HasSuffix(hash, []byte(lineEnd)) {
		return l, errors.New("the line does not end with a hash")
	}
	if l.Hash, ok = parseHash(hash[:2*sha256.Size]); !ok {
		return l, errors.New("the line's hash is not 64 hexadecimal digits")
	}
	rest, ok := bytes.CutPrefix(l.body, []byte(lineSeq))
	if !ok {
		return l, errors.New("the line does not begin with a number")
	}
	digits, rest, ok := bytes.Cut(rest, []byte(lineTime))
	if l.Seq = parseSeq(digits); !ok || l.Seq == 0 {
		return l, errors.New("the line does not begin with a number and a time")
	}
	_, rest, ok = bytes.Cut(rest, []byte(lineEvent))
	l.event, _, _ = bytes.Cut(rest, []byte{'"'})
	if !ok || len(l.event) == 0 {
		return l, errors.New("the line has no event")
	}
	return l, nil
}

// parseSeq returns the number that the digits say in the one way in which it is written, else 0.
func parseSeq(digits []byte) uint64 {
	n, err := strconv.ParseUint(string(digits), 10, 64)
	if err != nil || n >= math.MaxInt64 || digits[0] == '0' || digits[0] == '+' {
		return 0
	}
	return n
}

// parseHash reads lower-case hexadecimal digits: another way to write the same hash would be a change that nobody finds.
func parseHash(digits []byte) (hash [32]byte, ok bool) {
	if len(digits) != 2*len(hash) || bytes.ContainsFunc(digits, unicode.IsUpper) {
		return hash, false
	}
	_, err := hex.Decode(hash[:], digits)
	return hash, err == nil
}

// header returns a file's first line, newline included: the file begins after the record prev.
func header(prev cardbroker.Anchor) []byte {
	return fmt.Appendf(nil, "%s%d%s%x%s\n", headerFirst, prev.Seq+1, headerPrev, prev.Hash, lineEnd)
}

// parseHeader takes a header, without its newline, apart.
func parseHeader(text []byte) (prev cardbroker.Anchor, err error) {
	rest, ok := bytes.CutPrefix(text, []byte(headerFirst))
	digits, hash, found := bytes.Cut(rest, []byte(headerPrev))
	hash, ended := bytes.CutSuffix(hash, []byte(lineEnd))
	first := parseSeq(digits)
	if !ok || !found || !ended || first == 0 {
		return prev, errors.New("the first line is not a header")
	}
	prev.Seq = first - 1
	if prev.Hash, ok = parseHash(hash); !ok {
		return cardbroker.Anchor{}, errors.New("the header's hash is not 64 hexadecimal digits")
	}
	return prev, nil
}

// The lengths of the longest texts, in bytes.
const (
	maxDetail = 256
	maxText   = 128
)

// clean returns an event that is safe to read: its texts are bounded, in UTF-8, and without what a terminal obeys.
func clean(e cardbroker.Event) cardbroker.Event {
	e.Reason = cardbroker.Reason(printable(string(e.Reason), maxText))
	e.Rule = cardbroker.Rule(printable(string(e.Rule), maxText))
	e.Origin = cardbroker.Origin(printable(string(e.Origin), maxDetail))
	e.Tenant = cardbroker.Tenant(printable(string(e.Tenant), maxText))
	e.Reader = printable(e.Reader, maxText)
	e.Tunnel = printable(e.Tunnel, maxText)
	e.Method = printable(e.Method, maxText)
	e.Address = printable(e.Address, maxText)
	e.Detail = printable(e.Detail, maxDetail)
	return e
}

// printable returns the beginning of a text, with "?" for what cannot be printed. Nothing of the rest stays in memory.
func printable(text string, limit int) string {
	if len(text) > limit {
		for limit > 0 && !utf8.RuneStart(text[limit]) {
			limit--
		}
		text = text[:limit]
	}
	return strings.Clone(strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text))
}
