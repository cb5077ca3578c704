// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker"
)

// Each message has an Append method, which appends its payload, and a Parse function, which is strict: a payload that is
// short, long or out of range is Invalid and its error names the byte.

// Hello opens a tunnel: what the back end asks for.
type Hello struct {
	Share      cardbroker.ShareMode // shared or exclusive
	Lease      time.Duration        // whole seconds; 0: the holder's default
	Durability cardbroker.Durability
}

// Append appends share u32, seconds u32, durability u8.
func (m Hello) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(m.Share))
	dst = binary.BigEndian.AppendUint32(dst, uint32(m.Lease/time.Second))
	return append(dst, byte(m.Durability))
}

// ParseHello reads a [Hello].
func ParseHello(p []byte) (Hello, error) {
	if len(p) != 9 {
		return Hello{}, wrongLength("Hello", len(p), "9")
	}
	share := cardbroker.ShareMode(binary.BigEndian.Uint32(p))
	if share != cardbroker.ShareShared && share != cardbroker.ShareExclusive {
		return Hello{}, invalid("byte 0 of Hello: share mode %d, want shared (2) or exclusive (1)", share)
	}
	if p[8] > byte(cardbroker.DurabilityPower) {
		return Hello{}, invalid("byte 8 of Hello: durability %d, want 0 to %d", p[8], cardbroker.DurabilityPower)
	}
	return Hello{Share: share, Lease: seconds(p[4:]), Durability: cardbroker.Durability(p[8])}, nil
}

// Welcome answers [Hello]: the tunnel is open and a lease is held.
type Welcome struct {
	Tunnel [16]byte          // names the tunnel in logs of both sides
	Epoch  uint64            // the card epoch: rises with each reset, removal and start of agent or sandbox
	Lease  time.Duration     // whole seconds from now
	Grace  time.Duration     // whole seconds that a lease outlives its connection, within its own time
	Resume cardbroker.Secret // cbr1.<route>.<secret>, in place of a ticket, to take the lease up again; empty: it ends with the connection
	Reader string            // the reader's name, at most 127 bytes
}

// Append appends tunnel [16]byte, epoch u64, seconds u32, seconds u32, length of the resume token u8, resume token, reader.
func (m Welcome) Append(dst []byte) []byte {
	dst = append(dst, m.Tunnel[:]...)
	dst = binary.BigEndian.AppendUint64(dst, m.Epoch)
	dst = binary.BigEndian.AppendUint32(dst, uint32(m.Lease/time.Second))
	dst = binary.BigEndian.AppendUint32(dst, uint32(m.Grace/time.Second))
	token := m.Resume.Reveal()
	dst = append(append(dst, byte(len(token))), token...)
	return append(dst, m.Reader...)
}

// ParseWelcome reads a [Welcome].
func ParseWelcome(p []byte) (Welcome, error) {
	const fixed = 32
	if len(p) < fixed {
		return Welcome{}, wrongLength("Welcome", len(p), "33 or more")
	}
	token, reader, ok := cutString(p[fixed:])
	if !ok || len(reader) > maxReaderName {
		return Welcome{}, invalid("byte %d of Welcome: want a resume token and a reader's name of at most %d bytes", fixed, maxReaderName)
	}
	m := Welcome{
		Tunnel: [16]byte(p[:16]),
		Epoch:  binary.BigEndian.Uint64(p[16:]),
		Lease:  seconds(p[24:]),
		Grace:  seconds(p[28:]),
		Reader: string(reader),
	}
	if token != "" {
		m.Resume = cardbroker.NewSecret([]byte(token))
	}
	return m, nil
}

// Resumed answers Resume: the lease goes on over this connection.
type Resumed struct {
	Epoch uint64        // the card epoch now
	Lease time.Duration // whole seconds that are left of it
}

// Append appends epoch u64, seconds u32.
func (m Resumed) Append(dst []byte) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(dst, m.Epoch), uint32(m.Lease/time.Second))
}

// ParseResumed reads a [Resumed].
func ParseResumed(p []byte) (Resumed, error) {
	if len(p) != 12 {
		return Resumed{}, wrongLength("Resumed", len(p), "12")
	}
	return Resumed{Epoch: binary.BigEndian.Uint64(p), Lease: seconds(p[8:])}, nil
}

// AppendProgress appends the payload of Progress: how many steps of the running script were executed, u32.
func AppendProgress(dst []byte, steps uint32) []byte {
	return binary.BigEndian.AppendUint32(dst, steps)
}

// ParseProgress reads what [AppendProgress] wrote.
func ParseProgress(p []byte) (steps uint32, err error) {
	if len(p) != 4 {
		return 0, wrongLength("Progress", len(p), "4")
	}
	return binary.BigEndian.Uint32(p), nil
}

// maxReaderName is the longest reader name, in bytes: PC/SC's 128 with the final zero.
const maxReaderName = 127

// ReaderAdd says that a reader is there; the header's Reader is its number from now on.
type ReaderAdd struct {
	Stream uint8 // which of the sandbox's streams serves it, 1 to 15
	PINPad bool
	Name   string // 1 to 127 bytes
}

// Append appends stream u8, pinpad u8, name.
func (m ReaderAdd) Append(dst []byte) []byte {
	pinpad := byte(0)
	if m.PINPad {
		pinpad = 1
	}
	return append(append(dst, m.Stream, pinpad), m.Name...)
}

// ParseReaderAdd reads a [ReaderAdd].
func ParseReaderAdd(p []byte) (ReaderAdd, error) {
	if len(p) < 3 || len(p) > 2+maxReaderName {
		return ReaderAdd{}, wrongLength("ReaderAdd", len(p), "3 to 129")
	}
	if p[0] < 1 || p[0] >= Streams {
		return ReaderAdd{}, invalid("byte 0 of ReaderAdd: stream %d, want 1 to %d", p[0], Streams-1)
	}
	if p[1] > 1 {
		return ReaderAdd{}, invalid("byte 1 of ReaderAdd: pin pad %d, want 0 or 1", p[1])
	}
	return ReaderAdd{Stream: p[0], PINPad: p[1] == 1, Name: string(p[2:])}, nil
}

// CardIn says which card is in the reader, or was connected to.
type CardIn struct {
	Protocol cardbroker.Protocol
	ATR      []byte // 0 to 33 bytes; none only after a direct connect without a card
}

// Append appends protocol u32, ATR.
func (m CardIn) Append(dst []byte) []byte {
	return append(binary.BigEndian.AppendUint32(dst, uint32(m.Protocol)), m.ATR...)
}

// ParseCardIn reads a [CardIn]. Its ATR is part of p, not a copy.
func ParseCardIn(p []byte) (CardIn, error) {
	if len(p) < 4 || len(p) > 4+33 {
		return CardIn{}, wrongLength("CardIn", len(p), "4 to 37")
	}
	protocol := cardbroker.Protocol(binary.BigEndian.Uint32(p))
	if protocol > cardbroker.ProtocolT1 {
		return CardIn{}, invalid("byte 0 of CardIn: protocol %d, want 0, 1 (T=0) or 2 (T=1)", protocol)
	}
	return CardIn{Protocol: protocol, ATR: p[4:]}, nil
}

// Connect asks for a connection to the card.
type Connect struct {
	Share cardbroker.ShareMode
}

// Append appends share u32.
func (m Connect) Append(dst []byte) []byte {
	return binary.BigEndian.AppendUint32(dst, uint32(m.Share))
}

// ParseConnect reads a [Connect].
func ParseConnect(p []byte) (Connect, error) {
	if len(p) != 4 {
		return Connect{}, wrongLength("Connect", len(p), "4")
	}
	share := cardbroker.ShareMode(binary.BigEndian.Uint32(p))
	if share < cardbroker.ShareExclusive || share > cardbroker.ShareDirect {
		return Connect{}, invalid("byte 0 of Connect: share mode %d, want 1 to 3", share)
	}
	return Connect{Share: share}, nil
}

// AppendDisposition appends the payload of Disconnect and End: disposition u32.
func AppendDisposition(dst []byte, d cardbroker.Disposition) []byte {
	return binary.BigEndian.AppendUint32(dst, uint32(d))
}

// ParseDisposition reads what [AppendDisposition] wrote.
func ParseDisposition(p []byte) (cardbroker.Disposition, error) {
	if len(p) != 4 {
		return 0, wrongLength("a disposition", len(p), "4")
	}
	d := cardbroker.Disposition(binary.BigEndian.Uint32(p))
	if d > cardbroker.EjectCard {
		return 0, invalid("byte 0 of a disposition: %d, want 0 to 3", d)
	}
	return d, nil
}

// AppendControl appends the payload of Control: control code u32, as pcsc-lite numbers them, and the input.
func AppendControl(dst []byte, code uint32, input []byte) []byte {
	return append(binary.BigEndian.AppendUint32(dst, code), input...)
}

// ParseControl reads what [AppendControl] wrote. The input is part of p, not a copy.
func ParseControl(p []byte) (code uint32, input []byte, err error) {
	if len(p) < 4 {
		return 0, nil, wrongLength("Control", len(p), "4 or more")
	}
	return binary.BigEndian.Uint32(p), p[4:], nil
}

// AppendAttribute appends the payload of Attribute: the attribute's number u32, SCARD_ATTR_*.
func AppendAttribute(dst []byte, id uint32) []byte {
	return binary.BigEndian.AppendUint32(dst, id)
}

// ParseAttribute reads what [AppendAttribute] wrote.
func ParseAttribute(p []byte) (id uint32, err error) {
	if len(p) != 4 {
		return 0, wrongLength("Attribute", len(p), "4")
	}
	return binary.BigEndian.Uint32(p), nil
}

// AppendLease appends the payload of Renew and Lease: seconds u32.
func AppendLease(dst []byte, d time.Duration) []byte {
	return binary.BigEndian.AppendUint32(dst, uint32(d/time.Second))
}

// ParseLease reads what [AppendLease] wrote.
func ParseLease(p []byte) (time.Duration, error) {
	if len(p) != 4 {
		return 0, wrongLength("a lease", len(p), "4")
	}
	return seconds(p), nil
}

// Times says where the time of a command went, in whole microseconds. What the asker measured less Agent is the
// network's share.
type Times struct {
	Queue time.Duration // waiting for the reader
	Card  time.Duration // in the card and what drives it
	Agent time.Duration // from the command's arrival at the agent to its answer, with Queue and Card
}

// TimesSize is the length of [Times] in an APDUResponse; the response APDU follows.
const TimesSize = 12

// Append appends queue u32, card u32, agent u32.
func (m Times) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(m.Queue/time.Microsecond))
	dst = binary.BigEndian.AppendUint32(dst, uint32(m.Card/time.Microsecond))
	return binary.BigEndian.AppendUint32(dst, uint32(m.Agent/time.Microsecond))
}

// ParseTimes reads [Times] and returns the response APDU behind them, which is part of p.
func ParseTimes(p []byte) (Times, []byte, error) {
	if len(p) < TimesSize+2 {
		return Times{}, nil, wrongLength("APDUResponse", len(p), "14 or more")
	}
	micros := func(i int) time.Duration {
		return time.Duration(binary.BigEndian.Uint32(p[i:])) * time.Microsecond
	}
	return Times{Queue: micros(0), Card: micros(4), Agent: micros(8)}, p[TimesSize:], nil
}

// maxMessage is the longest message of an [Error], in bytes.
const maxMessage = 1024

// retriesUnknown is cardbroker.RetriesUnknown in an [Error].
const retriesUnknown = 0xFF

// AppendError appends the payload of Error and Revoked: retries u8 (FF: unknown), length of the reason u8, reason, length of the rule
// u8, rule, message. The cause stays behind.
func AppendError(dst []byte, e *cardbroker.Error) []byte {
	message := e.Message
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "") // no character is cut in two
	}
	dst = append(dst, byte(e.Retries), byte(len(e.Reason)))
	dst = append(dst, e.Reason...)
	dst = append(dst, byte(len(e.Rule)))
	dst = append(dst, e.Rule...)
	return append(dst, message...)
}

// ParseError reads what [AppendError] wrote.
func ParseError(p []byte) (*cardbroker.Error, error) {
	if len(p) < 3 {
		return nil, wrongLength("Error", len(p), "3 or more")
	}
	e := &cardbroker.Error{Retries: int(p[0])}
	if p[0] == retriesUnknown {
		e.Retries = cardbroker.RetriesUnknown
	}
	reason, rest, ok := cutString(p[1:])
	if !ok || reason == "" {
		return nil, invalid("byte 1 of Error: the reason's length does not fit")
	}
	rule, message, ok := cutString(rest)
	if !ok {
		return nil, invalid("byte %d of Error: the rule's length does not fit", 2+len(reason))
	}
	if len(message) > maxMessage {
		return nil, wrongLength("the message of Error", len(message), "0 to 1024")
	}
	e.Reason, e.Rule, e.Message = cardbroker.Reason(reason), cardbroker.Rule(rule), string(message)
	return e, nil
}

// cutString takes a string with its length before it, u8, off p.
func cutString(p []byte) (string, []byte, bool) {
	if len(p) == 0 || len(p) < 1+int(p[0]) {
		return "", nil, false
	}
	n := 1 + int(p[0])
	return string(p[1:n]), p[n:], true
}

func seconds(p []byte) time.Duration {
	return time.Duration(binary.BigEndian.Uint32(p)) * time.Second
}

func wrongLength(what string, got int, want string) error {
	return invalid("%s has %d bytes, want %s", what, got, want)
}
