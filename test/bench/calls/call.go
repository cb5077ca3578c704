// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package calls

// Calls of the PC/SC API, each on a card that another handle of the same program keeps in use.
const (
	List      = "SCardListReaders"
	Status    = "SCardStatus"
	Change    = "SCardGetStatusChange, without a wait"
	Connect   = "SCardConnect and SCardDisconnect"
	Begin     = "SCardBeginTransaction and SCardEndTransaction"
	Transmit  = "SCardTransmit of 255 bytes"
	Reconnect = "SCardReconnect"
	Attribute = "SCardGetAttrib, refused"
)

// All returns all calls.
func All() []string {
	return []string{List, Status, Change, Connect, Begin, Transmit, Reconnect, Attribute}
}

// Block asks the client for one call again and again.
type Block struct {
	Call  string
	Warm  int // first, and not timed
	Count int
}

// Took is its answer: how long the calls took, in microseconds.
type Took struct {
	Samples []float64
	Err     string
}

// Echo is a command that the software card answers with its own 255 bytes of data.
func Echo() []byte {
	const size = 255
	return append([]byte{0x80, 0xEE, 0, 0, size}, make([]byte, size)...)
}

// IsEcho says whether that is the answer.
func IsEcho(answer []byte) bool {
	command := Echo()
	n := len(answer)
	return n == len(command)-3 && answer[n-2] == 0x90 && answer[n-1] == 0
}
