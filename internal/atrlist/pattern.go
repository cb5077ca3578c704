// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package atrlist

import (
	"errors"
	"fmt"
	"math/bits"
	"regexp"
	"slices"
	"strings"
)

// maxLength is the length of the longest ATR, ISO/IEC 7816-3 §8.2.
const maxLength = 33

// maxVariants is how many masked patterns one pattern with classes may become.
const maxVariants = 64

// nibbles is a set of half-bytes, a bit each.
type nibbles uint16

const anyNibble nibbles = 0xFFFF

// values appends what is in a set to list.
func (s nibbles) values(list []byte) []byte {
	for s != 0 {
		list = append(list, byte(bits.TrailingZeros16(uint16(s))))
		s &= s - 1
	}
	return list
}

// plain reads a pattern of fixed length: bytes of two half-bytes each, with a space between bytes. A half-byte is a digit,
// "." for any, or a class such as [05], [1-5], [4,9] or [^0]. It is false for any other pattern.
func plain(pattern string) ([]nibbles, bool) {
	sets := make([]nibbles, 0, len(pattern)/3*2+2)
	for field := range strings.SplitSeq(pattern, " ") {
		start := len(sets)
		for field != "" {
			set, rest, ok := nibble(field)
			if !ok {
				return nil, false
			}
			sets, field = append(sets, set), rest
		}
		if len(sets)-start != 2 {
			return nil, false
		}
	}
	return sets, true
}

// nibble reads one half-byte of a pattern.
func nibble(text string) (set nibbles, rest string, ok bool) {
	switch text[0] {
	case '.':
		return anyNibble, text[1:], true
	case '[':
		class, rest, closed := strings.Cut(text[1:], "]")
		set, ok := class2set(class)
		return set, rest, ok && closed
	}
	v, ok := digit(text[0])
	return 1 << v, text[1:], ok
}

// class2set reads what stands between brackets. Commas stand there in some lists, and match nothing that an ATR has.
func class2set(class string) (set nibbles, ok bool) {
	class, negative := strings.CutPrefix(class, "^")
	for class != "" {
		if class[0] == ',' {
			class = class[1:]
			continue
		}
		from, ok := digit(class[0])
		if !ok {
			return 0, false
		}
		to := from
		if len(class) >= 2 && class[1] == '-' {
			if len(class) < 3 {
				return 0, false
			}
			if to, ok = digit(class[2]); !ok || to < from {
				return 0, false
			}
			class = class[2:]
		}
		for v := from; v <= to; v++ {
			set |= 1 << v
		}
		class = class[1:]
	}
	if negative {
		set = ^set
	}
	return set, set != 0
}

func digit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// variants returns the masked patterns that a plain pattern stands for: one, or where it has classes one for each choice.
// It is false if they are too many.
func variants(sets []nibbles) ([]masked, bool) {
	n := len(sets) / 2
	list := []masked{{value: make([]byte, n), mask: make([]byte, n)}}
	var room [16]byte
	for i, set := range sets {
		if set == anyNibble {
			continue
		}
		shift := 4 * (1 - i%2)
		list[0].mask[i/2] |= 0x0F << shift // which all variants share
		choices := set.values(room[:0])
		known := len(list)
		if known*len(choices) > maxVariants {
			return nil, false
		}
		for _, v := range choices[1:] {
			for _, m := range list[:known] {
				m.value = slices.Clone(m.value)
				m.value[i/2] |= v << shift
				list = append(list, m)
			}
		}
		for _, m := range list[:known] {
			m.value[i/2] |= choices[0] << shift
		}
	}
	return list, true
}

// exact says whether a pattern is the whole ATR, without a wildcard.
func exact(pattern string) bool {
	if len(pattern)%3 != 2 || len(pattern) >= 3*maxLength {
		return false
	}
	for i := range len(pattern) {
		_, ok := digit(pattern[i])
		if i%3 == 2 {
			ok = pattern[i] == ' '
		}
		if !ok {
			return false
		}
	}
	return true
}

// prefixOf returns what all that a regular expression matches begins with.
func prefixOf(pattern string) string {
	if strings.Contains(pattern, "|") {
		return ""
	}
	end := strings.IndexFunc(pattern, func(r rune) bool { return !strings.ContainsRune("0123456789ABCDEF ", r) })
	return pattern[:max(end-1, 0)] // the last character may be repeated, or left out
}

// looseChars are what a regular expression for an ATR may be made of: no escapes, no words.
const looseChars = "0123456789ABCDEF .*+?()[]{}|,^-"

// expression compiles a pattern that is not plain: a regular expression for the whole ATR, as the tools of that list take
// all patterns.
func expression(pattern string) (*regexp.Regexp, error) {
	if i := strings.IndexFunc(pattern, func(r rune) bool { return !strings.ContainsRune(looseChars, r) }); i >= 0 {
		return nil, fmt.Errorf("character %d is not of a pattern", i+1)
	}
	if !strings.ContainsAny(pattern, "*+?({|[") {
		return nil, errors.New("a pattern is bytes of two digits with one space between them")
	}
	compiled, err := regexp.Compile("^(?:" + pattern + ")$")
	if err != nil {
		return nil, errors.New("it is no regular expression")
	}
	return compiled, nil
}
