// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscd

import "github.com/cardbroker/cardbroker"

// Codes of the answers, PC/SC Part 5 §3.3, numbered as pcsc-lite does.
const (
	success            uint32 = 0
	internalError      uint32 = 0x80100001
	cancelled          uint32 = 0x80100002
	invalidHandle      uint32 = 0x80100003
	invalidParameter   uint32 = 0x80100004
	noMemory           uint32 = 0x80100006
	insufficientBuffer uint32 = 0x80100008
	unknownReader      uint32 = 0x80100009
	timeout            uint32 = 0x8010000A
	sharingViolation   uint32 = 0x8010000B
	noSmartcard        uint32 = 0x8010000C
	protoMismatch      uint32 = 0x8010000F
	invalidValue       uint32 = 0x80100011
	systemCancelled    uint32 = 0x80100012
	commError          uint32 = 0x80100013
	notTransacted      uint32 = 0x80100016
	readerUnavailable  uint32 = 0x80100017
	serviceStopped     uint32 = 0x8010001E
	unsupportedFeature uint32 = 0x8010001F
	serverTooBusy      uint32 = 0x80100031
	unresponsiveCard   uint32 = 0x80100066
	resetCard          uint32 = 0x80100068
	removedCard        uint32 = 0x80100069
	securityViolation  uint32 = 0x8010006A
)

// Code returns the SCARD_* code that tells a client of err.
//
// libpcsclite repeats by itself, for ever, what was answered with a sharing violation, and nothing else. So only
// ReaderBusy and Overloaded, which say that the card has seen nothing, become one. A command whose fate is unknown (Indeterminate,
// Timeout, Canceled) becomes a code that programs take for a failure, and the card counts as reset afterwards: whoever
// repeats the command blindly gets SCARD_W_RESET_CARD until he reconnects.
func Code(err error) uint32 {
	switch cardbroker.ReasonOf(err) {
	case "":
		return success
	case cardbroker.ReaderBusy, cardbroker.Overloaded:
		return sharingViolation
	case cardbroker.CardRemoved:
		return removedCard
	case cardbroker.CardReset:
		return resetCard
	case cardbroker.CardAbsent:
		return noSmartcard
	case cardbroker.CardMute:
		return unresponsiveCard
	case cardbroker.ReaderUnknown, cardbroker.Unavailable, cardbroker.NoAgent, cardbroker.AgentRestarting, cardbroker.NoLeader:
		return readerUnavailable
	case cardbroker.Indeterminate:
		return commError
	case cardbroker.Timeout:
		return timeout
	case cardbroker.Canceled:
		return systemCancelled
	case cardbroker.Invalid:
		return invalidParameter
	case cardbroker.TooLarge:
		return insufficientBuffer
	case cardbroker.Unsupported:
		return unsupportedFeature
	case cardbroker.Forbidden, cardbroker.Unauthenticated, cardbroker.ConsentRequired, cardbroker.OriginDenied,
		cardbroker.TenantDenied, cardbroker.CallerRefused, cardbroker.ReaderSharedHost:
		return securityViolation
	}
	return internalError
}
