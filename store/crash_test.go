// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/store"
)

// TestEachMomentOfACommit: after a loss of power at any moment of a commit the file opens, with what it held before it or
// after that.
func TestEachMomentOfACommit(t *testing.T) {
	path := newPath(t)
	s := open(t, path, store.Options{})
	shelf, err := s.Shelf("keys")
	if err != nil {
		t.Fatal(err)
	}
	g, random, tried := image{scratch: filepath.Join(t.TempDir(), "registry.db")}, rand.New(rand.NewPCG(1, 2)), 0
	for n := range 12 {
		if g.older, err = hold(t, s, store.Options{}); err != nil {
			t.Fatal(err)
		}
		before := usedPart(t, path)
		switch changes := (cardbroker.Changes{Epoch: uint64(1 + n/4)}); n % 4 {
		case 0: // each time more, and others
			for i := range 10 * (1 + n) {
				changes.Put = append(changes.Put, agent(uint32(1000+i), cardbroker.Port(24800+i), []cardbroker.State{cardbroker.Reserved, cardbroker.Registered}[n/4%2]))
			}
			commit(t, s, changes)
		case 1:
			for i := range 8 * n {
				changes.Delete = append(changes.Delete, cardbroker.Port(24800+i))
			}
			commit(t, s, changes)
		case 2: // a long value, which replaces one
			err = shelf.Commit(t.Context(), map[string][]byte{"a": make([]byte, 3000*n), fmt.Sprint(n): []byte("short")}, []string{fmt.Sprint(n - 4)})
		case 3:
			err = s.KeepAuditHead(t.Context(), cardbroker.Anchor{Seq: uint64(n)})
		}
		if err != nil {
			t.Fatal(err)
		}
		g.file = usedPart(t, path)
		if g.want, err = hold(t, s, store.Options{}); err != nil {
			t.Fatal(err)
		}
		for what, file := range moments(t, before, g.file, random) {
			tried++
			options := store.Options{ReadOnly: tried%16 > 0} // to write takes time
			if g.try(t, file, fmt.Sprintf("commit %d, %s", n, what), options) {
				t.Errorf("commit %d, %s: refused", n, what)
			}
		}
	}
	t.Logf("%d moments", tried)
	if tried < 300 {
		t.Errorf("%d moments, want more", tried)
	}
}

// TestEachMomentOfTheFirstCommit: what bbolt has made is no store yet, and becomes one.
func TestEachMomentOfTheFirstCommit(t *testing.T) {
	path, made := newPath(t), filepath.Join(t.TempDir(), "made.db")
	openBolt(t, made, nil).Close()
	open(t, path, store.Options{}).Close()
	scratch := filepath.Join(t.TempDir(), "registry.db")
	for what, file := range moments(t, usedPart(t, made), usedPart(t, path), rand.New(rand.NewPCG(1, 2))) {
		if err := os.WriteFile(scratch, file, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := store.Open(scratch, store.Options{})
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if got := load(t, s); got.Epoch != 0 || len(got.Records) > 0 {
			t.Errorf("%s: %v was loaded", what, got)
		}
		s.Close()
	}
}

// usedPart returns the file up to the end of its last page, while it is open.
func usedPart(t *testing.T, path string) []byte {
	t.Helper()
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	size := os.Getpagesize()
	used := max(binary.NativeEndian.Uint64(file[16+40:]), binary.NativeEndian.Uint64(file[size+16+40:])) // it only grows
	return file[:int(used)*size]
}

// moments yields what may be on the disk while bbolt makes the second file of the first: it grows, its pages are written in
// their order, of which the disk keeps any in any order until bbolt has waited for all, and then one of the first pages.
func moments(t *testing.T, before, after []byte, random *rand.Rand) iter.Seq2[string, []byte] {
	t.Helper()
	size := os.Getpagesize()
	before = append(bytes.Clone(before), make([]byte, len(after)-len(before))...)
	var dirty, first []int
	for at := 0; at < len(after); at += size {
		switch {
		case bytes.Equal(before[at:at+size], after[at:at+size]):
		case at < 2*size:
			first = append(first, at)
		default:
			dirty = append(dirty, at)
		}
	}
	if len(first) != 1 || len(dirty) < 2 {
		t.Fatalf("%d first pages were written, and %d others: want one, and some", len(first), len(dirty))
	}
	write := func(file []byte, from, to int) []byte { copy(file[from:to], after[from:to]); return file }
	return func(yield func(string, []byte) bool) {
		file := bytes.Clone(before)
		for i, at := range dirty {
			half := write(bytes.Clone(file), at, at+512*random.IntN(size/512))
			if !yield(fmt.Sprintf("%d pages written", i), file) || !yield(fmt.Sprintf("%d pages written, and half of one", i), half) {
				return
			}
			some := bytes.Clone(before)
			for _, at := range dirty {
				if random.IntN(2) == 0 {
					write(some, at, at+size)
				}
			}
			if !yield("some pages written", some) {
				return
			}
			write(file, at, at+size)
		}
		const fields, end = 16, 16 + 64
		for cut := fields; cut <= end; cut += 3 { // within each field, and between some
			head := write(bytes.Clone(file), first[0], first[0]+cut)
			tail := write(bytes.Clone(file), first[0]+cut, first[0]+size)
			if !yield(fmt.Sprintf("%d bytes of a first page written", cut), head) || !yield(fmt.Sprintf("a first page written but for %d bytes", cut), tail) {
				return
			}
		}
	}
}
