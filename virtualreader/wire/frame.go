// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package wire is the protocol vreader.v1: the frames that run from a card to a back end. One frame is one message; a
// WebSocket message carries it as it is, a byte stream with a length before it ([Stream]). The package turns frames into
// bytes and back and holds no state of a conversation.
//
// A frame is a header of 24 bytes and a payload of at most 128 KiB, all integers big-endian:
//
//	 0      1      2         4             8                 16            24
//	+------+------+---------+-------------+-----------------+-------------+-- payload
//	| ver  | type | flags   | reader u32  | seq u64         | ack u64     |
//	+------+------+---------+-------------+-----------------+-------------+--
package wire

import (
	"encoding/binary"
	"time"

	"github.com/cardbroker/cardbroker"
)

// Subprotocol is the name under which WebSockets carry these frames.
const Subprotocol = "vreader.v1"

// Sizes in bytes.
const (
	HeaderSize = 24
	MaxPayload = 128 << 10
	MaxFrame   = HeaderSize + MaxPayload
)

// An asker sends a Ping each PingInterval; a relay or holder that has heard nothing for MaxSilence takes it for gone. The
// other way there is no such rule: a holder is silent while its card works.
const (
	PingInterval = 20 * time.Second
	MaxSilence   = 70 * time.Second
)

const version = 1

// Type says what a frame is. Types are append-only.
type Type uint8

// The frame types. An answer carries the seq of what it answers. "Asker" is the back end in a tunnel and the agent
// towards its sandbox; "holder" is the other end, which has the card.
const (
	TypeHello        Type = 1  // asker: opens the conversation [Hello]
	TypeWelcome      Type = 2  // holder: answers Hello [Welcome]
	TypeReaderAdd    Type = 3  // holder: a reader is there [ReaderAdd]
	TypeReaderRemove Type = 4  // holder: the reader is gone; no payload
	TypeCardIn       Type = 5  // holder: a card is in the reader [CardIn]
	TypeCardOut      Type = 6  // holder: no card is in the reader; no payload
	TypeConnect      Type = 7  // asker: connects to the card [Connect]
	TypeConnected    Type = 8  // holder: answers Connect, after CardOut and CardIn of cards before [CardIn]
	TypeDisconnect   Type = 9  // asker: ends the connection [Disposition]; answered by Done
	TypeRenew        Type = 10 // asker: prolongs the lease [Lease]
	TypeLease        Type = 11 // holder: answers Renew [Lease]
	TypeRevoked      Type = 12 // holder: the lease has ended before its time [Error]
	TypeBegin        Type = 13 // asker: begins a transaction; no payload; answered by Done
	TypeEnd          Type = 14 // asker: ends the transaction [Disposition]; answered by Done
	TypeAPDU         Type = 15 // asker: a command APDU as payload, 4 to 65,544 bytes
	TypeAPDUResponse Type = 16 // holder: answers APDU [Times], then a response APDU, 2 to 65,538 bytes
	TypePing         Type = 17 // asker: 8 bytes of its choice; outside the count: seq 0
	TypePong         Type = 18 // holder: answers Ping with its payload; seq 0
	TypeError        Type = 19 // holder: the frame of this seq failed [Error]
	TypeDone         Type = 20 // holder: the frame of this seq succeeded; no payload
	TypeWatch        Type = 21 // asker, to a sandbox: send the readers, then every change; no payload
	TypeControl      Type = 22 // asker: calls a function of the reader, SCardControl [AppendControl]
	TypeControlled   Type = 23 // holder: answers Control; what the reader returned as payload
	TypeAttribute    Type = 24 // asker: asks for an attribute of the reader, SCardGetAttrib [AppendAttribute]
	TypeValue        Type = 25 // holder: answers Attribute; the value as payload
	TypeResume       Type = 26 // asker: first on a new connection, takes its lease up again; no payload; seq: of the last frame sent, ack: of the last answer seen
	TypeResumed      Type = 27 // holder: answers Resume [Resumed]; seq 0. The asker's last frame may come before it, again
	TypeScript       Type = 28 // asker: commands to execute in one go, virtualreader/script; FlagMore, FlagJudge
	TypeScriptResult Type = 29 // holder: answers Script, virtualreader/script; FlagMore
	TypeProgress     Type = 30 // holder: how far the running script is [AppendProgress]; seq 0
	TypeSecret       Type = 31 // asker, to a sandbox: a PIN, 1 to 255 bytes, for the Call of the same seq that follows; not answered
	TypeCall         Type = 32 // asker, to a sandbox: a question as JSON, internal/token; FlagMore
	TypeReturn       Type = 33 // holder: answers Call, as JSON; FlagMore

	lastType = TypeReturn
)

// The flags.
const (
	FlagMore  uint16 = 1 << 0 // Script, ScriptResult, Call, Return: the payload goes on in the next frame, which has the same type and seq
	FlagJudge uint16 = 1 << 1 // Script: say what the firewall thinks of it; the card is not touched
)

// flagsOf returns the flags that a type may have.
func flagsOf(t Type) uint16 {
	switch t {
	case TypeScript:
		return FlagMore | FlagJudge
	case TypeScriptResult, TypeCall, TypeReturn:
		return FlagMore
	}
	return 0
}

// Header is the fixed part of a frame.
type Header struct {
	Type   Type
	Flags  uint16
	Reader uint32 // names the reader in a sandbox's conversation; 0 in a tunnel, which has one
	Seq    uint64 // numbers the asker's frames from 1; an answer repeats it; 0: an event, answers nothing
	Ack    uint64 // all answers up to this seq have arrived: the holder may forget them
}

// Append appends the frame of h and payload to dst. It panics if payload is over MaxPayload, which is a fault of the
// program.
func Append(dst []byte, h Header, payload []byte) []byte {
	if len(payload) > MaxPayload {
		panic("BUG: a frame's payload is over wire.MaxPayload")
	}
	dst = append(dst, version, byte(h.Type))
	dst = binary.BigEndian.AppendUint16(dst, h.Flags)
	dst = binary.BigEndian.AppendUint32(dst, h.Reader)
	dst = binary.BigEndian.AppendUint64(dst, h.Seq)
	dst = binary.BigEndian.AppendUint64(dst, h.Ack)
	return append(dst, payload...)
}

// Parse splits a frame. The payload is part of frame, not a copy. A frame that is too short or too long, of another
// version, of an unknown type or with flags that its type does not have is Invalid.
func Parse(frame []byte) (Header, []byte, error) {
	switch {
	case len(frame) < HeaderSize:
		return Header{}, nil, invalid("a frame has %d bytes, want %d or more", len(frame), HeaderSize)
	case len(frame) > MaxFrame:
		return Header{}, nil, invalid("a frame has %d bytes, want %d or less", len(frame), MaxFrame)
	case frame[0] != version:
		return Header{}, nil, invalid("byte 0 of a frame: version %d, want %d", frame[0], version)
	case frame[1] == 0 || Type(frame[1]) > lastType:
		return Header{}, nil, invalid("byte 1 of a frame: unknown type %d", frame[1])
	}
	h := Header{
		Type:   Type(frame[1]),
		Flags:  binary.BigEndian.Uint16(frame[2:]),
		Reader: binary.BigEndian.Uint32(frame[4:]),
		Seq:    binary.BigEndian.Uint64(frame[8:]),
		Ack:    binary.BigEndian.Uint64(frame[16:]),
	}
	if h.Flags&^flagsOf(h.Type) != 0 {
		return Header{}, nil, invalid("byte 2 of a frame: unknown flags %04x", h.Flags)
	}
	return h, frame[HeaderSize:], nil
}

// Conn carries frames between an asker and a holder. Receive and Send may run at the same time, each in one goroutine
// only. After any error but a passed deadline the conversation is over.
type Conn interface {
	// Send sends one frame. It keeps neither payload nor header.
	Send(h Header, payload []byte) error
	// Receive returns the next frame; the payload is valid until the next Receive. A malformed frame is Invalid; the
	// other side's regular end is io.EOF.
	Receive() (Header, []byte, error)
	Close() error
}

// SendFrames sends a payload in as many frames as it needs, all but the last with FlagMore. More than one may only be sent of the
// types that have that flag.
func SendFrames(c Conn, h Header, payload []byte) error {
	for ; len(payload) > MaxPayload; payload = payload[MaxPayload:] {
		more := h
		more.Flags |= FlagMore
		if err := c.Send(more, payload[:MaxPayload]); err != nil {
			return err
		}
	}
	return c.Send(h, payload)
}

func invalid(format string, args ...any) error {
	return cardbroker.Errorf(cardbroker.Invalid, format, args...)
}
