// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardbroker

import (
	"strings"
	"unicode/utf8"
)

// ReaderPattern stands for readers by a part of their names, large and small letters alike: * is any characters, ? is one.
// It is made by [ParseReaderPattern].
type ReaderPattern string

// maxPattern is the longest pattern, in characters.
const maxPattern = 64

// ParseReaderPattern reads a pattern of 1 to 64 characters. Anything else is Invalid.
func ParseReaderPattern(text string) (ReaderPattern, error) {
	if !utf8.ValidString(text) {
		return "", Errorf(Invalid, "a pattern for readers is no UTF-8")
	}
	if n := utf8.RuneCountInString(text); n == 0 || n > maxPattern {
		return "", Errorf(Invalid, "a pattern for readers has %d characters, want 1 to %d", n, maxPattern)
	}
	return ReaderPattern(strings.ToLower(text)), nil
}

// Matches says whether the pattern is found in the name of a reader.
func (p ReaderPattern) Matches(name string) bool {
	parts := strings.Split(string(p), "*")
	rest := []rune(strings.ToLower(name))
	for _, part := range parts { // the first place of each will do: what comes between is any
		at := index(rest, []rune(part))
		if at < 0 {
			return false
		}
		rest = rest[at+utf8.RuneCountInString(part):]
	}
	return true
}

// index returns where part, in which ? is any character, is first found in text; -1: nowhere.
func index(text, part []rune) int {
	for at := range len(text) - len(part) + 1 {
		found := true
		for i, r := range part {
			found = found && (r == '?' || r == text[at+i])
		}
		if found {
			return at
		}
	}
	return -1
}
