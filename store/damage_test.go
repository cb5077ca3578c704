// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/store"
)

// writeStore makes a store with 200 agents, several pages of them, and returns its path.
func writeStore(t testing.TB) string {
	t.Helper()
	path := newPath(t)
	s := open(t, path, store.Options{})
	var changes cardbroker.Changes
	for i := range 200 {
		changes.Put = append(changes.Put, agent(uint32(1000+i), cardbroker.Port(24800+i), cardbroker.Registered))
	}
	changes.Epoch = 7
	commit(t, s, changes)
	commit(t, s, cardbroker.Changes{Epoch: 7, Delete: []cardbroker.Port{24999}}) // leaves free pages
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// edit changes a store by bbolt itself, past this package's checks.
func edit(t testing.TB, path string, f func(tx *bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Update(f); err != nil {
		t.Fatal(err)
	}
}

// put writes a value with a good checksum.
func put(t testing.TB, path, bucket string, key []byte, content string) {
	t.Helper()
	edit(t, path, func(tx *bbolt.Tx) error {
		sum := crc32.Checksum(append(bytes.Clone(key), content...), crc32.MakeTable(crc32.Castagnoli))
		return tx.Bucket([]byte(bucket)).Put(key, append(binary.BigEndian.AppendUint32(nil, sum), content...))
	})
}

// port24800 is the key of the first record.
var port24800 = []byte{0x60, 0xe0}

func TestDamage(t *testing.T) {
	const good = `"uid":1,"session":"3","state":"RESERVED","since":"2026-03-01T08:59:00Z","claim":"` +
		"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff" + `"}`
	truncate := func(size int64) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			if err := os.Truncate(path, size); err != nil {
				t.Fatal(err)
			}
		}
	}
	row := func(content string) func(*testing.T, string) {
		return func(t *testing.T, path string) { put(t, path, "agents", port24800, content) }
	}
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, path string)
		want   cardbroker.Reason
		says   string
	}{
		{"cut to 100 bytes", truncate(100), cardbroker.Internal, "its first pages"},
		{"cut to one page", truncate(4096), cardbroker.Internal, "damaged"},
		{"cut to two pages", truncate(8192), cardbroker.Internal, "damaged"},
		{"cut to eight pages", truncate(8 * 4096), cardbroker.Internal, "damaged"},
		{"a newer schema", func(t *testing.T, path string) {
			put(t, path, "meta", []byte("schema"), "\x00\x00\x00\x02")
		}, cardbroker.Unsupported, "newer version (schema 2, this one reads 1): upgrade, or restore a backup"},
		{"no schema", func(t *testing.T, path string) {
			edit(t, path, func(tx *bbolt.Tx) error { return tx.Bucket([]byte("meta")).Delete([]byte("schema")) })
		}, cardbroker.Internal, "its schema: missing"},
		{"a short salt", func(t *testing.T, path string) {
			put(t, path, "meta", []byte("salt"), "pepper")
		}, cardbroker.Internal, "its salt: 6 bytes, want 32"},
		{"another program's file", func(t *testing.T, path string) {
			edit(t, path, func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte("meta")) })
		}, cardbroker.Invalid, "not a store of cardbroker"},
		{"a record's checksum", func(t *testing.T, path string) {
			edit(t, path, func(tx *bbolt.Tx) error {
				return tx.Bucket([]byte("agents")).Put(port24800, []byte("\x00\x00\x00\x00{}"))
			})
		}, cardbroker.Internal, "the record of port 24800: the checksum is wrong"},
		{"a record of three bytes", func(t *testing.T, path string) {
			edit(t, path, func(tx *bbolt.Tx) error { return tx.Bucket([]byte("agents")).Put(port24800, []byte("abc")) })
		}, cardbroker.Internal, "the record of port 24800: missing or cut off"},
		{"a key that is no port", func(t *testing.T, path string) {
			put(t, path, "agents", []byte("key"), "{}")
		}, cardbroker.Internal, "the record of port 0x6b6579"},
		{"no JSON", row("{"), cardbroker.Internal, "the record of port 24800"},
		{"an unknown field", row(`{"port":24800,"user":"alice",` + good), cardbroker.Internal, "user"},
		{"another port", row(`{"port":24801,` + good), cardbroker.Internal, "it speaks of port 24801"},
		{"no session", row(`{"port":24800}`), cardbroker.Internal, "session id"},
		{"an unknown state", row(`{"port":24800,"uid":1,"session":"3","state":"DEAD"}`), cardbroker.Internal, `unknown state "DEAD"`},
		{"half a claim", row(`{"port":24800,"uid":1,"session":"3","state":"RESERVED","claim":"0011"}`), cardbroker.Internal, "64 hexadecimal"},
		{"one agent with two ports", func(t *testing.T, path string) {
			put(t, path, "agents", []byte{0x10, 0x00}, `{"port":4096,`+good)
			put(t, path, "agents", []byte{0x10, 0x01}, `{"port":4097,`+good)
		}, cardbroker.Internal, "the records of ports 4096 and 4097"},
		{"a page that claims a thousand others", func(t *testing.T, path string) {
			file, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			overflow := leafPage(t, path)*int64(os.Getpagesize()) + 12 // bbolt's page header: id, flags, count, overflow
			if _, err := file.WriteAt([]byte{0xe8, 0x03}, overflow); err != nil {
				t.Fatal(err)
			}
		}, cardbroker.Internal, "reaches beyond the end"},
		{"nothing", row(`{"port":24800,` + good), "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := writeStore(t)
			c.damage(t, path)
			wantError(t, "Check()", store.Check(path), c.want, c.says)
			s, err := store.Open(path, store.Options{})
			if err == nil {
				s.Close()
			}
			wantError(t, "Open()", err, c.want, c.says)
		})
	}
}

// TestFlippedBytes damages a store at random. It must open with what was written, or say that it is damaged: never crash,
// and never load something else. One exception is bbolt's way to survive a torn write: if the newer of its two first
// pages is damaged, it takes the state before the last commit.
func TestFlippedBytes(t *testing.T) {
	g := newImage(t, 200)
	found := 0
	for range 300 {
		i, bit := rand.IntN(len(g.file)), rand.IntN(8)
		if g.try(t, g.with(i, g.file[i]^1<<bit), fmt.Sprintf("byte %d, bit %d", i, bit), store.Options{}) {
			found++
		}
	}
	if found == 0 {
		t.Error("no damage was found in 300 files")
	}
	t.Logf("%d of 300 flipped bits were refused, the others were in unused bytes", found)
}

// leafPage returns the number of a page with records.
func leafPage(t testing.TB, path string) (id int64) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx *bbolt.Tx) error {
		for {
			page, err := tx.Page(int(id))
			if err != nil || page == nil {
				return errors.Join(err, errors.New("no leaf page"))
			}
			if page.Type == "leaf" && page.Count > 10 {
				return nil
			}
			id++
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// fileUsed returns how many bytes at the beginning of the file hold pages.
func fileUsed(t testing.TB, path string) (n int64) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.View(func(tx *bbolt.Tx) error { n = tx.Size(); return nil })
	return n
}
