// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/apdu"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// owner serves one stream: it reads a question, does it, answers, and only then reads the next. It is the only one that
// calls the card.
type owner struct {
	readers Readers
	log     *slog.Logger
	stream  *wire.Stream
	serves  *atomic.Pointer[assignment] // nil inside: no reader
	card    Card                        // nil: not connected
	number  uint32                      // of the reader that card is in
	buf     []byte                      // the payload of the last answer
	begun   int                         // transactions within each other, of card
	missed  error                       // what became of card while nobody asked; nil: nothing
	timed   bool                        // the stream has a deadline
}

// errMalformed marks what the agent must not send: it ends the conversation.
type errMalformed struct{ error }

// run serves until the stream ends (nil) or the agent breaks the protocol (Invalid). A card that is then still connected
// is reset: nobody is to find a PIN verified.
func (o *owner) run() error {
	defer func() {
		if o.card != nil {
			o.card.Disconnect(cardbroker.ResetCard)
		}
	}()
	for {
		h, payload, err := o.receive()
		if err != nil && regular(err) == nil {
			return nil
		}
		if err != nil {
			o.refuse(h, err)
			return err
		}
		answer, err := o.serve(h, payload)
		if err == nil {
			err = o.stream.Send(wire.Header{Type: answer, Reader: h.Reader, Seq: h.Seq}, o.buf)
			clear(o.buf) // it may hold a key
		} else if bad, ok := err.(errMalformed); ok {
			o.refuse(h, bad.error)
			return bad.error
		} else {
			err = o.refuse(h, err)
		}
		if err != nil {
			return regular(err)
		}
	}
}

// serve does what the frame asks and returns the type of the answer; its payload is in buf.
func (o *owner) serve(h wire.Header, payload []byte) (wire.Type, error) {
	o.buf = o.buf[:0]
	switch h.Type {
	case wire.TypeConnect:
		m, err := wire.ParseConnect(payload)
		if err != nil {
			return 0, errMalformed{err}
		}
		return wire.TypeConnected, o.connect(h.Reader, m.Share)
	case wire.TypeDisconnect:
		d, err := wire.ParseDisposition(payload)
		if err != nil {
			return 0, errMalformed{err}
		}
		return wire.TypeDone, o.disconnect(d)
	}
	if o.card == nil || h.Reader != o.number {
		return 0, cardbroker.Errorf(cardbroker.CardRemoved, "the reader is not connected, or was removed")
	}
	if err := o.found(); err != nil {
		return 0, err
	}
	switch h.Type {
	case wire.TypeAPDU:
		return wire.TypeAPDUResponse, o.transmit(payload)
	case wire.TypeBegin:
		return wire.TypeDone, o.begin()
	case wire.TypeControl:
		code, input, err := wire.ParseControl(payload)
		if err != nil {
			return 0, errMalformed{err}
		}
		return wire.TypeControlled, o.control(code, input)
	case wire.TypeAttribute:
		id, err := wire.ParseAttribute(payload)
		if err != nil {
			return 0, errMalformed{err}
		}
		return wire.TypeValue, o.attribute(id)
	case wire.TypeEnd:
		d, err := wire.ParseDisposition(payload)
		if err != nil {
			return 0, errMalformed{err}
		}
		return wire.TypeDone, o.end(d)
	}
	return 0, errMalformed{cardbroker.Errorf(cardbroker.Invalid, "a frame of type %d on a reader's stream", h.Type)}
}

func (o *owner) connect(number uint32, share cardbroker.ShareMode) error {
	if o.card != nil {
		return errMalformed{cardbroker.Errorf(cardbroker.Invalid, "a second Connect")}
	}
	serves := o.serves.Load()
	if serves == nil || serves.number != number {
		return cardbroker.Errorf(cardbroker.ReaderUnknown, "the reader was removed")
	}
	card, err := o.readers.Connect(serves.name, share)
	if err != nil {
		return err
	}
	o.card, o.number = card, number
	info := card.Info()
	o.buf = wire.CardIn{Protocol: info.Protocol, ATR: info.ATR}.Append(o.buf)
	return nil
}

// disconnect ends the connection, if there is one.
func (o *owner) disconnect(d cardbroker.Disposition) error {
	if o.card == nil {
		return nil
	}
	card := o.card
	o.card, o.begun, o.missed = nil, 0, nil
	return card.Disconnect(d)
}

func (o *owner) begin() error {
	err := o.card.Begin()
	if err == nil {
		o.begun++
	}
	return err
}

func (o *owner) end(d cardbroker.Disposition) error {
	err := o.card.End(d)
	if err == nil {
		o.begun = max(0, o.begun-1)
	}
	return err
}

// transmit leaves the times and the response in buf. It allocates nothing once buf has grown.
func (o *owner) transmit(command []byte) error {
	if len(command) < apdu.MinCommand || len(command) > apdu.MaxCommand {
		return errMalformed{cardbroker.Errorf(cardbroker.Invalid, "a command APDU has %d bytes", len(command))}
	}
	start := time.Now()
	buf, err := o.card.Transmit(wire.Times{}.Append(o.buf), command) // the place of the times
	card := time.Since(start)
	if err != nil {
		return err
	}
	if n := len(buf) - wire.TimesSize; n < apdu.MinResponse || n > apdu.MaxResponse {
		clear(buf)
		return cardbroker.Errorf(cardbroker.Internal, "the card's response has %d bytes", n)
	}
	wire.Times{Card: card}.Append(buf[:0])
	o.buf = buf
	return nil
}

// control leaves what the reader returned in buf.
func (o *owner) control(code uint32, input []byte) error {
	buf, err := o.card.Control(o.buf, code, input)
	return o.returned(buf, err)
}

// attribute leaves the value in buf.
func (o *owner) attribute(id uint32) error {
	value, err := o.card.Attribute(id)
	return o.returned(append(o.buf, value...), err)
}

// returned takes what a reader returned into buf.
func (o *owner) returned(buf []byte, err error) error {
	if err != nil {
		return err
	}
	if len(buf) > wire.MaxPayload {
		return cardbroker.Errorf(cardbroker.Internal, "the reader returned %d bytes", len(buf))
	}
	o.buf = buf
	return nil
}

// refuse answers with an error. What is not meant for others to see goes to the log.
func (o *owner) refuse(h wire.Header, err error) error {
	o.buf = appendRefusal(o.buf[:0], "cannot serve a reader", err, o.log)
	return o.stream.Send(wire.Header{Type: wire.TypeError, Reader: h.Reader, Seq: h.Seq}, o.buf)
}
