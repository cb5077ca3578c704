// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// fileEnd ends the name of each file; 20 digits stand before it.
const fileEnd = ".jsonl"

// fileName names a file for the number of its first record: in the order of their names files are in that of their records.
func fileName(first uint64) string { return fmt.Sprintf("%020d%s", first, fileEnd) }

// firstOf returns the number in a file's name, or 0 if the file is not part of a log.
func firstOf(name string) uint64 {
	digits, ok := strings.CutSuffix(name, fileEnd)
	if !ok || len(digits) != 20 {
		return 0
	}
	return parseSeq([]byte(strings.TrimLeft(digits, "0")))
}

// list returns the paths of a log's files, in the order of their records.
func list(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir) // by name
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, entry := range entries {
		if firstOf(entry.Name()) > 0 {
			paths = append(paths, filepath.Join(dir, entry.Name()))
		}
	}
	return paths, nil
}

// lines reads a file line by line, in constant memory.
type lines struct {
	from *bufio.Reader
	n    int   // lines read
	size int64 // bytes of them
}

func newLines(r io.Reader) *lines { return &lines{from: bufio.NewReaderSize(r, 2*maxLine)} }

// errLong says that a line is longer than any of ours.
var errLong = errors.New("the line is longer than any record")

// tornError says that the file ends within a line, as after a crash, or while it is written.
type tornError struct{ bytes int64 }

func (e tornError) Error() string {
	return fmt.Sprintf("the last line is torn after %d bytes", e.bytes)
}

// next returns the next line without its newline, until the next call. Errors: io.EOF, tornError, errLong, of the file.
func (l *lines) next() ([]byte, error) {
	text, err := l.from.ReadSlice('\n')
	switch {
	case err == nil && len(text) > maxLine, errors.Is(err, bufio.ErrBufferFull):
		return nil, errLong
	case err == nil:
		l.n++
		l.size += int64(len(text))
		return text[:len(text)-1], nil
	case errors.Is(err, io.EOF) && len(text) > 0:
		return nil, tornError{int64(len(text))}
	}
	return nil, err
}

// tail returns how many bytes stand after the file's last newline, of a file that is open for reading.
func tail(file *os.File) (int64, error) {
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	block := make([]byte, 64<<10)
	for end := size; end > 0; {
		start := max(0, end-int64(len(block)))
		part := block[:end-start]
		if _, err := file.ReadAt(part, start); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(part, '\n'); i >= 0 {
			return size - start - int64(i) - 1, nil
		}
		end = start
	}
	return size, nil
}

// syncDir makes the names in a directory last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, fs.ErrInvalid) {
		return err
	}
	return nil
}
