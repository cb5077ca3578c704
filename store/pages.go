// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
)

// The layout of bbolt's file, version 2; numbers have the byte order of the machine.
//
// Two first pages ("meta") are written in turn, so that one is whole whenever a write is cut short. After the header of a
// page, each has: magic, version, size of a page, flags (4 bytes each), the root bucket, the page with the list of free
// pages, the number of pages in use, the transaction (8 bytes each), and the FNV-1a of all that.
//
// A page has a header, then a table of elements, then their keys and values one after the other, in the order of the
// table. A page that is too short goes on in those that follow it. A bucket is the value of its name: the page of its
// root and a number, and if that page is 0, a leaf page of its own right behind, no longer than it needs to be.
const (
	headerSize  = 16 // id (8), kind (2), number of elements (2), number of pages that follow (4)
	elementSize = 16 // leaf: flags, position, size of key, of value (4 each); branch: position, size (4 each), page (8)
	bucketSize  = 16
	metaSize    = 64

	branchKind = 1
	leafKind   = 2
	freeKind   = 16 // the list of free pages

	bucketFlag = 1

	metaMagic   = 0xed0cdaed
	metaVersion = 2
	noFreeList  = 1<<64 - 1 // in the place of its page: bbolt's own tools leave none when they repair a file
)

// meta is one of the two first pages.
type meta struct {
	pageSize         uint32
	root, free, used uint64
	transaction      uint64
}

// readMeta reads the first page that begins at that offset. Not ok: it is damaged, or none.
func readMeta(file io.ReaderAt, offset int64) (m meta, ok bool) {
	b := make([]byte, metaSize)
	if _, err := file.ReadAt(b, offset+headerSize); err != nil && err != io.EOF {
		return meta{}, false
	}
	sum := fnv.New64a()
	sum.Write(b[:metaSize-8])
	order := binary.NativeEndian
	if order.Uint32(b) != metaMagic || order.Uint32(b[4:]) != metaVersion || order.Uint64(b[metaSize-8:]) != sum.Sum64() {
		return meta{}, false
	}
	return meta{
		pageSize: order.Uint32(b[8:]), root: order.Uint64(b[16:]), free: order.Uint64(b[32:]), used: order.Uint64(b[40:]),
		transaction: order.Uint64(b[48:]),
	}, true
}

// checkPageSize checks the one number that bbolt needs before it can lock the file. While another broker writes, it may
// see a page that is half written, which proves nothing.
func checkPageSize(file io.ReaderAt) error {
	const smallest, largest = 1 << 10, 1 << 24 // where bbolt looks for its second page
	for offset := int64(0); offset <= largest; offset = max(smallest, 2*offset) {
		if m, ok := readMeta(file, offset); ok && (m.pageSize < smallest || m.pageSize > largest || m.pageSize&(m.pageSize-1) != 0) {
			return fmt.Errorf("a page cannot have %d bytes", m.pageSize)
		}
	}
	return nil
}

// pages checks the pages of a file before bbolt follows what stands in them: bbolt believes each number, so that a
// damaged one makes it read anywhere. That is a memory fault at best, which may come where nobody can recover it: in a
// goroutine of bbolt's, or inside the race detector.
type pages struct {
	file  io.ReaderAt
	size  int
	taken []bool // the pages that were found so far
}

// checkPages checks a file of that length: each page below the end is used once, or free; all that a page holds is within
// it and leaves no gap, as bbolt writes it; keys are in order. What the values are it does not check.
func checkPages(file io.ReaderAt, pageSize int, length int64) error {
	newest, ok := readMeta(file, 0)
	if second, good := readMeta(file, int64(pageSize)); good && (!ok || second.transaction > newest.transaction) {
		newest, ok = second, true
	}
	if !ok || int64(newest.pageSize) != int64(pageSize) {
		return errors.New("neither of the first pages is whole")
	}
	if newest.used > uint64(length)/uint64(pageSize) {
		return fmt.Errorf("it should have %d pages of %d bytes, it has %d bytes", newest.used, pageSize, length)
	}
	if newest.used < 4 {
		return fmt.Errorf("it cannot have %d pages", newest.used)
	}
	p := &pages{file: file, size: pageSize, taken: make([]bool, newest.used)}
	p.taken[0], p.taken[1] = true, true
	if err := p.tree(newest.root, nil, nil, p.rootElement); err != nil {
		return err
	}
	if newest.free == noFreeList { // then bbolt takes each page that is not used for free, too
		return nil
	}
	if err := p.free(newest.free); err != nil {
		return err
	}
	for id, taken := range p.taken {
		if !taken {
			return fmt.Errorf("page %d is neither used nor free", id)
		}
	}
	return nil
}

// take notes that the page is used.
func (p *pages) take(id uint64) error {
	if id >= uint64(len(p.taken)) {
		return fmt.Errorf("page %d is beyond the end", id)
	}
	if p.taken[id] {
		return fmt.Errorf("page %d is used twice", id)
	}
	p.taken[id] = true
	return nil
}

// read returns a page, with those that it goes on in.
func (p *pages) read(id uint64) (page []byte, kind int, err error) {
	if err := p.take(id); err != nil {
		return nil, 0, err
	}
	page = make([]byte, p.size)
	if _, err := p.file.ReadAt(page, int64(id)*int64(p.size)); err != nil {
		return nil, 0, fmt.Errorf("page %d: %w", id, err)
	}
	order := binary.NativeEndian
	if named := order.Uint64(page); named != id {
		return nil, 0, fmt.Errorf("page %d says that it is page %d", id, named)
	}
	more := uint64(order.Uint32(page[12:]))
	if more >= uint64(len(p.taken))-id {
		return nil, 0, fmt.Errorf("page %d reaches beyond the end", id)
	}
	for next := id + 1; next <= id+more; next++ {
		if err := p.take(next); err != nil {
			return nil, 0, err
		}
	}
	if more > 0 {
		page = make([]byte, (more+1)*uint64(p.size))
		if _, err := p.file.ReadAt(page, int64(id)*int64(p.size)); err != nil {
			return nil, 0, fmt.Errorf("page %d: %w", id, err)
		}
	}
	return page, int(order.Uint16(page[8:])), nil
}

// tree checks the page and all below it. Keys are not before from and, if there is a to, before that. visit gets each
// element of a leaf.
func (p *pages) tree(id uint64, from, to []byte, visit func(element) error) error {
	page, kind, err := p.read(id)
	if err != nil {
		return err
	}
	if kind != branchKind && kind != leafKind {
		return fmt.Errorf("page %d is of the kind %#x", id, kind)
	}
	list, end, err := elements(page, kind)
	if err == nil && len(list) == 0 && (kind == branchKind || len(bytes.Trim(page[end:], "\x00")) > 0) {
		err = errors.New("it is empty")
	}
	if err == nil {
		err = inOrder(list, from, to)
	}
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	for i, e := range list {
		if kind == leafKind {
			err = visit(e)
		} else {
			end := to
			if i+1 < len(list) {
				end = list[i+1].key
			}
			err = p.tree(e.page, e.key, end, visit)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// rootElement checks what the root bucket holds: buckets, the numbers of which guard their names, if they have one.
func (p *pages) rootElement(e element) error {
	if e.flags != bucketFlag {
		return fmt.Errorf("%q is no bucket", e.key)
	}
	if err := p.bucket(e.value); err != nil {
		return err
	}
	if number := binary.NativeEndian.Uint64(e.value[8:]); number != 0 && number != nameSum(e.key) {
		return fmt.Errorf("the name %q is not what it was", e.key)
	}
	return nil
}

// element checks what another bucket holds.
func (p *pages) element(e element) error {
	switch e.flags {
	case 0:
		return nil
	case bucketFlag:
		return p.bucket(e.value)
	}
	return fmt.Errorf("the value of %#x has the flags %#x", e.key, e.flags)
}

func (p *pages) bucket(value []byte) error {
	order := binary.NativeEndian
	if len(value) < bucketSize {
		return errors.New("a bucket is cut off")
	}
	root, page := order.Uint64(value), value[bucketSize:]
	if root != 0 && len(page) == 0 {
		return p.tree(root, nil, nil, p.element)
	}
	if root != 0 || len(page) < headerSize || order.Uint64(page) != 0 || order.Uint16(page[8:]) != leafKind || order.Uint32(page[12:]) != 0 {
		return errors.New("a bucket has no pages")
	}
	list, end, err := elements(page, leafKind)
	if err == nil && end != len(page) {
		err = fmt.Errorf("%d bytes, want %d", len(page), end)
	}
	if err == nil {
		err = inOrder(list, nil, nil)
	}
	for _, e := range list {
		if e.flags != 0 {
			err = errors.New("more than values in it")
		}
	}
	if err != nil {
		return fmt.Errorf("a small bucket: %w", err)
	}
	return nil
}

// free checks the list of free pages. From 65,535 pages on their number stands before the first.
func (p *pages) free(id uint64) error {
	page, kind, err := p.read(id)
	if err != nil {
		return err
	}
	if kind != freeKind {
		return fmt.Errorf("page %d is no list of free pages", id)
	}
	order := binary.NativeEndian
	count, list := uint64(order.Uint16(page[10:])), page[headerSize:]
	if count == 0xffff {
		count, list = order.Uint64(list), list[8:]
	}
	if count > uint64(len(list)/8) {
		return fmt.Errorf("page %d cannot name %d free pages", id, count)
	}
	last := uint64(0)
	for i := range count {
		free := order.Uint64(list[8*i:])
		if free <= last {
			return fmt.Errorf("page %d names free pages out of order", id)
		}
		if err := p.take(free); err != nil {
			return err
		}
		last = free
	}
	return nil
}

// element is a key with its value, or with the page of all keys from it on.
type element struct {
	flags      uint32
	key, value []byte
	page       uint64
}

// elements returns what stands in a page of that kind, and where its last byte ends.
func elements(page []byte, kind int) (list []element, end int, err error) {
	order := binary.NativeEndian
	count := int(order.Uint16(page[10:]))
	end = headerSize + count*elementSize
	if end > len(page) {
		return nil, 0, fmt.Errorf("it cannot have %d elements", count)
	}
	list = make([]element, count)
	for i := range list {
		at := headerSize + i*elementSize
		row := page[at:]
		var position, size, more uint32
		if kind == leafKind {
			list[i].flags, position, size, more = order.Uint32(row), order.Uint32(row[4:]), order.Uint32(row[8:]), order.Uint32(row[12:])
		} else {
			position, size, list[i].page = order.Uint32(row), order.Uint32(row[4:]), order.Uint64(row[8:])
		}
		if uint64(position) != uint64(end-at) || size == 0 || uint64(size)+uint64(more) > uint64(len(page)-end) {
			return nil, 0, fmt.Errorf("element %d is not in its place", i)
		}
		list[i].key, list[i].value = page[end:end+int(size)], page[end+int(size):end+int(size)+int(more)]
		end += int(size) + int(more)
	}
	return list, end, nil
}

// inOrder checks that keys go up, none is before from and, if there is a to, all are before that.
func inOrder(list []element, from, to []byte) error {
	for i, e := range list {
		if i > 0 && bytes.Compare(e.key, list[i-1].key) <= 0 || i == 0 && bytes.Compare(e.key, from) < 0 || to != nil && bytes.Compare(e.key, to) >= 0 {
			return fmt.Errorf("the key %#x is out of order", e.key)
		}
	}
	return nil
}
