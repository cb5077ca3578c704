// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"encoding/binary"
	"io"
	"os"

	"github.com/cardbroker/cardbroker"
)

// State is what a journal says of its lease.
type State struct {
	Note   []byte
	Seq    uint64           // of the last frame that was executing; 0: none was
	Digest [DigestSize]byte // of that frame
	Steps  []Step           // of a script, in the order in which they were executed
	Answer *Answer          // to that frame; nil: what became of it is not known
}

// Answer is the frame that answered another.
type Answer struct {
	Type    uint8 // wire.Type
	Payload []byte
}

// Step is a step of a script that the card was about to get.
type Step struct {
	Index    int
	Response []byte // nil: what became of it is not known
}

// Open opens the journal of an earlier process and says what is in it; [Journal.Durable] says how it goes on. A file without a whole note is Invalid: there was
// no lease yet, or it is no journal.
func Open(path string) (*Journal, State, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, State{}, failed(err)
	}
	raw, err := io.ReadAll(io.LimitReader(file, maxSize+1))
	if err != nil {
		file.Close()
		return nil, State{}, failed(err)
	}
	j := &Journal{file: file, path: path}
	state, ok := j.parse(raw)
	if !ok {
		file.Close()
		return nil, State{}, cardbroker.Errorf(cardbroker.Invalid, "the file is no journal of a lease")
	}
	return j, state, nil
}

// parse reads a file. It is false without a note.
func (j *Journal) parse(raw []byte) (s State, ok bool) {
	if len(raw) < records {
		return State{}, false
	}
	for i := range 2 {
		generation, note, whole := parseNote(raw[i*noteSize : (i+1)*noteSize])
		if whole && generation > j.generation {
			j.generation, s.Note = generation, note
		}
	}
	j.end = j.readRecords(raw, &s)
	return s, j.generation > 0
}

// parseNote reads one of the places for the note.
func parseNote(b []byte) (generation uint64, note []byte, ok bool) {
	if string(b[:len(magic)]) != magic {
		return 0, nil, false
	}
	n := int(binary.BigEndian.Uint16(b[noteHead-2:]))
	if n > maxNote {
		return 0, nil, false
	}
	end := noteHead + n
	if sum(b[:end]) != binary.BigEndian.Uint32(b[end:]) {
		return 0, nil, false
	}
	return binary.BigEndian.Uint64(b[len(magic):]), b[noteHead:end], true
}

// readRecords reads the records of the last frame, and returns where they end.
func (j *Journal) readRecords(raw []byte, s *State) int64 {
	at := records
	for {
		k, seq, step, payload, size := parseRecord(raw[at:])
		first := at == records
		if size == 0 || first != (k == kindExecuting) || !first && (seq != s.Seq || s.Answer != nil) {
			return int64(at)
		}
		switch k {
		case kindExecuting:
			if len(payload) != DigestSize {
				return int64(at)
			}
			j.seq, s.Seq, s.Digest = seq, seq, [DigestSize]byte(payload)
		case kindStep:
			s.Steps = append(s.Steps, Step{Index: step})
		case kindAnswered:
			last := len(s.Steps) - 1
			if last < 0 || s.Steps[last].Index != step || s.Steps[last].Response != nil || len(payload) == 0 {
				return int64(at)
			}
			s.Steps[last].Response = payload
		case kindDone:
			if len(payload) == 0 {
				return int64(at)
			}
			s.Answer = &Answer{Type: payload[0], Payload: payload[1:]}
		default:
			return int64(at)
		}
		at += size
	}
}

// parseRecord reads a record; size 0: there is none.
func parseRecord(b []byte) (k kind, seq uint64, step int, payload []byte, size int) {
	if len(b) < recordHead+checksum {
		return 0, 0, 0, nil, 0
	}
	n := binary.BigEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-recordHead-checksum) {
		return 0, 0, 0, nil, 0
	}
	end := recordHead + int(n)
	if sum(b[:end]) != binary.BigEndian.Uint32(b[end:]) {
		return 0, 0, 0, nil, 0
	}
	return kind(b[4]), binary.BigEndian.Uint64(b[5:]), int(binary.BigEndian.Uint32(b[13:])), b[recordHead:end], end + checksum
}
