// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pinpad

import "github.com/cardbroker/cardbroker/apdu"

// The lengths of a PIN that our pin pad takes. Fewer characters would let a template guess the rest (ISO 9564-1 has the
// same least length).
const (
	MinPIN = 4
	MaxPIN = 32
)

// The answers of a pin pad that are not the card's: PC/SC Part 10 §2.5.5.
const (
	TimedOut    apdu.StatusWord = 0x6400 // nobody entered anything in time
	Canceled    apdu.StatusWord = 0x6401 // the user does not want to
	Different   apdu.StatusWord = 0x6402 // the new PIN and its repetition
	WrongLength apdu.StatusWord = 0x6403 // too short, or too long
)

// validationKey says that an entry ends when the user says so: bEntryValidationCondition.
const validationKey = 0x02

// PadFeatures are the features of our own pin pad.
func PadFeatures() Features {
	var features Features
	for _, tag := range []Tag{VerifyPINDirect, ModifyPINDirect, PINProperties, TLVProperties} {
		features = append(features, Feature{Tag: tag, Code: tag.Code()})
	}
	return features
}

// AppendProperties appends PIN_PROPERTIES_STRUCTURE, PC/SC Part 10 §2.6.8: wLcdLayout 0, no display that programs could
// write to; bEntryValidationCondition; bTimeOut2 0, no time of its own for the first key.
func AppendProperties(dst []byte) []byte {
	return append(dst, 0, 0, validationKey, 0)
}

// AppendTLVProperties appends the properties of our pin pad as tag, length and little-endian value, PC/SC Part 10 §2.6.14.
func AppendTLVProperties(dst []byte) []byte {
	return append(dst,
		0x01, 2, 0, 0, // wLcdLayout
		0x02, 1, validationKey, // bEntryValidationCondition
		0x03, 1, 0, // bTimeOut2
		0x06, 1, MinPIN, // bMinPINSize
		0x07, 1, MaxPIN, // bMaxPINSize
		0x09, 1, 0, // bPPDUSupport: none
	)
}
