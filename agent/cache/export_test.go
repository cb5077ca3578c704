// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/token"
)

const (
	MaxFiles = maxFiles
	MaxBytes = maxBytes
)

// Sealer seals with a key of zeros, for the fuzzer.
func Sealer() (seal func([]token.Certificate) []byte, open func([]byte) ([]token.Certificate, error)) {
	s, id := newSealer(make([]byte, 32), cardbroker.UserID{UID: 1}), cardID{"m", "1", "3b00"}
	seal = func(list []token.Certificate) []byte {
		return s.seal(id, kept{list: list, until: time.Now().Add(time.Hour)})
	}
	open = func(file []byte) ([]token.Certificate, error) {
		k, err := s.open(file, id, time.Now())
		return k.list, err
	}
	return seal, open
}

// ParseContent is what stands in a file once it is opened.
func ParseContent(text []byte) ([]token.Certificate, error) {
	c, err := parseContent(text)
	return c.Certificates, err
}

// Flying counts the flights that have not landed.
func (c *Cache) Flying() (n int) {
	c.loop.Must(func(st *state) error {
		n = len(st.flights)
		return nil
	})
	return n
}
