// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package remoteloading

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/apdu"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/firewall"
	"github.com/cardbroker/cardbroker/virtualreader/script"
)

// digits are bytes that are hexadecimal in JSON, and never a string of ours: they may hold a PIN.
type digits struct {
	bytes []byte
	bad   bool // there was something else
}

// UnmarshalJSON reads them. Who wants them says where they were bad.
func (d *digits) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		return nil
	}
	n := len(text) - 2
	if d.bad = n < 0 || text[0] != '"'; !d.bad {
		d.bytes = make([]byte, hex.DecodedLen(n))
		_, err := hex.Decode(d.bytes, text[1:n+1])
		d.bad = err != nil
	}
	return nil
}

// take returns the bytes, low to high many. Errors: Invalid, with the field's name.
func (d *digits) take(name string, low, high int) ([]byte, error) {
	switch n := len(d.bytes); {
	case d.bad:
		clear(d.bytes)
		return nil, cardbroker.Errorf(cardbroker.Invalid, "%s: want hexadecimal digits, two for each byte", name)
	case n < low || n > high:
		clear(d.bytes)
		return nil, cardbroker.Errorf(cardbroker.Invalid, "%s: %d bytes, want %d to %d", name, n, low, high)
	}
	return d.bytes, nil
}

// parts is a command by its parts.
type parts struct {
	CLA  digits `json:"cla"`
	INS  digits `json:"ins"`
	P1   digits `json:"p1"`
	P2   digits `json:"p2"`
	Data digits `json:"data"`
	Le   digits `json:"le"`
}

// command puts the parts together. Errors: Invalid.
func (p *parts) command() ([]byte, error) {
	defer clear(p.Data.bytes)
	var header [4]byte
	for i, field := range []struct {
		name  string
		value *digits
	}{{"cla", &p.CLA}, {"ins", &p.INS}, {"p1", &p.P1}, {"p2", &p.P2}} {
		one, err := field.value.take(field.name, 1, 1)
		if err != nil {
			return nil, err
		}
		header[i] = one[0]
	}
	data, err := p.Data.take("data", 0, apdu.MaxData)
	if err != nil {
		return nil, err
	}
	le, err := p.Le.take("le", 0, 2)
	if err != nil {
		return nil, err
	}
	c := apdu.Command{CLA: header[0], INS: header[1], P1: header[2], P2: header[3], Data: data, Extended: len(data) > apdu.MaxShort || len(le) == 2}
	for _, b := range le {
		c.Le = c.Le<<8 | int(b)
	}
	switch {
	case len(le) == 0 || c.Le > 0:
	case c.Extended:
		c.Le = apdu.MaxLe
	default:
		c.Le = apdu.MaxShortLe
	}
	return c.Append(make([]byte, 0, apdu.MinCommand+3+len(data)+2))
}

// list is the commands of one call. They are overwritten when they are done with.
type list struct {
	field    string // of the body, that holds one command or all
	one      bool
	commands [][]byte
}

// at says where a command stands in the body.
func (q *list) at(i int) string {
	if q.one {
		return q.field
	}
	return fmt.Sprintf("%s[%d]", q.field, i)
}

// add adds a command.
func (q *list) add(d *digits) error {
	command, err := d.take(q.at(len(q.commands)), 0, apdu.MaxCommand)
	q.commands = append(q.commands, command)
	return err
}

func (q *list) wipe() {
	for _, command := range q.commands {
		clear(command)
	}
}

// check says whether there is a command in each place.
func (q *list) check() error {
	if n := len(q.commands); n == 0 || n > script.MaxSteps {
		return cardbroker.Errorf(cardbroker.Invalid, "%s: %d commands, want 1 to %d", q.field, n, script.MaxSteps)
	}
	for i, command := range q.commands {
		if _, err := apdu.ParseCommand(command); err != nil {
			return cardbroker.Wrapf(err, cardbroker.Invalid, "%s: %v", q.at(i), err)
		}
	}
	return nil
}

// judge says whether a page may send the commands, all of them, after one that was, or was not, the last of its chain.
func (q *list) judge(within bool) (open bool, err error) {
	for i, command := range q.commands {
		if within, err = firewall.CheckPage(command, within); err != nil {
			return within, placed(err, q.at(i))
		}
	}
	return within, nil
}

// placed says where in the body an error belongs.
func placed(err error, place string) error {
	e, ok := errors.AsType[*cardbroker.Error](err)
	if !ok {
		return fmt.Errorf("%s: %w", place, err)
	}
	shown := *e
	shown.Message, shown.Err = place+": "+e.Message, err
	return &shown
}

// restricted says whether a call's commands are judged: a web page's, unless policy lets pages have PINs.
func (l *Loader) restricted(c *call) bool { return c.origin != "" && !l.cfg.PagePINs }

// judge judges the commands of a call. While the user is not at his screen, nobody sends a PIN.
func (l *Loader) judge(c *call, q *list, within bool) (open bool, err error) {
	if !l.restricted(c) {
		return false, l.unattended(q)
	}
	open, err = q.judge(within)
	if cardbroker.RuleOf(err) == cardbroker.RulePagePIN {
		l.tell(c, err)
	}
	return open, err
}

// unattended refuses a PIN among the commands while the user is not at his screen.
func (l *Loader) unattended(q *list) error {
	if l.cfg.Attended == nil {
		return nil
	}
	why := l.cfg.Attended()
	if why == nil {
		return nil
	}
	if _, err := q.judge(false); cardbroker.RuleOf(err) == cardbroker.RulePagePIN {
		return why
	}
	return nil
}

// tell has a refusal recorded, unless there were too many.
func (l *Loader) tell(c *call, why error) {
	l.loop.Must(func(st *state) error {
		if count := st.refused.Refused(string(c.origin), time.Now()); count > 0 {
			l.cfg.Record(cardbroker.Event{
				Name: cardbroker.EventAPDURefused, Reason: cardbroker.ReasonOf(why), Rule: cardbroker.RuleOf(why), Detail: api.Describe(why).Description,
				Origin: c.origin, Reader: c.reader.Name, Count: count,
			})
		}
		return nil
	})
}

// run sends the commands of a call, one after the other, whatever is answered: what to make of it is the asker's. Answers come as they are:
// who is answered 61xx sends GET RESPONSE himself, and the command again after 6Cxx, as existing clients do.
func (l *Loader) run(ctx context.Context, c *call, q *list) (answers []api.RemoteAnswer, err error) {
	defer q.wipe()
	if err := q.check(); err != nil {
		return nil, err
	}
	if _, err := l.judge(c, q, false); err != nil { // before the reader is asked for
		return nil, err
	}
	err = l.with(ctx, c, func(ctx context.Context, u *use) error {
		open, err := l.judge(c, q, u.chained)
		if err != nil {
			return err
		}
		u.chained = open
		limited, cancel := context.WithTimeout(ctx, callLimit)
		defer cancel()
		answers, err = u.execute(limited, q)
		return err
	})
	return answers, err
}

// execute is a script of the commands.
func (u *use) execute(ctx context.Context, q *list) ([]api.RemoteAnswer, error) {
	part := script.Part{Limit: callLimit, Steps: make([]script.Step, len(q.commands))}
	for i, command := range q.commands {
		part.Steps[i] = script.Step{Command: command, OnMismatch: script.ActionContinue, RawMore: true, RawLe: true}
	}
	var s script.State
	result := s.Run(ctx, part, script.Holder{Transmit: func(_ int, dst, command []byte) ([]byte, time.Duration, error) {
		return u.transmit(ctx, dst, command)
	}})
	if result.Why != nil {
		return nil, placed(result.Why, q.at(result.Step))
	}
	answers := make([]api.RemoteAnswer, len(result.Steps))
	for i, step := range result.Steps {
		answers[i] = api.RemoteAnswer{SW: step.SW.String(), TX: upper(q.commands[step.Step]), RX: upper(step.Data)}
		clear(step.Data)
	}
	return answers, nil
}

func upper(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }
