// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package script

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/cardbroker/cardbroker"
)

// Part is what travels at once, is judged as a whole and executed in one round trip. Most scripts have one.
type Part struct {
	First int           // number in the script of the first step, from 0; over 0: goes on from the part before
	Open  bool          // another part follows
	Limit time.Duration // whole ms, 1 ms to MaxLimit
	Steps []Step
}

// Parts splits a script: each part has as many steps as fit. Registers, and a goto whose label is in a later part, carry over.
// Errors are those of [Script.Check].
func (s Script) Parts() ([]Part, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	var parts []Part
	size := MaxPart
	for i := range s.Steps {
		length := len(s.Steps[i].append(nil))
		if size+length > MaxPart || len(parts[len(parts)-1].Steps) == MaxSteps {
			parts = append(parts, Part{First: i, Open: true, Limit: s.limit()})
			size = partHeader
		}
		p := &parts[len(parts)-1]
		p.Steps = append(p.Steps, s.Steps[i])
		size += length
	}
	parts[len(parts)-1].Open = false
	return parts, nil
}

// The layout of a part: version u8, flags u8, number of the first step u32, limit in ms u32, count of steps u16, steps. Of a
// step: flags u8, label, goto, longest response u32, and then three lists and the command: count u8 of matches, value u16 and
// mask u16 each; count u8 of captures, register, offset u32 and length u16 each; count u8 of inserts, the same; length u32
// of the command, command. Label, goto and register are names: length u8, and as many bytes.
const (
	partVersion = 1
	partHeader  = 12

	flagOpen = 1 << 0 // of a part

	flagRawMore   = 1 << 0 // of a step
	flagRawLe     = 1 << 1
	flagSensitive = 1 << 2
	shiftAction   = 4 // two bits
)

// Append appends the part's bytes.
func (p Part) Append(dst []byte) []byte {
	var flags byte
	if p.Open {
		flags = flagOpen
	}
	dst = append(dst, partVersion, flags)
	dst = binary.BigEndian.AppendUint32(dst, uint32(p.First))
	dst = binary.BigEndian.AppendUint32(dst, uint32(p.Limit/time.Millisecond))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(p.Steps)))
	for i := range p.Steps {
		dst = p.Steps[i].append(dst)
	}
	return dst
}

func (s *Step) append(dst []byte) []byte {
	flags := byte(s.OnMismatch) << shiftAction
	for bit, set := range map[byte]bool{flagRawMore: s.RawMore, flagRawLe: s.RawLe, flagSensitive: s.Sensitive} {
		if set {
			flags |= bit
		}
	}
	dst = appendName(append(dst, flags), s.Label)
	dst = appendName(dst, s.Goto)
	dst = binary.BigEndian.AppendUint32(dst, uint32(s.MaxResponse))
	dst = append(dst, byte(len(s.Expect)))
	for _, m := range s.Expect {
		dst = binary.BigEndian.AppendUint16(dst, m.Value)
		dst = binary.BigEndian.AppendUint16(dst, m.Mask)
	}
	dst = append(dst, byte(len(s.Capture)))
	for _, c := range s.Capture {
		dst = appendCopy(dst, c.Register, c.Offset, c.Length)
	}
	dst = append(dst, byte(len(s.Insert)))
	for _, n := range s.Insert {
		dst = appendCopy(dst, n.Register, n.Offset, n.Length)
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(s.Command)))
	return append(dst, s.Command...)
}

func appendName(dst []byte, s string) []byte { return append(append(dst, byte(len(s))), s...) }

func appendCopy(dst []byte, register string, offset, length int) []byte {
	dst = binary.BigEndian.AppendUint32(appendName(dst, register), uint32(offset))
	return binary.BigEndian.AppendUint16(dst, uint16(length))
}

// ParsePart reads a part. What it keeps of p is not a copy. A part that is malformed, over a limit, or has a step that cannot
// be is Invalid; a goto whose label is in none of its later steps is for the parts that follow.
func ParsePart(p []byte) (Part, error) {
	if len(p) > MaxPart {
		return Part{}, invalid("a script has %d bytes, want %d or fewer in one part", len(p), MaxPart)
	}
	r := cursor{rest: p, what: "a script"}
	version, flags := r.u8(), r.u8()
	part := Part{First: int(r.u32()), Open: flags&flagOpen != 0, Limit: time.Duration(r.u32()) * time.Millisecond}
	count := int(r.u16())
	switch {
	case r.err != nil:
		return Part{}, r.err
	case version != partVersion || flags&^flagOpen != 0:
		return Part{}, invalid("a script has version %d and flags %02x, which are not known here", version, flags)
	case part.First > MaxScript || part.Limit == 0 || part.Limit > MaxLimit:
		return Part{}, invalid("a script's first step or time is over the limit")
	case count == 0 || count > MaxSteps:
		return Part{}, invalid("a script has %d steps, want 1 to %d in one part", count, MaxSteps)
	}
	seen := make(map[string]bool) // labels so far
	for i := range count {
		step := r.step()
		if r.err != nil {
			return Part{}, fmt.Errorf("step %d: %w", part.First+i+1, r.err)
		}
		if f := step.check(part.First + i); f != nil {
			return Part{}, f.err()
		}
		if step.Label != "" {
			if seen[step.Label] {
				return Part{}, (&fault{part.First + i, "label", "an earlier step has the same"}).err()
			}
			seen[step.Label] = true
		}
		if step.Goto != "" && seen[step.Goto] {
			return Part{}, (&fault{part.First + i, "on_mismatch", "the label is not after this step"}).err()
		}
		part.Steps = append(part.Steps, step)
	}
	return part, r.end()
}

func (r *cursor) step() Step {
	flags := r.u8()
	s := Step{
		OnMismatch:  Action(flags >> shiftAction),
		RawMore:     flags&flagRawMore != 0,
		RawLe:       flags&flagRawLe != 0,
		Sensitive:   flags&flagSensitive != 0,
		Label:       r.name(),
		Goto:        r.name(),
		MaxResponse: int(r.u32()),
	}
	if flags&0x08 != 0 {
		r.fail("unknown flags %02x", flags)
	}
	for range r.count(maxMatches) {
		s.Expect = append(s.Expect, Match{Value: r.u16(), Mask: r.u16()})
	}
	for range r.count(maxCopies) {
		s.Capture = append(s.Capture, Capture{Register: r.name(), Offset: int(r.u32()), Length: int(r.u16())})
	}
	for range r.count(maxCopies) {
		s.Insert = append(s.Insert, Insert{Register: r.name(), Offset: int(r.u32()), Length: int(r.u16())})
	}
	s.Command = r.bytes(int(r.u32()))
	return s
}

func invalid(format string, args ...any) error {
	return cardbroker.Errorf(cardbroker.Invalid, format, args...)
}
