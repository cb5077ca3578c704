// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcsc

import "github.com/cardbroker/cardbroker"

// stage is how far a call had come, which decides what a failure means.
type stage int

const (
	opening stage = iota // listing readers, or connecting
	holding              // on a connection, and not to the card
	sending              // the card may have the command
)

// meaning is what a number that a PC/SC call returned stands for. A row without a reason for a stage is the default's.
type meaning struct {
	code    uint32 // SCARD_*, or on Windows also ERROR_*
	message string // safe to show
	opening cardbroker.Reason
	holding cardbroker.Reason
	sending cardbroker.Reason // only where the card has not seen the command, else Indeterminate
}

// The numbers that the code itself asks for, as winscard.h has them.
const (
	codeCancelled       uint32 = 0x80100002
	codeInvalidHandle   uint32 = 0x80100003
	codeNoMemory        uint32 = 0x80100006
	codeShortBuffer     uint32 = 0x80100008
	codeUnknownReader   uint32 = 0x80100009
	codeTimeout         uint32 = 0x8010000A
	codeNoSmartcard     uint32 = 0x8010000C
	codeProtoMismatch   uint32 = 0x8010000F
	codeSystemCancelled uint32 = 0x80100012
	codeCommError       uint32 = 0x80100013
	codeNotTransacted   uint32 = 0x80100016
	codeUnavailable     uint32 = 0x80100017
	codeShutdown        uint32 = 0x80100018
	codeNoService       uint32 = 0x8010001D
	codeServiceStopped  uint32 = 0x8010001E
	codeNoReaders       uint32 = 0x8010002E
	codeReset           uint32 = 0x80100068
	codeRemoved         uint32 = 0x80100069
	codeDenied          uint32 = 0x8010006A // SECURITY_VIOLATION; pcsc-lite says so also where the service resets the line
)

// meanings is the table. What is not in it, or has no reason at its stage, is Internal, or Indeterminate once the card may
// have the command. Removals and failures of the line are Indeterminate then: services say the same whether the card has
// got the command or not, but for REMOVED_CARD and RESET_CARD, which are found before anything is sent.
func meanings() []meaning {
	const (
		absent        = cardbroker.CardAbsent
		busy          = cardbroker.ReaderBusy
		canceled      = cardbroker.Canceled
		forbidden     = cardbroker.Forbidden
		indeterminate = cardbroker.Indeterminate
		invalid       = cardbroker.Invalid
		mute          = cardbroker.CardMute
		overloaded    = cardbroker.Overloaded
		removed       = cardbroker.CardRemoved
		reset         = cardbroker.CardReset
		timeout       = cardbroker.Timeout
		unavailable   = cardbroker.Unavailable
		unknown       = cardbroker.ReaderUnknown
		unsupported   = cardbroker.Unsupported
	)
	return append([]meaning{
		{codeCancelled, "the call was cancelled", canceled, canceled, indeterminate},
		{codeInvalidHandle, "the connection to the PC/SC service has ended", unavailable, removed, removed},
		{0x80100004, "the PC/SC service refuses the parameters", invalid, invalid, invalid}, // INVALID_PARAMETER
		{codeNoMemory, "the PC/SC service is out of memory or handles", overloaded, overloaded, indeterminate},
		{0x80100007, "the PC/SC service waited too long", timeout, timeout, indeterminate}, // WAITED_TOO_LONG
		{codeShortBuffer, "the answer is too long", "", "", indeterminate},
		{codeUnknownReader, "the reader was removed", unknown, removed, removed},
		{codeTimeout, "no answer in time", timeout, timeout, indeterminate},
		{0x8010000B, "another program uses the reader", busy, busy, busy}, // SHARING_VIOLATION
		{codeNoSmartcard, "no card is in the reader", absent, removed, indeterminate},
		{0x8010000D, "the card is not supported", unsupported, unsupported, indeterminate},               // UNKNOWN_CARD
		{0x8010000E, "the reader cannot do that with the card", unsupported, unsupported, indeterminate}, // CANT_DISPOSE
		{codeProtoMismatch, "card and reader have no protocol in common", unsupported, unsupported, unsupported},
		{0x80100010, "the reader is not ready", busy, busy, busy},                           // NOT_READY
		{0x80100011, "the PC/SC service refuses the parameters", invalid, invalid, invalid}, // INVALID_VALUE
		{codeSystemCancelled, "the system is shutting down, or the user logs off", unavailable, unavailable, indeterminate},
		{codeCommError, "the PC/SC service broke off", unavailable, unavailable, indeterminate},
		{0x80100015, "the card's ATR is malformed", mute, mute, indeterminate}, // INVALID_ATR
		{codeNotTransacted, "the reader does not reach the card", mute, mute, indeterminate},
		{codeUnavailable, "the reader was removed", unknown, removed, indeterminate},
		{codeShutdown, "the system is shutting down", unavailable, unavailable, indeterminate},
		{0x8010001A, "the reader is not supported", unsupported, unsupported, indeterminate}, // READER_UNSUPPORTED
		{0x8010001C, "the card is not supported", unsupported, unsupported, indeterminate},   // CARD_UNSUPPORTED
		{codeNoService, "the PC/SC service does not run", unavailable, unavailable, indeterminate},
		{codeServiceStopped, "the PC/SC service has stopped", unavailable, unavailable, indeterminate},
		{codeUnsupported, "the reader has no such function", unsupported, unsupported, indeterminate},
		{0x80100027, "the system denies access to the reader", forbidden, forbidden, forbidden}, // NO_ACCESS
		{codeNoReaders, "there is no reader", unknown, removed, indeterminate},
		{0x8010002F, "the reader does not reach the card", mute, mute, indeterminate},      // COMM_DATA_LOST
		{0x80100031, "the PC/SC service is busy", overloaded, overloaded, indeterminate},   // SERVER_TOO_BUSY
		{0x80100065, "the card is not supported", unsupported, unsupported, indeterminate}, // UNSUPPORTED_CARD
		{0x80100066, "the card does not answer", mute, mute, indeterminate},                // UNRESPONSIVE_CARD
		{0x80100067, "the card has no power", mute, mute, mute},                            // UNPOWERED_CARD
		{codeReset, "another program reset the card", reset, reset, reset},
		{codeRemoved, "the card was removed", removed, removed, removed},
		{codeDenied, "the PC/SC service denies access, or broke off", forbidden, unavailable, indeterminate},
		{0x8010006E, "the user cancelled", canceled, canceled, indeterminate}, // CANCELLED_BY_USER
	}, systemMeanings()...)
}

// explain returns what err, which a call returned as code, is at that stage.
func explain(err error, code uint32, at stage) error {
	reason, message := cardbroker.Internal, "the PC/SC service failed"
	if at == sending {
		reason = cardbroker.Indeterminate
	}
	for _, m := range meanings() {
		if m.code != code {
			continue
		}
		message = m.message
		if r := m.reason(at); r != "" {
			reason = r
		}
	}
	if reason == cardbroker.Indeterminate {
		message += "; the card may have run the command"
	}
	return cardbroker.Wrapf(err, reason, "%s", message)
}

func (m meaning) reason(at stage) cardbroker.Reason {
	switch at {
	case opening:
		return m.opening
	case holding:
		return m.holding
	}
	return m.sending
}

// isLost says whether the context is of no use any more: the service has ended, or is another one by now.
func isLost(code uint32) bool {
	switch code {
	case codeInvalidHandle, codeSystemCancelled, codeCommError, codeShutdown, codeNoService, codeServiceStopped, codeDenied:
		return true
	}
	return isSystemLost(code)
}
