// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscd

import (
	"bytes"
	"encoding/binary"
)

// The protocol of libpcsclite and pcscd: a client sends a header (size and command) and a body of that size, and gets the
// same struct back, without a header. All numbers are 32 bits in the order of the machine.

// command is what a message asks for.
type command uint32

const (
	cmdEstablish  command = 0x01
	cmdRelease    command = 0x02
	cmdConnect    command = 0x04
	cmdReconnect  command = 0x05
	cmdDisconnect command = 0x06
	cmdBegin      command = 0x07
	cmdEnd        command = 0x08
	cmdTransmit   command = 0x09
	cmdControl    command = 0x0A
	cmdStatus     command = 0x0B
	cmdCancel     command = 0x0D
	cmdGetAttrib  command = 0x0F
	cmdSetAttrib  command = 0x10
	cmdVersion    command = 0x11
	cmdStates     command = 0x12 // of the first 16 readers
	cmdWait       command = 0x13 // the same, but from 4:6 on nothing, and then an event
	cmdStopWait   command = 0x14
	cmdEvents     command = 0x15 // from 4:5 on: how many readers came and went
	cmdCount      command = 0x16 // from 4:6 on: for how many readers there are places
	cmdAllStates  command = 0x17 // from 4:6 on: of so many
)

// The versions of the protocol.
const (
	versionMajor = 4
	minorLow     = 4
	minorLists   = 6 // from it on clients ask how many readers there are, and a wait does not tell of them
	minorHigh    = 6
)

// Sizes, in bytes.
const (
	headerSize = 8
	nameSize   = 128
	atrSize    = 33
	attrSize   = 264
	stateSize  = 184
	maxData    = 4 + 3 + 1<<16 + 3 + 2 // of a command, a response, a control request or its answer
)

// fixedStates is how many readers clients before 4:6 know.
const fixedStates = 16

// bodySize returns the size of a command's body, or false for a command that nobody sends.
func (c command) bodySize() (int, bool) {
	switch c {
	case cmdEstablish, cmdDisconnect, cmdEnd, cmdVersion:
		return 12, true
	case cmdRelease, cmdBegin, cmdStatus, cmdCancel:
		return 8, true
	case cmdConnect:
		return 4 + nameSize + 20, true
	case cmdReconnect, cmdControl:
		return 24, true
	case cmdTransmit:
		return 32, true
	case cmdGetAttrib, cmdSetAttrib:
		return 8 + attrSize + 8, true
	case cmdStates, cmdWait, cmdStopWait, cmdEvents, cmdCount, cmdAllStates:
		return 0, true
	}
	return 0, false
}

// dataSize returns how many bytes follow the body.
func (c command) dataSize(body []byte) uint32 {
	switch c {
	case cmdTransmit:
		return get(body, 12)
	case cmdControl:
		return get(body, 8)
	}
	return 0
}

// get returns the number at an offset.
func get(b []byte, at int) uint32 { return binary.NativeEndian.Uint32(b[at:]) }

// put sets the number at an offset.
func put(b []byte, at int, v uint32) { binary.NativeEndian.PutUint32(b[at:], v) }

// text returns what stands before the first NUL.
func text(b []byte) string {
	before, _, _ := bytes.Cut(b, []byte{0})
	return string(before)
}

// Bits of a reader's state, SCARD_*.
const (
	stateAbsent     = 0x02
	statePresent    = 0x04
	stateSwallowed  = 0x08 // and without an ATR: mute
	statePowered    = 0x10
	stateNegotiable = 0x20
)

// sharingExclusive stands for the number of connections while one is exclusive.
const sharingExclusive = ^uint32(0)

// appendState appends a reader's READER_STATE, 184 bytes.
func (r *reader) appendState(dst []byte) []byte {
	var b [stateSize]byte
	copy(b[:nameSize-1], r.name)
	put(b[:], 128, r.counter)
	state, atr := uint32(stateAbsent), []byte(nil)
	if r.card != nil {
		state, atr = statePresent|statePowered|stateNegotiable, r.card.ATR
		if len(atr) == 0 {
			state = statePresent | stateSwallowed
		}
	}
	put(b[:], 132, state)
	sharing := uint32(len(r.handles))
	if r.exclusive {
		sharing = sharingExclusive
	}
	put(b[:], 136, sharing)
	n := copy(b[140:140+atrSize], atr)
	put(b[:], 176, uint32(n))
	put(b[:], 180, r.protocol.Load())
	return append(dst, b[:]...)
}
