// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/apdu"
)

// Play is a card that answers as the one of a trace did. It looks for a command in the trace from the place on where the last
// one was found, and then from the beginning: so it follows the order of the trace where it is kept, and finds the rest, too. Of a
// redacted command the header and the number of data bytes count, of one with unknown bytes the others. What is not in the trace is
// answered 6F00, and what was redacted without data.
type Play struct {
	header  Header
	card    cardbroker.Card
	answers []answer
	at      int    // where to look first
	rest    []byte // of a gathered answer, to be fetched with GET RESPONSE
	last    apdu.StatusWord
}

// answer is one line that has one.
type answer struct {
	command  []byte // nil: redacted, and header and lc say which
	known    []bool // of each byte of command
	header   []byte
	lc       int
	data     []byte
	sw       apdu.StatusWord
	gathered bool
}

// Parse reads a trace. One that is malformed is Invalid, and the error names the line.
func Parse(text []byte) (*Play, error) {
	p := &Play{}
	n := 0
	for raw := range bytes.Lines(text) {
		n++
		if err := p.parseLine(n, raw); err != nil {
			return nil, cardbroker.Errorf(cardbroker.Invalid, "line %d of the trace: %v", n, err)
		}
	}
	if n == 0 {
		return nil, cardbroker.Errorf(cardbroker.Invalid, "the trace is empty")
	}
	return p, nil
}

func (p *Play) parseLine(n int, raw []byte) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	var l line
	var err error
	if n == 1 {
		err = d.Decode(&p.header)
	} else {
		err = d.Decode(&l)
	}
	switch {
	case err != nil:
		return err
	case d.InputOffset() < int64(len(bytes.TrimRight(raw, "\r\n"))):
		return fmt.Errorf("there is more than one value")
	case n == 1:
		return p.parseHeader()
	case l.SW == "":
		return nil // it failed
	}
	return p.add(l)
}

func (p *Play) parseHeader() error {
	if p.header.Version != version {
		return fmt.Errorf("it has the form %d, want %d", p.header.Version, version)
	}
	atr, err := hex.DecodeString(p.header.ATR)
	if err == nil {
		_, err = apdu.ParseATR(atr)
	}
	if err != nil {
		return fmt.Errorf("the ATR: %v", err)
	}
	p.card.ATR = atr
	switch p.header.Protocol {
	case cardbroker.ProtocolT0.String():
		p.card.Protocol = cardbroker.ProtocolT0
	case cardbroker.ProtocolT1.String():
		p.card.Protocol = cardbroker.ProtocolT1
	default:
		return fmt.Errorf("the protocol is not T0 or T1")
	}
	return nil
}

func (p *Play) add(l line) error {
	a := answer{lc: l.Lc, gathered: l.Gathered}
	sw, err := strconv.ParseUint(l.SW, 16, 16)
	if err != nil || len(l.SW) != 4 {
		return fmt.Errorf("sw is no status word")
	}
	a.sw = apdu.StatusWord(sw)
	if l.Response != nil {
		if a.data, err = hex.DecodeString(*l.Response); err != nil || len(a.data) > apdu.MaxLe {
			return fmt.Errorf("response is no data of an answer in hexadecimal")
		}
	}
	if l.Command == "" {
		if a.header, err = hex.DecodeString(l.Header); err != nil || len(a.header) != 4 {
			return fmt.Errorf("want a command, or a header of 4 bytes")
		}
	} else if a.command, a.known, err = parseMasked(l.Command); err != nil {
		return err
	}
	p.answers = append(p.answers, a)
	return nil
}

// parseMasked reads a command in which .. is a byte that is not known.
func parseMasked(text string) (command []byte, known []bool, err error) {
	if len(text)%2 != 0 || len(text)/2 < apdu.MinCommand || len(text)/2 > apdu.MaxCommand {
		return nil, nil, fmt.Errorf("command is no command APDU in hexadecimal")
	}
	for i := 0; i < len(text); i += 2 {
		b, is := uint64(0), text[i:i+2] != ".."
		if is {
			if b, err = strconv.ParseUint(text[i:i+2], 16, 8); err != nil {
				return nil, nil, fmt.Errorf("command is no command APDU in hexadecimal")
			}
		}
		command, known = append(command, byte(b)), append(known, is)
	}
	return command, known, nil
}

// Card describes the card of the trace.
func (p *Play) Card() cardbroker.Card { return p.card }

// Reset goes back to the beginning, as the card did.
func (p *Play) Reset() { p.at, p.rest = 0, nil }

// Transmit appends the response APDU to dst.
func (p *Play) Transmit(dst, command []byte) []byte {
	c, err := apdu.ParseCommand(command)
	if err != nil {
		return apdu.WrongLength.Append(dst)
	}
	rest := p.rest
	p.rest = nil
	if c.INS == insGetResponse && rest != nil {
		return p.part(dst, rest, p.last, c.Le)
	}
	for i := range p.answers {
		at := (p.at + i) % len(p.answers)
		a := &p.answers[at]
		if !a.is(command, c) {
			continue
		}
		p.at = at + 1
		if a.gathered {
			return p.part(dst, a.data, a.sw, c.Le)
		}
		return a.sw.Append(append(dst, a.data...))
	}
	return apdu.NoDiagnosis.Append(dst)
}

// is says whether an answer is that to a command.
func (a *answer) is(command []byte, c apdu.Command) bool {
	if a.command == nil {
		return bytes.Equal(a.header, command[:4]) && a.lc == len(c.Data)
	}
	if len(a.command) != len(command) {
		return false
	}
	for i, b := range command {
		if a.known[i] && a.command[i] != b {
			return false
		}
	}
	return true
}

// part appends up to le bytes of data and keeps the rest for GET RESPONSE.
func (p *Play) part(dst, data []byte, sw apdu.StatusWord, le int) []byte {
	if len(data) <= le {
		return sw.Append(append(dst, data...))
	}
	p.rest, p.last = data[le:], sw
	return apdu.MoreData(len(p.rest)).Append(append(dst, data[:le]...))
}
