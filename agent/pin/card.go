// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pin

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/apdu"
	"github.com/cardbroker/cardbroker/internal/pinpad"
)

// Encoding is how a PIN stands in the data of VERIFY.
type Encoding string

// The encodings.
const (
	EncodingPIV   Encoding = "piv"       // ASCII, filled up with FF to 8 bytes, SP 800-73-4 Part 2 §2.4.3
	EncodingASCII Encoding = "ascii"     // and nothing else
	EncodingBCD   Encoding = "bcd"       // two digits a byte, filled up with F to 8 bytes
	EncodingBlock Encoding = "iso9564-2" // a PIN block of format 2, ISO 9564-1
)

// layouts are the bytes from bmFormatString to wPINMaxExtraDigit's of PIN_VERIFY_STRUCTURE, PC/SC Part 10 §2.5.2, and the data.
func (e Encoding) layout() (format [3]byte, most byte, data string, ok bool) {
	const filler = "\xFF\xFF\xFF\xFF\xFF\xFF\xFF"
	switch e {
	case "", EncodingPIV:
		return [3]byte{0x82, 0x08, 0}, 8, filler + "\xFF", true
	case EncodingASCII:
		return [3]byte{0x82, 0, 0}, pinpad.MaxPIN, "", true
	case EncodingBCD:
		return [3]byte{0x81, 0x08, 0}, 16, filler + "\xFF", true
	case EncodingBlock:
		return [3]byte{0x89, 0x47, 0x04}, 12, "\x20" + filler, true
	}
	return format, 0, "", false
}

// VerifyWish is api.VerifyPIN as it is read: the PIN is never a string.
type VerifyWish struct {
	Reference string `json:"reference"`
	Encoding  string `json:"encoding"`
	AID       string `json:"aid"`
	PIN       Field  `json:"pin"`
	Dialog    bool   `json:"osDialog"`
}

// Command is the VERIFY that is asked for. Errors: Invalid.
func (v *VerifyWish) Command() (Verify, error) {
	reference, err := hex.DecodeString(v.Reference)
	if err != nil || len(reference) != 1 {
		return Verify{}, cardbroker.Errorf(cardbroker.Invalid, "reference: want two hexadecimal digits")
	}
	aid, err := hex.DecodeString(v.AID)
	if err != nil {
		return Verify{}, cardbroker.Errorf(cardbroker.Invalid, "aid: want hexadecimal digits")
	}
	return NewVerify(reference[0], Encoding(v.Encoding), aid)
}

// Verify is a VERIFY command without its PIN, ISO/IEC 7816-4 §11.6.6.
type Verify struct {
	Reference byte // P2
	AID       []byte
	entry     *pinpad.Entry
	structure []byte // PIN_VERIFY_STRUCTURE, for a pin pad
}

// NewVerify returns the command for a PIN of the card's; it is judged as a pin pad's would be. aid, if not empty, names the
// application that is selected first. Errors: Invalid.
func NewVerify(reference byte, encoding Encoding, aid []byte) (Verify, error) {
	format, most, data, ok := encoding.layout()
	if !ok {
		return Verify{}, cardbroker.Errorf(cardbroker.Invalid, "encoding: want piv, ascii, bcd or iso9564-2")
	}
	if n := len(aid); n != 0 && (n < 5 || n > 16) { // ISO/IEC 7816-4 §8.2.1.2
		return Verify{}, cardbroker.Errorf(cardbroker.Invalid, "aid: %d bytes, want 5 to 16", n)
	}
	command := []byte{0x00, insVerify, 0x00, reference}
	if data != "" {
		command = append(append(command, byte(len(data))), data...)
	}
	const wait, standard, english = byte(padTime / time.Second), 0xFF, 0x09 // bTimeOut; bNumberMessage: the reader's own words; wLangId 0409
	structure := []byte{wait, wait, format[0], format[1], format[2], most, pinpad.MinPIN, 2, standard, english, 4, 0, 0, 0, 0}
	structure = append(binary.LittleEndian.AppendUint32(structure, uint32(len(command))), command...)
	entry, err := pinpad.ParseVerify(structure)
	return Verify{Reference: reference, AID: aid, entry: entry, structure: structure}, err
}

const insVerify = 0x20

// Shape says which PINs fit into the command.
func (v Verify) Shape() Shape {
	return Shape{Min: v.entry.Min, Max: v.entry.Max, Digits: v.entry.Digits}
}

// Which names the PIN for its user, as far as that is known.
func (v Verify) Which() string {
	if len(v.AID) == 0 {
		return fmt.Sprintf("PIN %02X", v.Reference)
	}
	return fmt.Sprintf("PIN %02X of application %X", v.Reference, v.AID)
}

// Use tells this PIN of a card from its others.
func (v Verify) Use() string { return fmt.Sprintf("verify %02X %X %+v", v.Reference, v.AID, v.Shape()) }

// Card is a card that nobody else reaches until Close: a local program's turn at one (cards.Sandbox.Turn).
type Card interface {
	Info() cardbroker.Card
	Transmit(ctx context.Context, dst, command []byte) ([]byte, time.Duration, error)
	Control(ctx context.Context, dst []byte, code uint32, input []byte) ([]byte, error)
	Close(d cardbroker.Disposition) error
}

// cardTarget compares PINs by VERIFY.
type cardTarget struct {
	card   Card
	verify Verify
}

var _ Pad = cardTarget{}

// OnCard takes a card, which it owns from now on, and selects the application. Errors: ObjectUnknown (the
// card has no such application), CardUnexpected, and as of Transmit.
func OnCard(ctx context.Context, card Card, v Verify) (Target, error) {
	t := cardTarget{card: card, verify: v}
	if err := t.prepare(ctx); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

func (t cardTarget) prepare(ctx context.Context) error {
	aid := t.verify.AID
	if len(aid) == 0 {
		return nil
	}
	sw, err := t.transmit(ctx, append([]byte{0x00, 0xA4, 0x04, 0x00, byte(len(aid))}, aid...)) // SELECT, ISO/IEC 7816-4 §11.2.2
	if err != nil {
		return err
	}
	_, more := sw.More()
	switch {
	case sw == apdu.Success, more:
		return nil
	case sw == apdu.FileNotFound:
		return cardbroker.Errorf(cardbroker.ObjectUnknown, "the card has no such application")
	}
	return unexpected("SELECT", sw)
}

// Tries asks by a VERIFY without data. Where the PIN is verified already, the card does not say.
func (t cardTarget) Tries(ctx context.Context) (int, bool, error) {
	sw, err := t.transmit(ctx, []byte{0x00, insVerify, 0x00, t.verify.Reference})
	if err != nil {
		return 0, false, err
	}
	if sw == apdu.AuthenticationBlocked {
		return 0, true, nil
	}
	if sw == apdu.ReferenceNotFound {
		return 0, false, cardbroker.Errorf(cardbroker.ObjectUnknown, "the card has no such PIN")
	}
	left, known := sw.Retries()
	return left, known, nil
}

// Verify implements [Target].
func (t cardTarget) Verify(ctx context.Context, pin, _ []byte) error {
	command := t.verify.entry.Command(pin, nil)
	defer clear(command)
	sw, err := t.transmit(ctx, command)
	if err != nil {
		return err
	}
	return compared(sw)
}

// Close resets the card, which ends the transaction.
func (t cardTarget) Close() error { return t.card.Close(cardbroker.ResetCard) }

func (t cardTarget) transmit(ctx context.Context, command []byte) (apdu.StatusWord, error) {
	response, _, err := t.card.Transmit(ctx, nil, command)
	if err != nil {
		return 0, err
	}
	return statusOf(response)
}

// statusOf returns the status word of a response APDU.
func statusOf(response []byte) (apdu.StatusWord, error) {
	n := len(response)
	if n < apdu.MinResponse {
		return 0, fmt.Errorf("a response APDU has %d bytes", n)
	}
	return apdu.StatusWord(binary.BigEndian.Uint16(response[n-2:])), nil
}

func unexpected(what string, sw apdu.StatusWord) error {
	return cardbroker.Errorf(cardbroker.CardUnexpected, "%s is answered %v: %s", what, sw, sw.Words())
}
