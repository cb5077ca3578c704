// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/cardbroker/cardbroker/store"
)

// history is a file that bbolt itself makes and changes, at random; the same for each seed, but for the numbers of pages.
type history struct {
	t      *testing.T
	rand   *rand.Rand
	path   string
	db     *bbolt.DB
	reader *bbolt.Tx // nil, or one that has been reading for some commits: what they free stays pending
	seen   *shapes
}

// shapes is what a test has come across.
type shapes struct {
	depth, small, empty, nothing, longLeaves, longBranches, failed int
}

// boltOptions are those of the store, but that nothing waits for the disk.
func boltOptions(pageSize int) *bbolt.Options {
	return &bbolt.Options{InitialMmapSize: 16 << 20, NoStatistics: true, NoSync: true, PageSize: pageSize}
}

func openBolt(t *testing.T, path string, options *bbolt.Options) *bbolt.DB {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// TestGoodFilesPass: a file that bbolt wrote is never refused, whatever was done with it: values put, replaced and
// deleted, of all sizes, buckets made, emptied and deleted, transactions that are given up or find no space, readers
// that keep pages from being used again, files that are opened anew, copied and compacted.
func TestGoodFilesPass(t *testing.T) {
	var seen shapes
	for seed := range uint64(12) {
		h := &history{t: t, rand: rand.New(rand.NewPCG(seed, 0)), path: filepath.Join(t.TempDir(), "0.db"), seen: &seen}
		h.db = openBolt(t, h.path, boltOptions([]int{0, 1024}[seed%2])) // small pages: deep trees
		for n := range 100 {
			what := h.step(n)
			if err := h.check(h.path, h.db); err != nil {
				t.Fatalf("seed %d, step %d (%s): %v", seed, n, what, err)
			}
		}
		h.endReader()
		h.db.Close()
	}
	t.Logf("%+v", seen)
	if seen.depth < 5 || seen.small == 0 || seen.empty == 0 || seen.nothing == 0 ||
		seen.longLeaves == 0 || seen.longBranches == 0 || seen.failed == 0 {
		t.Errorf("%+v: the histories leave something out", seen)
	}
}

// check returns why the file would be refused, though bbolt finds nothing wrong with it.
func (h *history) check(path string, db *bbolt.DB) error {
	refused := store.CheckFile(path, db.Info().PageSize)
	return errors.Join(refused, db.View(func(tx *bbolt.Tx) error {
		if refused != nil {
			for err := range tx.Check() {
				h.t.Errorf("bbolt: %v", err)
			}
		}
		if name, _ := tx.Cursor().First(); name == nil {
			h.seen.nothing++
		}
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			stats := b.Stats()
			h.seen.depth = max(h.seen.depth, stats.Depth)
			h.seen.small += stats.InlineBucketN
			h.seen.longLeaves += stats.LeafOverflowN
			h.seen.longBranches += stats.BranchOverflowN
			if stats.KeyN == 0 {
				h.seen.empty++
			}
			return nil
		})
	}))
}

// step does one thing, and says what.
func (h *history) step(n int) (what string) {
	if info, err := os.Stat(h.path); err != nil || info.Size() > 16<<20 { // bbolt is to map more, which waits for readers
		h.endReader()
	}
	switch h.rand.IntN(16) {
	case 0:
		h.endReader()
		h.db.Close()
		h.db = openBolt(h.t, h.path, boltOptions(0))
		return "opened anew"
	case 1:
		if h.reader == nil {
			h.reader, _ = h.db.Begin(false)
		} else {
			h.endReader()
		}
		return "a reader"
	case 2:
		copied := filepath.Join(h.t.TempDir(), "copy.db")
		if err := h.db.View(func(tx *bbolt.Tx) error { return tx.CopyFile(copied, 0o600) }); err != nil {
			h.t.Fatal(err)
		}
		if err := store.CheckFile(copied, h.db.Info().PageSize); err != nil {
			h.t.Errorf("a copy: %v", err)
		}
		return "copied"
	case 3:
		if n%4 > 0 {
			break
		}
		h.endReader()
		path := filepath.Join(h.t.TempDir(), "compact.db")
		db := openBolt(h.t, path, boltOptions(h.db.Info().PageSize))
		if err := bbolt.Compact(db, h.db, 0); err != nil {
			h.t.Fatal(err)
		}
		h.db.Close()
		h.path, h.db = path, db
		return "compacted"
	case 4:
		h.db.MaxSize = 1 // as if the disk were full
		defer func() { h.db.MaxSize = 0 }()
	case 5:
		given := errors.New("given up")
		if err := h.db.Update(func(tx *bbolt.Tx) error { h.change(tx); return given }); err != given {
			h.t.Fatal(err)
		}
		return "given up"
	}
	switch err := h.db.Update(func(tx *bbolt.Tx) error { h.change(tx); return nil }); {
	case errors.Is(err, bolterrors.ErrMaxSizeReached):
		h.seen.failed++
		return "no space"
	case err != nil:
		h.t.Fatal(err)
	}
	return "changed"
}

func (h *history) endReader() {
	if h.reader != nil {
		h.reader.Rollback()
		h.reader = nil
	}
}

// change changes up to three buckets. Errors are those of bbolt that say that a name is taken, or free.
func (h *history) change(tx *bbolt.Tx) {
	if h.rand.IntN(20) == 0 {
		for i := range 12 {
			tx.DeleteBucket(fmt.Appendf(nil, "shelf %d", i))
		}
		return
	}
	for range 1 + h.rand.IntN(3) {
		name := fmt.Appendf(nil, "shelf %d", h.rand.IntN(12))
		if h.rand.IntN(12) == 0 {
			tx.DeleteBucket(name)
			continue
		}
		b, err := tx.CreateBucketIfNotExists(name)
		if err != nil {
			h.t.Fatal(err)
		}
		if h.rand.IntN(3) == 0 { // shelves of older versions have no number
			b.SetSequence(store.NameSum(name))
		}
		if h.rand.IntN(8) == 0 {
			if inner, err := b.CreateBucketIfNotExists([]byte("k inner")); err == nil {
				inner.NextSequence()
				b = inner
			}
		}
		h.fill(b)
	}
}

// fill puts and deletes values.
func (h *history) fill(b *bbolt.Bucket) {
	switch h.rand.IntN(8) {
	case 0:
		h.drop(b, func() bool { return true })
	case 1:
		h.drop(b, func() bool { return h.rand.IntN(3) > 0 })
	case 2: // values in order, as of ports
		first := h.rand.IntN(1000)
		for i := range h.rand.IntN(200) {
			h.put(b, fmt.Appendf(nil, "%05d", first+i), 200)
		}
	case 3: // long keys
		for range h.rand.IntN(8) {
			h.put(b, bytes.Repeat([]byte{byte('a' + h.rand.IntN(20))}, 1+h.rand.IntN(3000)), h.rand.IntN(30))
		}
	default:
		for range h.rand.IntN(20) {
			size := []int{0, 1, 40, 300, 1000, 5000, 40000}[h.rand.IntN(7)]
			h.put(b, fmt.Appendf(nil, "k%d", h.rand.IntN(100)), h.rand.IntN(size+1))
		}
	}
}

func (h *history) put(b *bbolt.Bucket, key []byte, size int) {
	if err := b.Put(key, bytes.Repeat([]byte{byte(size)}, size)); err != nil {
		h.t.Fatal(err)
	}
}

// drop deletes values, with the buckets that are among them.
func (h *history) drop(b *bbolt.Bucket, picked func() bool) {
	var keys [][]byte
	b.ForEach(func(key, _ []byte) error {
		if picked() {
			keys = append(keys, bytes.Clone(key))
		}
		return nil
	})
	for _, key := range keys {
		if b.Delete(key) != nil {
			b.DeleteBucket(key)
		}
	}
}

// TestManyFreePages: a list of 65,535 free pages or more has another form. The pages are small ones, else it takes 256 MiB.
func TestManyFreePages(t *testing.T) {
	const pageSize, many = 1024, 0xffff
	path := filepath.Join(t.TempDir(), "many.db")
	db := openBolt(t, path, boltOptions(pageSize))
	bucket := []byte("shelf keys")
	change := func(f func(b *bbolt.Bucket) error) (count int, long bool) {
		t.Helper()
		err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists(bucket)
			return errors.Join(err, f(b))
		})
		if err == nil {
			err = store.CheckFile(path, pageSize)
		}
		if err != nil {
			t.Fatalf("after %d free pages: %v", count, err)
		}
		return freeCount(t, path, pageSize)
	}
	change(func(b *bbolt.Bucket) error { return b.Put([]byte("long"), make([]byte, (many+20)*pageSize)) })
	change(func(b *bbolt.Bucket) error { return b.Delete([]byte("long")) })
	found := map[int]bool{}
	for pages := 0; !found[many-1] && pages < 1000; pages++ {
		count, long := change(func(b *bbolt.Bucket) error { return b.Put([]byte("short"), make([]byte, pages*pageSize)) })
		if found[count] = true; long != (count >= many) {
			t.Errorf("%d free pages, in the long form: %v", count, long)
		}
	}
	if !found[many-1] || !found[many] || !found[many+1] {
		t.Errorf("not all numbers about 65535 were met: %v", found)
	}
}

// freeCount returns how many pages the newest list of free pages names, and whether it has the form of long ones.
func freeCount(t *testing.T, path string, pageSize int) (count int, long bool) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	read := func(offset int) []byte {
		b := make([]byte, 8)
		if _, err := file.ReadAt(b, int64(offset)); err != nil {
			t.Fatal(err)
		}
		return b
	}
	order, meta := binary.NativeEndian, 16
	if order.Uint64(read(pageSize+16+48)) > order.Uint64(read(16+48)) { // the numbers of their transactions
		meta += pageSize
	}
	list := int(order.Uint64(read(meta+32))) * pageSize
	if count = int(order.Uint16(read(list + 10))); count == 0xffff {
		return int(order.Uint64(read(list + 16))), true
	}
	return count, false
}

// TestNoListOfFreePages: bbolt's own tools leave no list when they repair a file, and bbolt finds the pages by itself then.
func TestNoListOfFreePages(t *testing.T) {
	g := newImage(t, 60)
	path := filepath.Join(t.TempDir(), "registry.db")
	if err := os.WriteFile(path, g.file, 0o600); err != nil {
		t.Fatal(err)
	}
	options := boltOptions(0)
	options.NoFreelistSync = true
	db := openBolt(t, path, options)
	if err := db.Update(func(tx *bbolt.Tx) error { return nil }); err != nil {
		t.Fatal(err)
	}
	db.Close()
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.CheckPages(file, os.Getpagesize()); err != nil {
		t.Errorf("CheckPages() = %v, want nil", err)
	}
	if g.try(t, file, "no list of free pages", store.Options{}) {
		t.Error("it was refused")
	}
}
