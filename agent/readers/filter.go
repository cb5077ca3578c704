// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package readers

import (
	"net/url"
	"strings"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/httpserver"
)

// maxTerms is how many terms a query may exclude.
const maxTerms = 16

// Filter says which readers somebody wants. The zero value wants all.
type Filter struct {
	card     *bool // with a card, or without; nil: both
	excluded []cardbroker.ReaderPattern
}

// ParseFilter reads a query: cardInserted=true|false, and excluded=TERM,TERM, which may come several times: readers with one
// of the terms in their names are left out. Errors: Invalid.
func ParseFilter(query url.Values) (Filter, error) {
	var f Filter
	inside, given, err := httpserver.QueryBool(query, "cardInserted")
	if err != nil {
		return f, err
	}
	if given {
		f.card = &inside
	}
	for _, list := range query["excluded"] {
		for term := range strings.SplitSeq(list, ",") {
			if term = strings.TrimSpace(term); term == "" {
				continue
			}
			pattern, err := cardbroker.ParseReaderPattern(term)
			if err != nil {
				return f, err
			}
			if f.excluded = append(f.excluded, pattern); len(f.excluded) > maxTerms {
				return f, cardbroker.Errorf(cardbroker.Invalid, "excluded: more than %d terms", maxTerms)
			}
		}
	}
	return f, nil
}

// wants says whether a reader is wanted.
func (f Filter) wants(r cardbroker.Reader) bool {
	if f.card != nil && *f.card != (r.Card != nil) {
		return false
	}
	for _, pattern := range f.excluded {
		if pattern.Matches(r.Name) {
			return false
		}
	}
	return true
}
