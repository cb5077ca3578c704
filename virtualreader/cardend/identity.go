// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend

import "github.com/cardbroker/cardbroker/virtualreader/wire"

// again answers the last frame once more: the card is not touched.
func (e *exchange) again(kind wire.Type, payload []byte) error {
	if err := e.same(kind, payload); err != nil {
		return err
	}
	return e.send()
}

// same says that a frame is the last one once more.
func (e *exchange) same(kind wire.Type, payload []byte) error {
	before := e.digest
	if e.remember(kind, payload); e.digest != before {
		return invalid("seq %d was another frame before", e.seq)
	}
	return nil
}

// remember keeps what tells the last frame from any other.
func (e *exchange) remember(kind wire.Type, payload []byte) {
	e.mac.Reset()
	e.mac.Write(append(e.scratch[:0], byte(kind)))
	e.mac.Write(payload)
	e.mac.Sum(e.digest[:0])
}

// identity is what a frame is besides its payload: a script that is to be judged is another frame than one that is to be executed.
func identity(head wire.Header) wire.Type {
	return head.Type | wire.Type(head.Flags&wire.FlagJudge)<<6
}
