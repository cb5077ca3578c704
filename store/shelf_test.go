// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/store"
)

// TestShelf: what is put on a shelf outlives the store that put it there, beside the registry and other shelves.
func TestShelf(t *testing.T) {
	path := newPath(t)
	s := open(t, path, store.Options{})
	commit(t, s, cardbroker.Changes{Epoch: 1, Put: []cardbroker.Record{agent(1001, 24800, cardbroker.Registered)}})
	shelf, err := s.Shelf("keys")
	if err != nil {
		t.Fatal(err)
	}
	other, err := s.Shelf("other")
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range []struct {
		put  map[string][]byte
		drop []string
	}{
		{map[string][]byte{"a": []byte("1"), "b": {}}, nil},
		{map[string][]byte{"a": []byte("2"), "c": []byte("3")}, []string{"b", "never"}},
	} {
		if err := shelf.Commit(t.Context(), change.put, change.drop); err != nil {
			t.Fatal(err)
		}
	}
	if err := other.Commit(t.Context(), map[string][]byte{"a": []byte("9")}, nil); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = open(t, path, store.Options{})
	if shelf, err = s.Shelf("keys"); err != nil {
		t.Fatal(err)
	}
	got, err := shelf.Load(t.Context())
	if want := map[string][]byte{"a": []byte("2"), "c": []byte("3")}; err != nil || !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("Load = %q, %v, want %q", got, err, want)
	}
	if got := load(t, s); len(got.Records) != 1 {
		t.Errorf("the registry has %d records, want 1", len(got.Records))
	}
	s.Close()
	if err := shelf.Commit(t.Context(), map[string][]byte{"x": nil}, nil); cardbroker.ReasonOf(err) != cardbroker.Unavailable {
		t.Errorf("Commit to a closed store = %v, want unavailable", err)
	}
}
