// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscd

import (
	"errors"
	"io"
)

// usualInput is how many bytes a connection keeps between messages.
const usualInput = 4096

// input reads messages. What has come of a message that is not complete stays while the reading is interrupted.
type input struct {
	from io.Reader
	buf  []byte
	r, w int // what was read and not taken is buf[r:w]
}

// message is one message of a client. Its slices are valid until the next is read.
type message struct {
	command command
	body    []byte
	data    []byte // of a transmit or control request
}

// errMalformed ends a connection, as with pcscd.
var errMalformed = errors.New("not a message of a PC/SC client")

// next returns the next message. An error of the reader may be followed by another try, errMalformed may not.
func (in *input) next() (message, error) {
	if in.r == in.w {
		in.rest()
	}
	head, err := in.need(headerSize)
	if err != nil {
		return message{}, err
	}
	m := message{command: command(get(head, 4))}
	size, known := m.command.bodySize()
	if !known || get(head, 0) != uint32(size) {
		return message{}, errMalformed
	}
	all, err := in.need(headerSize + size)
	if err != nil {
		return message{}, err
	}
	data := m.command.dataSize(all[headerSize:])
	if data > maxData {
		return message{}, errMalformed
	}
	if all, err = in.need(headerSize + size + int(data)); err != nil {
		return message{}, err
	}
	m.body, m.data = all[headerSize:headerSize+size], all[headerSize+size:]
	in.r += len(all)
	return m, nil
}

// need returns the next n bytes, which it does not take.
func (in *input) need(n int) ([]byte, error) {
	if in.r+n > len(in.buf) {
		buf := in.buf
		if n > len(buf) {
			buf = make([]byte, n)
		}
		w := copy(buf, in.buf[in.r:in.w])
		if len(buf) != len(in.buf) {
			clear(in.buf)
		}
		in.buf, in.r, in.w = buf, 0, w
	}
	for in.w-in.r < n {
		got, err := in.from.Read(in.buf[in.w:])
		in.w += got
		if err != nil && in.w-in.r < n {
			return nil, err
		}
	}
	return in.buf[in.r : in.r+n], nil
}

// rest forgets the messages that were taken, for they may hold a PIN, and the room that a large one took.
func (in *input) rest() {
	clear(in.buf)
	in.r, in.w = 0, 0
	if len(in.buf) != usualInput {
		in.buf = make([]byte, usualInput)
	}
}
