// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"os"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// awakeEvery is how long nobody touches a card in a transaction: Windows resets one that nothing has been done with for 5 s
// (SCardBeginTransaction), and a back end that is far away, or asks its HSM, may need longer for its next command.
const awakeEvery = 2500 * time.Millisecond

// attributeATR is SCARD_ATTR_ATR_STRING, PC/SC Part 3 §3.1.2: to ask for it is SCardStatus, and sends the card nothing.
const attributeATR = 0x00090303

// receive returns the next question. While a transaction waits for it, the card is kept awake; at all other times there is
// no timer.
func (o *owner) receive() (wire.Header, []byte, error) {
	for {
		wakes := o.begun > 0 && o.missed == nil
		if wakes || o.timed {
			var at time.Time
			if wakes {
				at = time.Now().Add(awakeEvery)
			}
			if err := o.stream.Conn().SetReadDeadline(at); err != nil {
				return wire.Header{}, nil, err
			}
			o.timed = wakes
		}
		h, payload, err := o.stream.Receive()
		if !wakes || !errors.Is(err, os.ErrDeadlineExceeded) {
			return h, payload, err
		}
		o.touch()
	}
}

// touch does something with the card that it does not notice. What was found out that way is the answer to the next
// question, as if that had found it out: a reset is told once.
func (o *owner) touch() {
	if _, err := o.card.Attribute(attributeATR); cardbroker.ReasonOf(err) != cardbroker.Unsupported {
		o.missed = err
	}
}

// found returns what the last touch has found out, once.
func (o *owner) found() error {
	err := o.missed
	o.missed = nil
	return err
}
