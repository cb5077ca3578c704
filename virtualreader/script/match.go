// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package script

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// words returns the status words that have a name, ISO/IEC 7816-4 §5.6.
func words() map[string]string {
	return map[string]string{
		"any":                       "xxxx",
		"success":                   "9000",
		"more":                      "61xx",
		"end_of_file":               "6282",
		"pin_wrong":                 "63Cx",
		"wrong_length":              "6700",
		"security_not_satisfied":    "6982",
		"pin_blocked":               "6983",
		"conditions_not_satisfied":  "6985",
		"incorrect_data":            "6A80",
		"function_not_supported":    "6A81",
		"not_found":                 "6A82",
		"record_not_found":          "6A83",
		"incorrect_p1p2":            "6A86",
		"reference_not_found":       "6A88",
		"wrong_le":                  "6Cxx",
		"instruction_not_supported": "6D00",
		"class_not_supported":       "6E00",
	}
}

// Words returns the names of status words that [ParseMatch] knows, in order.
func Words() []string { return slices.Sorted(maps.Keys(words())) }

// ParseMatch reads four hexadecimal digits, of which x stands for any, or the name of a status word.
func ParseMatch(text string) (m Match, ok bool) {
	if named, ok := words()[text]; ok {
		text = named
	}
	if len(text) != 4 {
		return Match{}, false
	}
	for _, b := range []byte(strings.ToUpper(text)) {
		m.Value, m.Mask = m.Value<<4, m.Mask<<4
		digit := strings.IndexByte("0123456789ABCDEF", b)
		switch {
		case digit >= 0:
			m.Value, m.Mask = m.Value|uint16(digit), m.Mask|0xF
		case b != 'X':
			return Match{}, false
		}
	}
	return m, true
}

// String returns the form that ParseMatch reads, or value/mask where the mask cuts a digit in two.
func (m Match) String() string {
	text := []byte(fmt.Sprintf("%04X", m.Value))
	for i := range text {
		switch m.Mask >> (12 - 4*i) & 0xF {
		case 0xF:
		case 0:
			text[i] = 'x'
		default:
			return fmt.Sprintf("%04X/%04X", m.Value, m.Mask)
		}
	}
	return string(text)
}
