// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package pinpad is PC/SC Part 10: what a reader that asks for PINs by itself says of its features, and the structures in
// which a program tells it where in a command the PIN goes ([Entry]). The program may be a stranger: an Entry is judged, so
// that a PIN goes nowhere but where a card compares or replaces it. The package asks nobody and holds no state.
package pinpad

import (
	"encoding/binary"

	"github.com/cardbroker/cardbroker"
)

// GetFeatureRequest is the control code that asks a reader for its [Features], PC/SC Part 10 §2.2, as pcsc-lite numbers
// control codes: SCARD_CTL_CODE(3400). Our frames carry these numbers on every system.
const GetFeatureRequest uint32 = 0x42000000 + 3400

// Tag names a feature, PC/SC Part 10 §2.3.
type Tag uint8

// The features that we know.
const (
	VerifyPINDirect Tag = 0x06
	ModifyPINDirect Tag = 0x07
	PINProperties   Tag = 0x0A
	TLVProperties   Tag = 0x12
)

// featureCodes is where pcsc-lite's drivers, and we, have the functions of pin pads.
const featureCodes uint32 = 0x42330000

// Code is the control code that calls the feature on our own pin pad.
func (t Tag) Code() uint32 { return featureCodes + uint32(t) }

// Reserved says whether a control code is one of a pin pad's, which a program may not have called on a real reader: it
// would ask for a PIN and put it into a command that nobody has judged.
func Reserved(code uint32) bool {
	return code&^0xFF == featureCodes || code == GetFeatureRequest
}

// Feature is one function of a reader, and the control code that calls it.
type Feature struct {
	Tag  Tag
	Code uint32
}

// Features are the answer to [GetFeatureRequest].
type Features []Feature

// featureSize is the length of one feature: tag, length 4, big-endian control code.
const featureSize = 6

// ParseFeatures reads an answer to [GetFeatureRequest]. Errors: Invalid.
func ParseFeatures(p []byte) (Features, error) {
	if len(p)%featureSize != 0 {
		return nil, cardbroker.Errorf(cardbroker.Invalid, "a reader's features have %d bytes, want a multiple of %d", len(p), featureSize)
	}
	var features Features
	for i := 0; i < len(p); i += featureSize {
		if p[i+1] != featureSize-2 {
			return nil, cardbroker.Errorf(cardbroker.Invalid, "byte %d of a reader's features: length %d, want %d", i+1, p[i+1], featureSize-2)
		}
		features = append(features, Feature{Tag: Tag(p[i]), Code: binary.BigEndian.Uint32(p[i+2:])})
	}
	return features, nil
}

// Append appends the features as [ParseFeatures] reads them.
func (f Features) Append(dst []byte) []byte {
	for _, feature := range f {
		dst = append(dst, byte(feature.Tag), featureSize-2)
		dst = binary.BigEndian.AppendUint32(dst, feature.Code)
	}
	return dst
}

// Code returns the control code of a feature.
func (f Features) Code(tag Tag) (code uint32, ok bool) {
	for _, feature := range f {
		if feature.Tag == tag {
			return feature.Code, true
		}
	}
	return 0, false
}
