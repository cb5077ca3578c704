// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package apdu

import (
	"bytes"
	"errors"
	"fmt"
)

// The bits of CLA, ISO/IEC 7816-4 §5.4.1.
const (
	chainBit   = 0x10 // further commands of the chain follow
	furtherBit = 0x40 // the class has four channel bits instead of two
)

const insGetResponse = 0xC0 // ISO/IEC 7816-4 §11.5.1

// maxRounds bounds how often [Exchange] asks for more: twice what 64 KiB in answers of 256 bytes takes.
const maxRounds = 512

// Chain splits a command into commands with up to size bytes of data each, which together mean the same to a card that
// supports command chaining, ISO/IEC 7816-4 §5.3.3. All but the last have the chaining bit in CLA and no Le. A size that
// no data can have (it is 1 to 65,535) stands for 255. A command that needs no splitting comes back alone.
func Chain(c Command, size int) []Command {
	if size < 1 || size > MaxData {
		size = MaxShort
	}
	parts := make([]Command, 0, len(c.Data)/size+1)
	for len(c.Data) > size {
		part := c
		part.CLA |= chainBit
		part.Data, c.Data = c.Data[:size:size], c.Data[size:]
		part.Le = 0
		parts = append(parts, part)
	}
	return append(parts, c)
}

// Exchange sends a command and gathers its whole answer: data too long for the form of c go as a chain, 6Cxx sends the
// command once more with the Le that the card asks for, and 61xx fetches the rest by GET RESPONSE on the same logical
// channel. The answer has the last status word and at most 65,536 bytes, which are the caller's. A card that refuses,
// even in the midst of a chain, is an answer and no error.
//
// transmit sends one command APDU and returns the response APDU; neither keeps the other's bytes after that call, and
// transmit's errors are returned as they are. Other errors: c cannot be written ([*SyntaxError], nothing was sent), or
// the card answered what is no response ([*SyntaxError]), too much, or without end.
func Exchange(transmit func(command []byte) ([]byte, error), c Command) (Response, error) {
	x := exchange{transmit: transmit}
	maxData := MaxShort
	if c.Extended {
		maxData = MaxData
	}
	parts := Chain(c, maxData)
	last := len(parts) - 1
	if _, err := parts[last].Append(nil); err != nil {
		return Response{}, err
	}
	for _, part := range parts[:last] {
		if r, err := x.send(part); err != nil || r.SW != Success {
			return Response{Data: bytes.Clone(r.Data), SW: r.SW}, err
		}
	}
	return x.gather(parts[last])
}

// exchange is one command under way.
type exchange struct {
	transmit func([]byte) ([]byte, error)
	buf      []byte // the command, reused from one round to the next
}

// send sends one command and returns its answer; the data are not copied.
func (x *exchange) send(c Command) (Response, error) {
	command, err := c.Append(x.buf[:0])
	if err != nil {
		return Response{}, err
	}
	x.buf = command
	raw, err := x.transmit(command)
	if err != nil {
		return Response{}, err
	}
	return ParseResponse(raw)
}

// gather sends the last command of a chain and fetches all of its answer.
func (x *exchange) gather(c Command) (Response, error) {
	var data []byte
	corrected := false // Le of this c has been put right once
	for range maxRounds {
		r, err := x.send(c)
		if err != nil {
			return Response{}, err
		}
		if le, ok := r.SW.ExpectedLe(); ok && !corrected {
			c.Le, corrected = le, true
			continue
		}
		data = append(data, r.Data...)
		if len(data) > MaxLe {
			return Response{}, fmt.Errorf("the card answers more than %d bytes", MaxLe)
		}
		n, ok := r.SW.More()
		if !ok {
			return Response{Data: data, SW: r.SW}, nil
		}
		c, corrected = GetResponse(c.CLA, n), false
	}
	return Response{}, errors.New("the card says again and again that more data are available")
}

// GetResponse returns the command that fetches n bytes, 1 to 256, on the logical channel of cla, without its chaining and secure
// messaging bits, ISO/IEC 7816-4 §11.5.1.
func GetResponse(cla byte, n int) Command {
	channel := cla & 0x03
	if cla&furtherBit != 0 {
		channel = furtherBit | cla&0x0F
	}
	return Command{CLA: channel, INS: insGetResponse, Le: n}
}
