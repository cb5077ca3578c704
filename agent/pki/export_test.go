// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/certs"
	"github.com/cardbroker/cardbroker/internal/token"
)

// Kinds says what the certificates of a token are for.
func Kinds(of []token.Certificate) (kinds [][]string) {
	var all []certificate
	for _, c := range of {
		parsed, err := certs.ParseDER(c.DER)
		if err != nil {
			panic("BUG: " + err.Error())
		}
		all = append(all, certificate{Certificate: c, certs: parsed, parsed: parsed.X509})
	}
	classify(all)
	for _, c := range all {
		var names []string
		for _, k := range c.kinds {
			names = append(names, string(k))
		}
		kinds = append(kinds, names)
	}
	return kinds
}

// Algorithm reads the name of an algorithm, for a type of key, and returns our own name of it.
func Algorithm(name, key string) (string, error) {
	a, err := parseAlgorithm(name)
	if err != nil {
		return "", err
	}
	a, err = a.with(key)
	return a.String(), err
}

// VerifyBy verifies with a public key.
func VerifyBy(key crypto.PublicKey, v token.Verify) (bool, error) { return verifyBy(key, v) }

// SlotIn returns the CK_SLOT_ID of a reader's slot.
func SlotIn(slots []token.Slot, reader string, readers []cardbroker.Reader) (uint, error) {
	slot, err := slotIn(slots, reader, readers)
	return slot.ID, err
}

// ReaderIn names the reader that a slot is in; empty: nobody can tell.
func ReaderIn(slot token.Slot, readers []cardbroker.Reader) string {
	name, many := readerIn(slot, readers)
	if many {
		return ""
	}
	return name
}
