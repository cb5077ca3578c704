// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcsc

import (
	"github.com/ebfe/scard"

	"github.com/cardbroker/cardbroker"
)

// codeUnsupported is SCARD_E_UNSUPPORTED_FEATURE of Windows.
const codeUnsupported uint32 = 0x80100022

// codeBrokenPipe is ERROR_BROKEN_PIPE: in a remote session, the client's end of redirected readers is gone.
const codeBrokenPipe uint32 = 109

// systemMeanings are the numbers that Windows and its readers' drivers use beside those of PC/SC.
func systemMeanings() []meaning {
	const (
		indeterminate = cardbroker.Indeterminate
		unavailable   = cardbroker.Unavailable
		unsupported   = cardbroker.Unsupported
	)
	return []meaning{
		{1, "the reader has no such function", unsupported, unsupported, indeterminate},                                   // ERROR_INVALID_FUNCTION
		{5, "the system denies access to the reader", cardbroker.Forbidden, cardbroker.Forbidden, cardbroker.Forbidden},   // ERROR_ACCESS_DENIED
		{6, "the connection to the PC/SC service has ended", unavailable, cardbroker.CardRemoved, cardbroker.CardRemoved}, // ERROR_INVALID_HANDLE
		{22, "the reader has no such function", unsupported, unsupported, indeterminate},                                  // ERROR_BAD_COMMAND
		{50, "the reader has no such function", unsupported, unsupported, indeterminate},                                  // ERROR_NOT_SUPPORTED
		{codeBrokenPipe, "the PC/SC service broke off", unavailable, unavailable, indeterminate},
		{1167, "the reader was removed", cardbroker.ReaderUnknown, cardbroker.CardRemoved, indeterminate}, // ERROR_DEVICE_NOT_CONNECTED
	}
}

func isSystemLost(code uint32) bool { return code == codeBrokenPipe }

// place says where the service is looked for.
func place() string { return "the Smart Card service of Windows" }

// hangUp ends the connection and its transaction, and does d with the card.
func (c *connection) hangUp(d cardbroker.Disposition) error {
	return c.card.Disconnect(scard.Disposition(d))
}

// leave ends a connection that did nothing with a card.
func leave(card *scard.Card) { card.Disconnect(scard.LeaveCard) }
