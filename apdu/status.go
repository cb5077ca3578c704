// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package apdu

import (
	"encoding/binary"
	"fmt"
)

// StatusWord is SW1-SW2, the last two bytes of a response APDU, ISO/IEC 7816-4 §5.6.
type StatusWord uint16

// The status words that programs ask for or answer with.
const (
	Success                 StatusWord = 0x9000
	WrongLength             StatusWord = 0x6700
	LastOfChainExpected     StatusWord = 0x6883
	SecurityNotSatisfied    StatusWord = 0x6982
	AuthenticationBlocked   StatusWord = 0x6983
	ConditionsNotSatisfied  StatusWord = 0x6985
	IncorrectData           StatusWord = 0x6A80
	FunctionNotSupported    StatusWord = 0x6A81
	FileNotFound            StatusWord = 0x6A82
	IncorrectP1P2           StatusWord = 0x6A86
	ReferenceNotFound       StatusWord = 0x6A88
	InstructionNotSupported StatusWord = 0x6D00
	ClassNotSupported       StatusWord = 0x6E00
	NoDiagnosis             StatusWord = 0x6F00
)

// MoreData returns 61xx: n further bytes can be had by GET RESPONSE. 256 and more are 6100.
func MoreData(n int) StatusWord {
	if n > 255 {
		n = 0
	}
	return 0x6100 | StatusWord(byte(n))
}

// TriesLeft returns 63Cn: the PIN is wrong and n tries are left. 15 and more are 63CF.
func TriesLeft(n int) StatusWord { return 0x63C0 | StatusWord(min(max(n, 0), 15)) }

// Append appends the two bytes of s to dst.
func (s StatusWord) Append(dst []byte) []byte { return binary.BigEndian.AppendUint16(dst, uint16(s)) }

// String returns s as four upper-case hexadecimal digits, such as "9000".
func (s StatusWord) String() string { return fmt.Sprintf("%04X", uint16(s)) }

// More says for 61xx how many bytes GET RESPONSE can fetch now, 1 to 256; for other words false.
func (s StatusWord) More() (n int, ok bool) { return shortLe(byte(s)), s>>8 == 0x61 }

// ExpectedLe says for 6Cxx with which Le, 1 to 256, the command is to be sent again; for other words false.
func (s StatusWord) ExpectedLe() (le int, ok bool) { return shortLe(byte(s)), s>>8 == 0x6C }

// Retries says for 63Cn how many tries are left, 0 to 15; for other words false.
func (s StatusWord) Retries() (n int, ok bool) { return int(s & 0x0F), s&0xFFF0 == 0x63C0 }

// Words returns what s means, such as "wrong PIN, 2 tries left", ISO/IEC 7816-4 §5.6, tables 5 and 6.
func (s StatusWord) Words() string {
	if n, ok := s.More(); ok {
		return count(n, "byte", "bytes") + " still available"
	}
	if n, ok := s.ExpectedLe(); ok {
		return "wrong Le, " + count(n, "byte", "bytes") + " available"
	}
	if n, ok := s.Retries(); ok {
		return "wrong PIN, " + count(n, "try", "tries") + " left"
	}
	if words := s.exactWords(); words != "" {
		return words
	}
	return s.classWords()
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n, " ", many)
}

// exactWords explains single status words. It is one table, read from top to bottom.
func (s StatusWord) exactWords() string {
	switch s {
	case Success:
		return "success"
	case 0x6281:
		return "part of the data may be corrupted"
	case 0x6282:
		return "end of file or record reached before Le bytes"
	case 0x6283:
		return "selected file deactivated"
	case 0x6285:
		return "selected file in termination state"
	case 0x6300:
		return "verification failed"
	case 0x6381:
		return "file filled up by the last write"
	case 0x6581:
		return "memory failure"
	case WrongLength:
		return "wrong length"
	case 0x6881:
		return "logical channel not supported"
	case 0x6882:
		return "secure messaging not supported"
	case LastOfChainExpected:
		return "last command of the chain expected"
	case 0x6884:
		return "command chaining not supported"
	case 0x6981:
		return "command incompatible with file structure"
	case SecurityNotSatisfied:
		return "security status not satisfied"
	case AuthenticationBlocked:
		return "PIN blocked"
	case 0x6984:
		return "reference data not usable"
	case ConditionsNotSatisfied:
		return "conditions of use not satisfied"
	case 0x6986:
		return "command not allowed, no current file"
	case 0x6987:
		return "secure messaging data objects missing"
	case 0x6988:
		return "incorrect secure messaging data objects"
	case IncorrectData:
		return "incorrect parameters in the data"
	case FunctionNotSupported:
		return "function not supported"
	case FileNotFound:
		return "file or application not found"
	case 0x6A83:
		return "record not found"
	case 0x6A84:
		return "not enough memory in the file"
	case IncorrectP1P2, 0x6B00:
		return "incorrect P1-P2"
	case ReferenceNotFound:
		return "referenced data not found"
	case InstructionNotSupported:
		return "instruction not supported"
	case ClassNotSupported:
		return "class not supported"
	}
	return ""
}

// classWords explains what is known from SW1 alone.
func (s StatusWord) classWords() string {
	switch s >> 8 {
	case 0x62:
		return "warning, state unchanged"
	case 0x63:
		return "warning, state changed"
	case 0x64:
		return "execution error, state unchanged"
	case 0x65:
		return "execution error, state changed"
	case 0x66:
		return "security issue"
	case 0x67:
		return "wrong length"
	case 0x68:
		return "function of the class byte not supported"
	case 0x69:
		return "command not allowed"
	case 0x6A, 0x6B:
		return "wrong parameters"
	case 0x6D:
		return "instruction not supported"
	case 0x6E:
		return "class not supported"
	case 0x6F:
		return "no precise diagnosis"
	}
	return "unknown status word"
}
