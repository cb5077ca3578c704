// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package softcard

import (
	"io"
	"os"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/trace"
)

// readPrivate reads a file that nobody but its owner can read, of at most limit bytes.
func readPrivate(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, cardbroker.Wrapf(err, cardbroker.Unavailable, "the file %s cannot be opened", name)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, cardbroker.Wrapf(err, cardbroker.Unavailable, "the file %s cannot be opened", name)
	case !info.Mode().IsRegular():
		return nil, cardbroker.Errorf(cardbroker.Invalid, "the file %s is no regular file", name)
	case openToOthers(info):
		return nil, cardbroker.Errorf(cardbroker.Invalid, "the file %s is open to others: mode %04o, want 0600", name, info.Mode())
	case info.Size() > limit:
		return nil, cardbroker.Errorf(cardbroker.Invalid, "the file %s has %d bytes, want %d or fewer", name, info.Size(), limit)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return nil, cardbroker.Wrapf(err, cardbroker.Unavailable, "the file %s cannot be read", name)
	}
	return data, nil
}

// maxTrace is the longest trace that is played, in bytes.
const maxTrace = 64 << 20

// openTrace reads the trace in a file; nil: the file is not there, or none.
func openTrace(name string) (*trace.Play, error) {
	if name == "" {
		return nil, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, nil // whoever reads it as a state says why
	}
	mark := make([]byte, len(trace.Mark))
	_, err = io.ReadFull(f, mark)
	f.Close()
	if err != nil || string(mark) != trace.Mark {
		return nil, nil
	}
	text, err := readPrivate(name, maxTrace)
	if err != nil {
		return nil, err
	}
	return trace.Parse(text)
}

// replaceFile puts data in the place of a file: at every moment, and after a crash, the file is the old one or the new
// one as a whole. It has mode 0600.
func replaceFile(name string, data []byte) error {
	temporary := name + ".new"
	if err := os.Remove(temporary); err != nil && !os.IsNotExist(err) { // of a process that was killed here
		return err
	}
	if err := writeFile(temporary, data); err != nil {
		os.Remove(temporary)
		return err
	}
	if err := os.Rename(temporary, name); err != nil {
		os.Remove(temporary)
		return err
	}
	return syncDirectory(name)
}

// writeFile writes a file that must not be there yet, down to the disk.
func writeFile(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}
