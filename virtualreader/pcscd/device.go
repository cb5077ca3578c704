// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscd

import (
	"context"
	"encoding/binary"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/apdu"
)

// Calls that reach the card or its reader.

// minAnswer is the least room for a response: its status word.
const minAnswer = apdu.MinResponse

// transmit sends a command to the card and its response to the client.
func (c *client) transmit(ctx context.Context, h *handle, m message) error {
	const bodySize, atRoom, atCode = 32, 24, 28
	c.out = append(c.out[:0], m.body...)
	code := c.exchange(ctx, h, m, get(m.body, atRoom))
	n := len(c.out) - bodySize
	if code == success && uint32(n) > get(m.body, atRoom) {
		code = insufficientBuffer
	}
	put(c.out, 16, get(c.out, 4)) // the protocol of the answer
	put(c.out, 20, get(c.out, 8))
	put(c.out, atRoom, uint32(n))
	put(c.out, atCode, code)
	if code != success {
		clear(c.out[bodySize:])
		c.out = c.out[:bodySize]
	}
	return c.sendOut()
}

// exchange appends the card's response to what is to be sent.
func (c *client) exchange(ctx context.Context, h *handle, m message, room uint32) uint32 {
	switch n := len(m.data); {
	case n < apdu.MinCommand || n > apdu.MaxCommand:
		return invalidParameter
	case room < minAnswer:
		return insufficientBuffer
	}
	if code := h.enter(ctx); code != success {
		return code
	}
	r := h.reader
	defer r.leave()
	protocol := get(m.body, 4)
	switch {
	case r.protocol.Load() == uint32(cardbroker.ProtocolUndefined), protocol&r.protocol.Load() == 0 && protocol != anyProtocol:
		return protoMismatch
	case r.up.card == nil || r.up.direct || r.up.epoch != r.epoch.Load():
		return removedCard
	}
	put(c.out, 4, r.protocol.Load())
	out, err := r.up.card.Transmit(ctx, c.out, m.data)
	if err != nil {
		return c.server.failed(r, err)
	}
	c.out = out
	return success
}

// sendOut sends the answer that was gathered, and forgets it: it may hold a key.
func (c *client) sendOut() error {
	err := c.send(c.out)
	clear(c.out)
	if cap(c.out) > usualInput {
		c.out = nil
	}
	return err
}

// control sends a request to the reader.
func (c *client) control(ctx context.Context, h *handle, m message) error {
	const bodySize, atRoom, atCount, atCode = 24, 12, 16, 20
	c.out = append(c.out[:0], m.body...)
	code := c.request(ctx, h, get(m.body, 4), m.data)
	n := len(c.out) - bodySize
	if code == success && (n > maxData || uint32(n) > get(m.body, atRoom)) {
		code = insufficientBuffer
	}
	put(c.out, atCount, uint32(n))
	put(c.out, atCode, code)
	if code != success {
		clear(c.out[bodySize:])
		c.out = c.out[:bodySize]
	}
	return c.sendOut()
}

// request appends the reader's answer to what is to be sent.
func (c *client) request(ctx context.Context, h *handle, code uint32, data []byte) uint32 {
	if code := h.enter(ctx); code != success {
		return code
	}
	r := h.reader
	defer r.leave()
	if code := c.reach(ctx, h); code != success {
		return code
	}
	out, err := r.up.card.Control(ctx, c.out, code, data)
	if err != nil {
		return c.deviceFailed(r, err)
	}
	c.out = out
	return success
}

// reach opens a connection for a direct handle, which has none before it is used. The caller has the turn.
func (c *client) reach(ctx context.Context, h *handle) uint32 {
	r := h.reader
	if r.up.card != nil && r.up.epoch == r.epoch.Load() {
		return success
	}
	if h.share != cardbroker.ShareDirect {
		return removedCard
	}
	return deviceCode(c.server.open(ctx, r, cardbroker.ShareDirect))
}

// deviceFailed is [Server.failed] for what is not a command.
func (c *client) deviceFailed(r *reader, err error) uint32 {
	c.server.failed(r, err)
	return deviceCode(err)
}

// deviceCode is [Code] for what is not a command: there, policy's no is that of a reader that cannot do it.
func deviceCode(err error) uint32 {
	if cardbroker.ReasonOf(err) == cardbroker.Forbidden {
		return unsupportedFeature
	}
	return Code(err)
}

// attribute answers with an attribute of the reader.
func (c *client) attribute(ctx context.Context, h *handle, body []byte) error {
	const atValue, atSize, atCode = 8, 8 + attrSize, 8 + attrSize + 4
	room := get(body, atSize)
	if room > attrSize {
		return errMalformed
	}
	value, code := c.lookUp(ctx, h, get(body, 4))
	if code == success && len(value) > int(room) {
		code = insufficientBuffer
	}
	clear(body[atValue:atSize])
	if code == success {
		copy(body[atValue:atSize], value)
	}
	put(body, atSize, uint32(len(value)))
	return c.answer(body, atCode, code)
}

// Attributes, PC/SC Part 3 §3.1.2, that the server knows by itself.
const (
	attrVendorName   = 0x00010100
	attrMaxInput     = 0x0007A007
	attrPresence     = 0x00090300
	attrInterface    = 0x00090301
	attrATR          = 0x00090303
	attrType         = 0x00090304
	attrProtocol     = 0x00080201
	attrDeviceUnit   = 0x7FFF0001
	attrInUse        = 0x7FFF0002
	attrFriendlyName = 0x7FFF0003
	attrSystemName   = 0x7FFF0004
)

// vendorName is what the readers are made of.
const vendorName = "cardbroker"

// lookUp returns the value of an attribute.
func (c *client) lookUp(ctx context.Context, h *handle, id uint32) ([]byte, uint32) {
	if code := h.usable(); code != success {
		return nil, code
	}
	r := h.reader
	var card *cardbroker.Card
	users := 0
	c.server.do(func(*state) { card, users = r.card, len(r.handles) })
	present := card != nil
	switch id {
	case attrVendorName:
		return []byte(vendorName + "\x00"), success
	case attrFriendlyName, attrSystemName:
		return []byte(r.name + "\x00"), success
	case attrDeviceUnit:
		return number(r.unit), success
	case attrInUse:
		return number(uint32(users)), success
	case attrMaxInput:
		return number(apdu.MaxCommand), success
	case attrProtocol:
		return number(r.protocol.Load()), success
	case attrPresence:
		return []byte{pick(present, 2, 0)}, success // in place, or absent
	case attrInterface, attrType:
		return []byte{pick(present && len(card.ATR) > 0, 1, 0)}, success // active; of ISO/IEC 7816
	case attrATR:
		if !present {
			return nil, noSmartcard
		}
		return card.ATR, success
	}
	return c.ask(ctx, h, id)
}

// ask asks the reader for an attribute.
func (c *client) ask(ctx context.Context, h *handle, id uint32) ([]byte, uint32) {
	if code := h.enter(ctx); code != success {
		return nil, code
	}
	r := h.reader
	defer r.leave()
	if code := c.reach(ctx, h); code != success {
		return nil, code
	}
	value, err := r.up.card.Attribute(ctx, id)
	switch {
	case err != nil:
		return nil, c.deviceFailed(r, err)
	case len(value) > attrSize:
		return nil, insufficientBuffer
	}
	return value, success
}

func number(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

func pick(condition bool, yes, no byte) byte {
	if condition {
		return yes
	}
	return no
}
