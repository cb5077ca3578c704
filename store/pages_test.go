// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/store"
)

// held is all that a store holds.
type held struct {
	snapshot cardbroker.Snapshot
	head     cardbroker.Anchor
	shelf    map[string][]byte
}

func (h held) equal(o held) bool {
	return equal(h.snapshot, o.snapshot) && h.head == o.head && maps.EqualFunc(h.shelf, o.shelf, slices.Equal)
}

// filePage is what bbolt says of a page.
type filePage struct {
	id    int
	kind  string
	count int
}

// image is a good file to be damaged.
type image struct {
	file    []byte
	pages   []filePage
	want    held
	older   held   // what it held one commit ago: bbolt's answer to a torn first page
	scratch string // where a variant is written to
}

// newImage makes a store with so many agents, all kinds of pages and values in it.
func newImage(t testing.TB, agents int) image {
	t.Helper()
	path := newPath(t)
	s := open(t, path, store.Options{})
	g := image{scratch: filepath.Join(t.TempDir(), "registry.db")}
	shelf, err := s.Shelf("keys")
	if err != nil {
		t.Fatal(err)
	}
	if err := shelf.Commit(t.Context(), map[string][]byte{"a": []byte("1"), "b": []byte("2")}, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.KeepAuditHead(t.Context(), cardbroker.Anchor{Seq: 5, Hash: [32]byte{1, 2}}); err != nil {
		t.Fatal(err)
	}
	changes := cardbroker.Changes{Epoch: 7}
	for i := range agents {
		changes.Put = append(changes.Put, agent(uint32(1000+i), cardbroker.Port(24800+i), cardbroker.Registered))
	}
	commit(t, s, changes)
	if g.older, err = hold(t, s, store.Options{}); err != nil {
		t.Fatal(err)
	}
	commit(t, s, cardbroker.Changes{Epoch: 7, Delete: []cardbroker.Port{24800}}) // leaves free pages
	s.Close()
	if g.file, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	g.file = g.file[:fileUsed(t, path)]
	g.pages = pagesOf(t, path)
	s = open(t, path, store.Options{})
	if g.want, err = hold(t, s, store.Options{}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	return g
}

// hold reads all that the store holds; no shelf of one that is only read.
func hold(t testing.TB, s *store.Store, options store.Options) (h held, err error) {
	if h.snapshot, err = s.Load(t.Context()); err != nil {
		return h, err
	}
	if h.head, err = s.AuditHead(t.Context()); err != nil || options.ReadOnly {
		return h, err
	}
	shelf, err := s.Shelf("keys")
	if err != nil {
		return h, err
	}
	h.shelf, err = shelf.Load(t.Context())
	return h, err
}

func pagesOf(t testing.TB, path string) (list []filePage) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, PreLoadFreelist: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx *bbolt.Tx) error {
		for {
			page, err := tx.Page(len(list))
			if err != nil || page == nil {
				return err
			}
			list = append(list, filePage{page.ID, page.Type, page.Count})
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// try opens a variant of the file: with all that was in it, or not at all, and bbolt must not have failed on it.
func (g image) try(t testing.TB, variant []byte, what string, options store.Options) (refused bool) {
	t.Helper()
	if err := os.WriteFile(g.scratch, variant, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(g.scratch, options)
	if err != nil {
		r := cardbroker.ReasonOf(err)
		if r != cardbroker.Internal && r != cardbroker.Invalid && r != cardbroker.Unsupported || strings.Contains(err.Error(), "bbolt failed") {
			t.Errorf("%s: Open() = %v, want internal, invalid or unsupported, before bbolt fails", what, err)
		}
		return true
	}
	defer s.Close()
	got, err := hold(t, s, options)
	want, older := g.want, g.older
	if options.ReadOnly {
		want.shelf, older.shelf = nil, nil
	}
	switch {
	case err != nil:
		t.Errorf("%s: %v after a good Open", what, err)
	case !got.equal(want) && (bytes.Equal(variant[:2*os.Getpagesize()], g.file[:2*os.Getpagesize()]) || !got.equal(older)):
		t.Errorf("%s: another content was loaded", what)
	}
	return false
}

// with returns the file with some bytes of it replaced.
func (g image) with(offset int, with ...byte) []byte {
	variant := bytes.Clone(g.file)
	copy(variant[offset:], with)
	return variant
}

// page returns the bytes of a page.
func (g image) page(id int) []byte {
	return g.file[id*os.Getpagesize():][:os.Getpagesize()]
}

// numbers returns where in a page the numbers stand that bbolt follows: all of a list of free pages; of the elements of
// another page the first, one in the middle and the last, as they are all read by the same lines.
func (g image) numbers(page filePage) (offsets []int) {
	const header, element, meta = 16, 16, 64
	span := func(from, to int) {
		for i := from; i < to; i++ {
			offsets = append(offsets, i)
		}
	}
	switch {
	case page.kind == "meta":
		span(0, header+meta)
	case page.kind == "freelist":
		span(0, header+8*page.count)
	case bytes.Contains(g.page(page.id), []byte("agents")): // the root: small buckets are among its values
		span(0, len(bytes.TrimRight(g.page(page.id), "\x00")))
	default:
		span(0, header)
		for _, i := range slices.Compact([]int{0, page.count / 2, page.count - 1}) {
			span(header+element*i, header+element*(i+1))
		}
	}
	return offsets
}

// variants yields damaged files: a bit flipped, for each bit that bbolt follows; wild numbers; pages in each other's place,
// lost, and above themselves; cut ends.
func (g image) variants() iter.Seq2[string, []byte] {
	size := os.Getpagesize()
	return func(yield func(string, []byte) bool) {
		for _, page := range g.pages {
			if page.kind == "free" {
				continue
			}
			step := 1
			if page.kind == "meta" { // most of these open
				step = 7
			}
			numbers := g.numbers(page)
			for i := 0; i < 8*len(numbers); i += step {
				at, bit := numbers[i/8], i%8
				offset := page.id*size + at
				if !yield(fmt.Sprintf("page %d (%s), byte %d, bit %d", page.id, page.kind, at, bit), g.with(offset, g.file[offset]^1<<bit)) {
					return
				}
			}
			for _, at := range numbers {
				if page.kind == "meta" || at < 8 || at%2 > 0 {
					continue
				}
				for _, wild := range []uint32{0, 0xffff, 0x80000000, 0x7fffffff, 0xffffffff} {
					number := binary.NativeEndian.AppendUint32(nil, wild)
					if !yield(fmt.Sprintf("page %d (%s), %#x at %d", page.id, page.kind, wild, at), g.with(page.id*size+at, number...)) {
						return
					}
				}
			}
			for _, other := range g.pages[2:] {
				if !yield(fmt.Sprintf("page %d in the place of page %d", other.id, page.id), g.with(page.id*size, g.page(other.id)...)) {
					return
				}
				named := binary.NativeEndian.AppendUint64(nil, uint64(other.id))
				for i := range page.count {
					if page.kind == "branch" && !yield(fmt.Sprintf("page %d below page %d", other.id, page.id), g.with(page.id*size+24+16*i, named...)) {
						return
					}
				}
			}
		}
		for end := range len(g.file)/size + 1 {
			for _, n := range []int{end*size - 1, end * size, end*size + 100} {
				if n > 0 && n < len(g.file) && !yield(fmt.Sprintf("cut to %d bytes", n), g.file[:n]) {
					return
				}
			}
		}
	}
}

// TestDamagedPages: no damage of a number that bbolt follows makes it fail, nor is any content lost. Bits of a count did
// that, in that records were lost; a position beyond the end ended the process where bbolt checked it, or in the race
// detector ("traceback did not unwind completely"), which looked for memory that nobody has.
func TestDamagedPages(t *testing.T) {
	g := newImage(t, 30) // a branch with a first, a middle and a last leaf
	if err := store.CheckPages(g.file, os.Getpagesize()); err != nil {
		t.Fatalf("a good file: %v", err)
	}
	tried, opened := 0, 0
	for what, variant := range g.variants() {
		tried++
		if bytes.Equal(variant, g.file) {
			continue
		}
		if store.CheckPages(variant, os.Getpagesize()) == nil && !g.try(t, variant, what, store.Options{ReadOnly: opened%8 > 0}) { // to write takes time
			opened++
		}
	}
	t.Logf("%d variants, %d of them opened", tried, opened)
	if tried < 3000 || opened > tried/10 {
		t.Errorf("%d of %d variants opened, want few of many", opened, tried)
	}
}

// TestWhatIsSaidOfPages: who reads what is wrong learns where.
func TestWhatIsSaidOfPages(t *testing.T) {
	g, size := newImage(t, 60), os.Getpagesize()
	find := func(kind string) int {
		return size * slices.IndexFunc(g.pages, func(p filePage) bool { return p.kind == kind && (kind != "leaf" || p.count > 4) })
	}
	branch, leaf, list := find("branch"), find("leaf"), find("freelist")
	keys := branch + 16 + 16*int(g.file[branch+10]) // two bytes each
	first := leaf + 16 + 16*int(g.file[leaf+10])    // its first key, two bytes
	second := leaf + 32 + int(binary.NativeEndian.Uint32(g.file[leaf+36:]))
	for _, c := range []struct {
		says    string
		variant []byte
	}{
		{"is out of order", g.with(keys+2, 0, 0)},
		{"is out of order", g.with(keys, 0xff, 0xff)},
		{"is out of order", g.with(second, g.file[first], g.file[first+1])},
		{"is out of order", g.with(keys+2, g.file[keys], g.file[keys+1]+1)},      // before keys of the child that comes first
		{"is out of order", g.with(keys+2*int(g.file[branch+10])-2, 0xff, 0xff)}, // after those of the last child
		{"is used twice", g.with(branch+24, byte(branch/size))},
		{"is beyond the end", g.with(branch+24, 0xff, 0xff)},
		{"reaches beyond the end", g.with(leaf+12, 0xe8, 3)},
		{"says that it is page 77", g.with(leaf, 77)},
		{"is of the kind 0x4", g.with(leaf+8, 4)},
		{"it cannot have 65535 elements", g.with(leaf+10, 0xff, 0xff)},
		{"it is empty", g.with(leaf+10, 0)},
		{"element 0 is not in its place", g.with(leaf+10, g.file[leaf+10]-1)},
		{"is neither used nor free", g.with(list+10, g.file[list+10]-1)},
		{"names free pages out of order", g.with(list+24, 1)},
		{"cannot name", g.with(list+10, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f)},
		{"neither of the first pages is whole", g.with(0, make([]byte, 2*size)...)},
		{"it should have", g.file[:len(g.file)-size]},
	} {
		if err := store.CheckPages(c.variant, size); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("CheckPages() = %v, want it to say %q", err, c.says)
		}
	}
}

// seal makes the checksum of a first page right, for what stands in it.
func seal(page []byte) {
	sum := fnv.New64a()
	sum.Write(page[16:72])
	binary.NativeEndian.PutUint64(page[72:], sum.Sum64())
}

// FuzzDamage makes up to eight changes of a file, each of 8 bytes: what, page, offset (2), number (4). One alone must not
// change the content; any must not make bbolt fail.
func FuzzDamage(f *testing.F) {
	g := newImage(f, 30)                                                  // a branch and all else, and not more to read each time
	size, readOnly := os.Getpagesize(), store.Options{ReadOnly: true}     // no change has to reach the disk
	f.Add([]byte{0, 3, 0, 10, 0, 0, 0, 1})                                // a byte
	f.Add([]byte{1, 3, 0, 10, 0xff, 0xff, 0xff, 0xff})                    // a wild number
	f.Add([]byte{2, 3, 0, 4, 0, 0, 0, 0})                                 // a page in another's place
	f.Add([]byte{3, 0, 0, 0, 0, 0, 0x20, 0})                              // a cut
	f.Add([]byte{4, 0, 0, 24, 0, 0, 0, 1})                                // a first page whose checksum is right
	f.Add([]byte{4, 0, 0, 32, 0, 0, 0, 2, 4, 1, 0, 32, 0, 0, 0, 2})       // another root
	f.Add([]byte{4, 0, 0, 56, 0xff, 0, 0, 0, 4, 1, 0, 48, 0, 0xff, 0, 0}) // pages beyond the end
	f.Fuzz(func(t *testing.T, edits []byte) {
		variant, alone := bytes.Clone(g.file), len(edits) < 16
		for n := 0; n < 8 && len(edits) >= 8; n++ {
			kind, page, at, number := edits[0]%5, int(edits[1])%len(g.pages), int(binary.BigEndian.Uint16(edits[2:])), binary.BigEndian.Uint32(edits[4:])
			edits = edits[8:]
			offset := min(page*size+at%size, len(variant))
			switch kind {
			case 0:
				copy(variant[offset:], []byte{byte(number)})
			case 1:
				copy(variant[offset:], binary.NativeEndian.AppendUint32(nil, number))
			case 2:
				copy(variant[min(page*size, len(variant)):], g.page(at%len(g.pages)))
			case 3:
				variant = variant[:min(int(number), len(variant))]
			case 4:
				if alone = false; len(variant) >= 2*size {
					first := variant[page%2*size:]
					copy(first[16+at%56:], binary.NativeEndian.AppendUint32(nil, number))
					seal(first)
				}
			}
		}
		if len(variant) >= 2*size && bytes.Equal(variant[:2*size], g.file[:2*size]) && store.CheckPages(variant, size) != nil {
			return // nor does Open come further
		}
		if alone && len(variant) > 0 {
			g.try(t, variant, "one change", readOnly)
			return
		}
		g.survives(t, variant)
	})
}

// survives opens a file with more than one damage: it may hold another content, of which bbolt does not fail.
func (g image) survives(t testing.TB, variant []byte) {
	t.Helper()
	if err := os.WriteFile(g.scratch, variant, 0o600); err != nil {
		t.Fatal(err)
	}
	readOnly := store.Options{ReadOnly: true}
	s, err := store.Open(g.scratch, readOnly)
	if err == nil {
		_, err = hold(t, s, readOnly)
		s.Close()
	}
	if err != nil && strings.Contains(err.Error(), "bbolt failed") {
		t.Error(err)
	}
}
