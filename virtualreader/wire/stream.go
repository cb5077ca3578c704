// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"io"
	"net"
)

// Streams is how many streams join an agent and a sandbox. Stream 0 is control: lists and events. Each other one serves
// one reader or slot at a time.
const Streams = 16

// Stream carries frames over a byte stream, with a big-endian u32 length before each. It allocates nothing once its
// buffers have grown to the largest frame seen.
type Stream struct {
	conn net.Conn
	out  []byte // frames that are held
	in   []byte // in[read:fill] is what has arrived and was not returned yet
	read int
	fill int
}

const (
	lengthSize = 4
	firstSize  = 1024 // of the read buffer: all but the rarest frames fit
)

var _ Conn = (*Stream)(nil)

// NewStream returns a stream over conn, which it owns from now on.
func NewStream(conn net.Conn) *Stream {
	return &Stream{conn: conn, in: make([]byte, firstSize)}
}

// Conn returns the connection below, for deadlines.
func (s *Stream) Conn() net.Conn { return s.conn }

// Send sends one frame, and those that are held before it, in one write.
func (s *Stream) Send(h Header, payload []byte) error {
	s.Hold(h, payload)
	_, err := s.conn.Write(s.out)
	clear(s.out) // a command may hold a PIN
	s.out = s.out[:0]
	return err
}

// Hold keeps a frame until the next is sent: the other end wakes up once.
func (s *Stream) Hold(h Header, payload []byte) {
	if size := len(s.out) + lengthSize + HeaderSize + len(payload); size > cap(s.out) {
		held := s.out
		s.out = append(make([]byte, 0, size), held...)
		clear(held)
	}
	s.out = Append(binary.BigEndian.AppendUint32(s.out, uint32(HeaderSize+len(payload))), h, payload)
}

// Receive returns the next frame. After a passed deadline it may be called again and goes on where it was.
func (s *Stream) Receive() (Header, []byte, error) {
	clear(s.in[:s.read]) // an answer may hold a key
	if err := s.need(lengthSize); err != nil {
		return Header{}, nil, err
	}
	size := int(binary.BigEndian.Uint32(s.in[s.read:]))
	if size < HeaderSize || size > MaxFrame {
		return Header{}, nil, invalid("a frame on a stream has %d bytes, want %d to %d", size, HeaderSize, MaxFrame)
	}
	if err := s.need(lengthSize + size); err != nil {
		return Header{}, nil, err
	}
	frame := s.in[s.read+lengthSize : s.read+lengthSize+size]
	s.read += lengthSize + size
	return Parse(frame)
}

// need reads until n bytes are there from s.read on. An end in the middle of a frame is io.ErrUnexpectedEOF.
func (s *Stream) need(n int) error {
	if s.read == s.fill {
		s.read, s.fill = 0, 0
	}
	if s.read+n > len(s.in) {
		in := s.in
		if n > len(in) {
			s.in = make([]byte, n)
		}
		s.fill = copy(s.in, in[s.read:s.fill])
		s.read = 0
	}
	for s.fill-s.read < n {
		got, err := s.conn.Read(s.in[s.fill:])
		s.fill += got
		if err == io.EOF && s.fill > s.read {
			err = io.ErrUnexpectedEOF
		}
		if err != nil && s.fill-s.read < n {
			return err
		}
	}
	return nil
}

// Close closes the connection below.
func (s *Stream) Close() error { return s.conn.Close() }
