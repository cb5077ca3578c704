// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package remoteloading

import (
	"context"
	"encoding/binary"
	"strings"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/apdu"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/pinpad"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
)

// feature is a function of a reader that may be called, PC/SC Part 10 §2.3.
type feature struct {
	name  string
	tag   pinpad.Tag
	parse func([]byte) (*pinpad.Entry, error) // of what it wants; nil: nothing
}

func features() []feature {
	return []feature{
		{"VERIFY_PIN_DIRECT", pinpad.VerifyPINDirect, pinpad.ParseVerify},
		{"MODIFY_PIN_DIRECT", pinpad.ModifyPINDirect, pinpad.ParseModify},
		{"GET_TLV_PROPERTIES", pinpad.TLVProperties, nil},
	}
}

// pad is the functions of the reader at hand.
type pad struct {
	codes pinpad.Features
	ours  bool // it has no pin pad: the agent is one
}

// pad asks the reader what it can do. One that does not answer can nothing.
func (l *Loader) pad(ctx context.Context, u *use) (pad, error) {
	answer, err := u.control(ctx, pinpad.GetFeatureRequest, nil)
	switch cardbroker.ReasonOf(err) {
	case "", cardbroker.Unsupported:
	default:
		return pad{}, err
	}
	codes, err := pinpad.ParseFeatures(answer)
	if err != nil {
		codes = nil
	}
	if _, real := codes.Code(pinpad.VerifyPINDirect); !real && l.cfg.Asker != nil {
		return pad{pinpad.PadFeatures(), true}, nil
	}
	return pad{codes, false}, nil
}

// ccidFeatures lists the functions that a call may use, joined by commas.
func (l *Loader) ccidFeatures(ctx context.Context, c *call) (string, error) {
	var names []string
	err := l.with(ctx, c, func(ctx context.Context, u *use) error {
		pad, err := l.pad(ctx, u)
		for _, f := range features() {
			if _, ok := pad.codes.Code(f.tag); ok {
				names = append(names, f.name)
			}
		}
		return err
	})
	return strings.Join(names, ","), err
}

// ccid calls a function of the reader, or of our pin pad.
func (l *Loader) ccid(ctx context.Context, c *call, name string, input []byte) (answer api.RemoteAnswer, err error) {
	defer clear(input)
	for _, f := range features() {
		if f.name != name {
			continue
		}
		answer.TX = upper(input)
		err = l.with(ctx, c, func(ctx context.Context, u *use) error {
			pad, err := l.pad(ctx, u)
			if err != nil {
				return err
			}
			code, ok := pad.codes.Code(f.tag)
			if !ok {
				return cardbroker.Errorf(cardbroker.Unsupported, "the reader has no %s, and the agent has no prompt to ask its user with", f.name)
			}
			if f.parse == nil {
				return properties(ctx, u, pad, code, input, &answer)
			}
			sw, err := l.enter(ctx, c, u, entering{f, pad.ours, code, input})
			answer.SW = sw.String()
			return err
		})
		return answer, err
	}
	return answer, cardbroker.Errorf(cardbroker.Invalid, "feature: want VERIFY_PIN_DIRECT, MODIFY_PIN_DIRECT or GET_TLV_PROPERTIES")
}

// properties answers with what the pin pad is like.
func properties(ctx context.Context, u *use, p pad, code uint32, input []byte, answer *api.RemoteAnswer) (err error) {
	said := pinpad.AppendTLVProperties(nil)
	if !p.ours {
		if said, err = u.control(ctx, code, input); err != nil {
			return err
		}
	}
	answer.SW, answer.RX = apdu.Success.String(), upper(said)
	return nil
}

// entering is a PIN that is to be entered.
type entering struct {
	feature
	ours  bool
	code  uint32 // of the reader's function
	input []byte // what it wants
}

// enter has the user enter a PIN into a command, and the card sent that. On our own pin pad, and for a page on any, the command has
// to be one that compares or replaces a PIN.
func (l *Loader) enter(ctx context.Context, c *call, u *use, e entering) (sw apdu.StatusWord, err error) {
	var entry *pinpad.Entry
	if e.ours || l.restricted(c) {
		if entry, err = e.parse(e.input); err != nil {
			return 0, err
		}
	}
	if u.chained { // a careless card takes the PIN for the rest of that
		return 0, cardbroker.Refusef(cardbroker.Forbidden, cardbroker.RulePagePIN, "a chain of commands has not ended: no PIN may follow it")
	}
	ended, err := l.cfg.Asking(ctx, c.reader.Name, c.origin)
	if cardbroker.ReasonOf(err) == cardbroker.PINCanceled { // as a pin pad whose user does not want to
		l.entered(c, e, pinpad.Canceled, nil)
		return pinpad.Canceled, nil
	}
	if err != nil {
		return 0, err
	}
	defer func() {
		ended(err == nil && sw != pinpad.Canceled && sw != pinpad.TimedOut)
		l.entered(c, e, sw, err)
	}()
	if !e.ours {
		response, err := u.control(ctx, e.code, e.input)
		if err != nil {
			return 0, err
		}
		return statusWord(response)
	}
	q := cardend.NewQuestion(entry)
	q.Reader, q.Origin = c.reader.Name, c.origin
	return cardend.Enter(ctx, entry, q, l.ask, func(command []byte) (apdu.StatusWord, error) {
		response, _, err := u.transmit(ctx, nil, command)
		defer clear(response)
		if err != nil {
			return 0, err
		}
		return statusWord(response)
	})
}

// ask asks the user.
func (l *Loader) ask(ctx context.Context, q cardend.Question) ([]cardbroker.Secret, error) {
	pins, err := l.cfg.Asker.AskPIN(ctx, q)
	if err == nil && len(pins) != len(q.Ask) {
		return nil, cardbroker.Errorf(cardbroker.Unavailable, "the prompt for a PIN did not work")
	}
	return pins, err
}

// statusWord is the end of an answer.
func statusWord(response []byte) (apdu.StatusWord, error) {
	n := len(response)
	if n < apdu.MinResponse {
		return 0, cardbroker.Errorf(cardbroker.CardMute, "the answer has %d bytes, which is none", n)
	}
	return apdu.StatusWord(binary.BigEndian.Uint16(response[n-2:])), nil
}

// entered records what became of a PIN that was to be entered.
func (l *Loader) entered(c *call, e entering, sw apdu.StatusWord, err error) {
	event := cardbroker.Event{Name: cardbroker.EventPINVerified, Origin: c.origin, Reader: c.reader.Name, Detail: "at the reader's pin pad"}
	if e.ours {
		event.Detail = "from the user"
	}
	_, wrong := sw.Retries()
	switch {
	case err != nil:
		event.Reason, event.Rule = cardbroker.ReasonOf(err), cardbroker.RuleOf(err)
	case sw == apdu.Success:
		l.cfg.Record(event)
		return
	case wrong:
		event.Reason = cardbroker.PINIncorrect
	case sw == apdu.AuthenticationBlocked:
		event.Reason = cardbroker.PINBlocked
	case sw == pinpad.TimedOut:
		event.Reason = cardbroker.Timeout
	case sw == pinpad.Canceled:
		event.Reason = cardbroker.PINCanceled
	default:
		event.Reason = cardbroker.CardUnexpected
	}
	event.Name = cardbroker.EventPINRefused
	l.cfg.Record(event)
}
