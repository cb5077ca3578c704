// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package firewall judges the commands that a back end sends to a user's card. It has no goroutine and touches no card: who
// sends a command asks before, and says what the card answered after. docs/firewall.md has the rules as people write them,
// and what they can and cannot do.
package firewall

import (
	"encoding/binary"
	"hash/maphash"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/apdu"
)

// Judge is the firewall of one tunnel: the tenant's rules, and what the card is known to have selected. One goroutine uses it.
type Judge struct {
	rules *Rules
	pins  cardbroker.PINMode
	state state

	// A GET RESPONSE that fetches the rest of an answer belongs to the command that was answered.
	more     bool // the last answer was 61xx, or 6Cxx to a GET RESPONSE that may go on
	class    byte // of that command
	selected int  // the channel whose SELECT that was, or -1

	// A command that is sent once more, because of 6Cxx, is judged as it was.
	again  bool // the last answer was 6Cxx
	header [4]byte
	seed   maphash.Seed // of data
	data   uint64       // a hash of what it had, which may have been a PIN
	before state

	ahead []state // where the script that was judged last may leave the card
}

// New returns the firewall of a tunnel. Without rules (nil) all is allowed that is not forbidden to every tenant. What the
// card has selected is not known yet: others may have used it before.
func New(rules *Rules, pins cardbroker.PINMode) *Judge {
	return &Judge{rules: rules, pins: pins, selected: -1, seed: maphash.MakeSeed()}
}

// Refused is a refusal. It wraps a [cardbroker.Error] that is Forbidden by the firewall and names the command and
// the rule, and nothing of the command's data.
type Refused struct {
	Place string // of the rule, such as tenants.issuer.firewall.rules[2]; Fixed: no rule of policy
	err   *cardbroker.Error
}

// Fixed is the place of what is forbidden to every tenant.
const Fixed = "fixed"

// Error implements error.
func (r *Refused) Error() string { return r.err.Error() }

// Unwrap returns the [cardbroker.Error].
func (r *Refused) Unwrap() error { return r.err }

func refuse(place, format string, args ...any) error {
	return &Refused{place, cardbroker.Refusef(cardbroker.Forbidden, cardbroker.RuleFirewall, format, args...)}
}

// Check says whether a command may go to the card now. It allocates nothing if it may. Errors: [*Refused]; Invalid for one that is malformed: a
// card may read it otherwise than we do.
func (j *Judge) Check(command []byte) error {
	_, err := j.Explain(command)
	return err
}

// Explain is Check, and says which rule has decided: its place, Fixed, or "" where there are no rules.
func (j *Judge) Explain(command []byte) (place string, err error) {
	c, err := parse(command, len(command))
	if err != nil {
		return "", err
	}
	if err := j.fixed(&c); err != nil {
		return Fixed, err
	}
	if j.continues(&c) {
		return Fixed, nil
	}
	if j.repeats(&c) {
		return j.judge(&c, &j.before)
	}
	return j.judge(&c, &j.state)
}

// repeats says whether a command is the last one, which 6Cxx asks for once more.
func (j *Judge) repeats(c *command) bool {
	return j.again && j.header == header(c) && j.data == maphash.Bytes(j.seed, c.Data)
}

func header(c *command) [4]byte { return [4]byte{c.CLA, c.INS, c.P1, c.P2} }

// CheckEntered is Check for a command into which the user enters the PIN himself, before he is asked: the rules apply, the PIN mode does
// not. The header is enough.
func (j *Judge) CheckEntered(header [4]byte) error {
	c, err := parse(header[:], len(header))
	if err != nil {
		return err
	}
	_, err = j.judge(&c, &j.state)
	return err
}

// continues says whether a command is GET RESPONSE, ISO/IEC 7816-4 §11.5.1, for the rest of the answer to the one before, on the
// same logical channel.
func (j *Judge) continues(c *command) bool {
	if !j.more || c.INS != insGetResponse || c.P1 != 0 || c.P2 != 0 || len(c.Data) != 0 {
		return false
	}
	plain := j.class & 0x03
	if j.class&furtherBit != 0 {
		plain = furtherBit | j.class&0x0F
	}
	return c.CLA == j.class || c.CLA == plain
}

// Saw says what the card answered to a command that was allowed: the response APDU, or nil if that is not known. It keeps neither.
func (j *Judge) Saw(command, response []byte) {
	c, err := parse(command, len(command))
	if err != nil { // it was not allowed
		return
	}
	if len(response) < apdu.MinResponse {
		j.more, j.again, j.selected = false, false, -1
		j.state.after(&c, anything, -1)
		return
	}
	data := response[:len(response)-2]
	sw := apdu.StatusWord(binary.BigEndian.Uint16(response[len(response)-2:]))
	_, more := sw.More()
	_, wrongLe := sw.ExpectedLe()
	if j.continues(&c) {
		j.contradicted(data)
		j.more = more || wrongLe
		return
	}
	if wrongLe && !j.repeats(&c) {
		j.before = j.state
	}
	if j.again, j.header = wrongLe, header(&c); wrongLe {
		j.data = maphash.Bytes(j.seed, c.Data)
	}
	opened := -1
	if sw == apdu.Success && len(data) == 1 {
		opened = int(data[0])
	}
	j.state.after(&c, outcomeOf(sw), opened)
	j.more, j.class, j.selected = more, c.CLA, -1
	if c.byName() {
		j.selected = channel(c.CLA)
		j.contradicted(data)
	}
}

// contradicted looks at the answer to SELECT: a card that names another application, ISO/IEC 7816-4 §7.4.3, has not selected what it
// was asked for.
func (j *Judge) contradicted(data []byte) {
	if j.selected < 0 {
		return
	}
	name, ok := apdu.Find(data, 0x6F, 0x84)
	if !ok {
		return
	}
	app, said := &j.state.apps[j.selected], newName(name)
	if _, perhaps := app.is(&said); !perhaps {
		*app = application{}
	}
}

// Forget says that nothing is known of the card any more: it was connected to anew, or others may have used it.
func (j *Judge) Forget() {
	j.state = state{}
	j.more, j.again, j.selected = false, false, -1
}

// Reset says that the card was reset on behalf of the tunnel: nothing is selected by name, on any channel.
func (j *Judge) Reset() {
	j.Forget()
	for i := range j.state.apps {
		j.state.apps[i].none = true
	}
}

// fixed refuses what no rule can allow: commands that carry a PIN, unless the mode lets them pass, those that take others
// past the firewall, unless a rule names them, and those that are for the reader itself. It looks at the instruction byte, whatever the
// class: a chained command, one under secure messaging and one on another logical channel are judged alike.
func (j *Judge) fixed(c *command) error {
	if c.CLA == classReaders {
		return refuse(Fixed, "a command to the reader itself is not allowed through a tunnel")
	}
	name, how := "", "through a tunnel"
	if j.rules == nil {
		name = mayWrap(c.INS)
	}
	if name == "" && j.pins != cardbroker.PINPassthrough {
		name = apdu.PINCommand(c.INS)
		if j.pins == cardbroker.PINAgent {
			how = "with a PIN: the user enters it on the reader's pin pad"
			if c.asksForTries() {
				name = ""
			}
		}
	}
	if name != "" {
		return refuse(Fixed, "%s is not allowed %s", name, how)
	}
	return nil
}

// judge holds a command against the tenant's rules, for every application that it may be for.
func (j *Judge) judge(c *command, s *state) (place string, err error) {
	switch {
	case j.rules == nil:
		return "", nil
	case reserved(c.CLA):
		return Fixed, refuse(Fixed, "the class %02X is not allowed: it is reserved", c.CLA)
	case c.INS == insSelect && chained(c.CLA):
		return Fixed, refuse(Fixed, "a chained SELECT is not allowed: what it selects cannot be judged")
	}
	apps := s.candidates(c.CLA)
	if c.INS|1 == insSelect|1 && c.P1 == 0x04 { // it is for the application that it asks for, if that is certain
		var asked application
		if c.byName() && !s.chain {
			asked = c.asked
		}
		apps = [2]*application{&asked, &asked}
	}
	for i, app := range apps {
		if i > 0 && app == apps[0] {
			break
		}
		var allow bool
		place, allow = j.rules.decide(c, app, s.chain)
		if c.wraps && allow && place == j.rules.byDefault {
			return Fixed, refuse(Fixed, "%s is not allowed through a tunnel", mayWrap(c.INS))
		}
		if !allow {
			return place, j.refuse(c, app, place)
		}
	}
	return place, nil
}

func (j *Judge) refuse(c *command, app *application, place string) error {
	why := ""
	if app.unknown() {
		why = "; which application it is for is not known: SELECT that by its whole name before"
	}
	return refuse(place, "%s (%02X %02X %02X %02X) is not allowed by %s%s", apdu.InstructionName(c.INS), c.CLA, c.INS, c.P1, c.P2, place, why)
}
