// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package journal is the record of one lease: which command the card is about to get, and what it answered, so that nobody
// has to guess after a crash. A file holds the lease's note, which says whose it is, and the records of its last frame: that
// it is executing, what each step of a script was answered, and the answer. The frame itself is not in it, only a keyed hash
// of it, whose key is not in the file either: a command with a PIN cannot be guessed from it. The next frame says that the
// answer has arrived, and so its record overwrites the one before.
//
// The package knows nothing of leases, cards and frames; it owns the file. It is used by one goroutine, but for [Journal.Void].
package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"

	"github.com/cardbroker/cardbroker"
)

// The file, all integers big-endian: two places for the note, each of noteSize, the younger of which counts; then the records
// one after the other, up to the first that is none, or is of another frame. Its size is at least minSize from the
// beginning, so that little is written to the disk but what is recorded, and so that a short answer finds room on a full disk.
const (
	noteSize = 2048
	records  = 2 * noteSize
	minSize  = records + 4096
	maxSize  = records + 1<<21
)

// A note is: magic, generation u64, length u16, the note, checksum u32.
const (
	magic      = "cbj1"
	noteHead   = len(magic) + 8 + 2
	checksum   = 4
	maxNote    = noteSize - noteHead - checksum
	recordHead = 4 + 1 + 8 + 4 // length of the payload u32, kind u8, seq u64, step u32
)

// kind says what a record is.
type kind uint8

const (
	kindExecuting kind = 1 // payload: the frame's digest
	kindStep      kind = 2 // step of a script is executing; no payload
	kindAnswered  kind = 3 // what the card answered to that step
	kindDone      kind = 4 // payload: type of the answering frame u8, its payload
)

// DigestSize is the length of a frame's digest, in bytes.
const DigestSize = 32

// Journal is an open file.
type Journal struct {
	file  *os.File
	path  string
	power bool // records are on the disk before anything goes on

	generation uint64 // of the note
	seq        uint64 // of the frame whose records there are
	end        int64  // of the records
	buffer     []byte
}

// sum is a record's checksum. It finds what a crash has torn, not what somebody has changed: the folder is the user's own.
func sum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// Create makes the journal of a new lease. It is Unavailable where the file cannot be made.
func Create(path string, note []byte, d cardbroker.Durability) (*Journal, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, failed(err)
	}
	j := &Journal{file: file, path: path, power: d == cardbroker.DurabilityPower, end: records}
	_, err = file.WriteAt(make([]byte, minSize), 0)
	if err == nil {
		err = j.Note(note)
	}
	if err == nil && j.power {
		err = errors.Join(file.Sync(), syncFolder(path))
	}
	if err != nil {
		j.Remove()
		return nil, failed(err)
	}
	return j, nil
}

// Durable says what the records outlive from now on.
func (j *Journal) Durable(d cardbroker.Durability) { j.power = d == cardbroker.DurabilityPower }

// Note replaces the note, of at most 2,030 bytes.
func (j *Journal) Note(note []byte) error {
	if len(note) > maxNote {
		return fmt.Errorf("the note of a lease has %d bytes, want at most %d", len(note), maxNote)
	}
	next := j.generation + 1
	b := append(j.buffer[:0], magic...)
	b = binary.BigEndian.AppendUint64(b, next)
	b = binary.BigEndian.AppendUint16(b, uint16(len(note)))
	b = append(b, note...)
	b = binary.BigEndian.AppendUint32(b, sum(b))
	j.buffer = b
	if _, err := j.file.WriteAt(b, int64(next%2)*noteSize); err != nil {
		return failed(err)
	}
	j.generation = next
	return j.sync()
}

// Executing records that the frame seq, of this digest, is about to be executed, and overwrites what was recorded before. When it
// returns nil the record outlives what the lease's durability says; else nothing may be executed.
func (j *Journal) Executing(seq uint64, digest [DigestSize]byte) error {
	old := j.end
	j.seq, j.end = seq, records
	j.buffer = j.appendRecord(j.buffer[:0], kindExecuting, 0, nil, digest[:])
	size := int64(len(j.buffer))
	if more := old - records - size; more > 0 { // of an answer that has arrived nothing stays
		j.buffer = append(j.buffer, make([]byte, more)...)
	}
	if err := j.write(); err != nil {
		return err
	}
	j.end = records + size
	return j.sync()
}

// Step records that a step of the frame, a script, is about to be executed. The same holds as for Executing.
func (j *Journal) Step(step int) error {
	return j.add(kindStep, step, nil, nil, j.power)
}

// Answered records what the card answered to the step.
func (j *Journal) Answered(step int, response []byte) error {
	return j.add(kindAnswered, step, nil, response, false) // on the disk with the next step; without it the step is in doubt
}

// Done records the answer to the frame.
func (j *Journal) Done(answer Answer) error {
	kind := [...]byte{answer.Type}
	return j.add(kindDone, 0, kind[:], answer.Payload, false)
}

// add adds a record, whose payload is given in two parts.
func (j *Journal) add(k kind, step int, head, payload []byte, sync bool) error {
	j.buffer = j.appendRecord(j.buffer[:0], k, step, head, payload)
	size := int64(len(j.buffer))
	if j.end+size > maxSize {
		return failed(fmt.Errorf("the records of one frame are over %d bytes", maxSize))
	}
	if err := j.write(); err != nil {
		return err
	}
	j.end += size
	if sync {
		return j.sync()
	}
	return nil
}

func (j *Journal) appendRecord(b []byte, k kind, step int, head, payload []byte) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint32(b, uint32(len(head)+len(payload)))
	b = append(b, byte(k))
	b = binary.BigEndian.AppendUint64(b, j.seq)
	b = binary.BigEndian.AppendUint32(b, uint32(step))
	b = append(append(b, head...), payload...)
	return binary.BigEndian.AppendUint32(b, sum(b[start:]))
}

// write writes the buffer at the end of the records, in one write.
func (j *Journal) write() error {
	_, err := j.file.WriteAt(j.buffer, j.end)
	clear(j.buffer)
	if err != nil {
		return failed(err)
	}
	return nil
}

func (j *Journal) sync() error {
	if !j.power {
		return nil
	}
	if err := dataSync(j.file); err != nil {
		return failed(err)
	}
	return nil
}

// Void has no next process take the file for the journal of a lease: its lease has ended, but what executes its last frame still
// records that. Any goroutine may call it, before Close and Remove.
func (j *Journal) Void() error {
	_, wiped := j.file.WriteAt(make([]byte, records), 0)
	return errors.Join(wiped, os.Remove(j.path)) // Windows keeps a file that is open
}

// Close closes the file, which stays.
func (j *Journal) Close() error { return j.file.Close() }

// Remove ends the journal of a lease that has ended: nothing can be asked of it any more. What it held is overwritten before,
// as far as the file system does that.
func (j *Journal) Remove() error {
	_, wiped := j.file.WriteAt(make([]byte, j.end), 0)
	return errors.Join(wiped, j.file.Close(), os.Remove(j.path))
}

func failed(err error) error {
	return cardbroker.Wrapf(err, cardbroker.Unavailable, "the record of commands cannot be written; nothing is sent to the card without")
}
