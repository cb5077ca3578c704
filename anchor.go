// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardbroker

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// Anchor is one place in the audit log's chain: the record of that number has that hash. Kept where who changes the log
// cannot reach, it shows that all records up to it are as they were. The zero Anchor is the place before the first record.
type Anchor struct {
	Seq  uint64
	Hash [32]byte // SHA-256
}

// anchorMark begins an anchor in a line of a system log.
const anchorMark = "cardbroker audit head "

// String returns the anchor as the system log has it.
func (a Anchor) String() string { return fmt.Sprintf("%sseq=%d hash=%x", anchorMark, a.Seq, a.Hash) }

// FindAnchor returns the anchor that a line of text holds, as [Anchor.String] writes it, wherever it stands in it.
func FindAnchor(line string) (Anchor, bool) {
	_, rest, found := strings.Cut(line, anchorMark+"seq=")
	if !found {
		return Anchor{}, false
	}
	seq, rest, _ := strings.Cut(rest, " hash=")
	a, err := parseAnchor(seq, rest[:min(len(rest), 2*len(Anchor{}.Hash))])
	return a, err == nil
}

// ParseAnchor reads SEQ:HASH. Errors: Invalid.
func ParseAnchor(text string) (Anchor, error) {
	seq, hash, _ := strings.Cut(text, ":")
	a, err := parseAnchor(seq, hash)
	if err != nil {
		return Anchor{}, Errorf(Invalid, "an anchor is SEQ:HASH, a number and 64 hexadecimal digits")
	}
	return a, nil
}

func parseAnchor(seq, hash string) (a Anchor, err error) {
	if a.Seq, err = strconv.ParseUint(seq, 10, 63); err != nil {
		return Anchor{}, err
	}
	raw, err := hex.DecodeString(hash)
	if err == nil && len(raw) != len(a.Hash) {
		err = hex.ErrLength
	}
	if err != nil {
		return Anchor{}, err
	}
	copy(a.Hash[:], raw)
	return a, nil
}
