// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package firewall

import (
	"encoding/binary"

	"github.com/cardbroker/cardbroker/apdu"
)

const maxAID = 16 // ISO/IEC 7816-4 §8.2.1.2: a DF name has up to 16 bytes

// name is the first bytes of an AID, as two numbers that are compared at once: what the mask leaves out is not known.
type name struct{ value, mask [2]uint64 }

// newName returns up to maxAID bytes as a name.
func newName(aid []byte) name {
	var bytes, known [maxAID]byte
	for i := range copy(bytes[:], aid) {
		known[i] = 0xFF
	}
	two := func(b [maxAID]byte) [2]uint64 {
		return [2]uint64{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
	}
	return name{two(bytes), two(known)}
}

// application is what is known of the current application of a logical channel: nothing, that nobody has selected one
// since the card was reset, or the first bytes of its AID. A card may select any application whose AID begins with
// the bytes that it was asked for.
type application struct {
	none bool
	name
}

// named returns the application whose AID begins with aid; one that is too long to be a name is unknown.
func named(aid []byte) application {
	if len(aid) > maxAID {
		return application{}
	}
	return application{name: newName(aid)}
}

// unknown says that it may be any, and that somebody may have selected it.
func (a *application) unknown() bool { return *a == application{} }

// is says whether the application's AID begins with n: for certain, or perhaps. After a reset it may be any, the card's default.
func (a *application) is(n *name) (certain, perhaps bool) {
	differ := (a.value[0]^n.value[0])&a.mask[0]&n.mask[0] | (a.value[1]^n.value[1])&a.mask[1]&n.mask[1]
	lacks := n.mask[0]&^a.mask[0] | n.mask[1]&^a.mask[1]
	return differ|lacks == 0, differ == 0
}

// state is what decides on the next command, besides the command.
type state struct {
	apps  [channels]application
	chain bool // the last command was not the last of its chain
	multi bool // the card has opened a channel: it has more than one. Some cards leave the channel's bits out of account
}

// candidates returns the applications that a command of a class may be for: the current one of the channel that the class
// names and, if the card need not read it so, the basic channel's.
func (s *state) candidates(cla byte) [2]*application {
	named := &s.apps[channel(cla)]
	if proprietary(cla) {
		return [2]*application{named, &s.apps[0]}
	}
	return [2]*application{named, named}
}

// forget makes the current application of all channels unknown, or of all but the basic one.
func (s *state) forget(from int) {
	for i := from; i < channels; i++ {
		s.apps[i] = application{}
	}
}

// outcome is what is known of the answer to a command.
type outcome uint8

const (
	anything  outcome = iota // what the card did is not known
	succeeded                // 9000, 61xx, or a warning: it has done what it was asked for
)

func outcomeOf(sw apdu.StatusWord) outcome {
	switch sw >> 8 {
	case 0x90, 0x61, 0x62, 0x63:
		return succeeded
	}
	return anything
}

// after is the state when a command has been answered; opened is the channel that the card says it has opened, or -1. A
// SELECT by name selects what it asks for if the card confirms it. Refused, it may still have selected: an
// applet is current before it looks at the command. Everything else that may select another application leaves none known.
func (s *state) after(c *command, o outcome, opened int) {
	within := s.chain
	s.chain = chained(c.CLA)
	switch c.INS {
	case insSelect, insSelect | 1:
		switch {
		case c.byName() && !within && o == succeeded:
			s.change(c.CLA, c.asked)
		case !c.staysInApplication():
			s.change(c.CLA, application{})
		}
	case insManageChannel:
		s.managed(c, opened)
	case insEnvelope, insEnvelope | 1:
		s.forget(0)
	}
}

// change notes what is current now on the channel of a class. Unless the card is known to have several, all its channels may be one; and a
// proprietary class may mean the basic channel, whatever its bits.
func (s *state) change(cla byte, app application) {
	n := channel(cla)
	for i := range s.apps {
		if i != n && (!s.multi || i == 0 && proprietary(cla)) {
			s.apps[i] = application{}
		}
	}
	s.apps[n] = app
}

// managed follows MANAGE CHANNEL, ISO/IEC 7816-4 §11.1.2: a channel that is opened has an application that nobody named.
func (s *state) managed(c *command, opened int) {
	n := int(c.P2)
	switch {
	case proprietary(c.CLA) || secured(c.CLA) || chained(c.CLA): // it may be another command, or have other parameters
		s.forget(0)
	case c.P1 == 0x00 && n == 0 && opened > 0 && opened < channels:
		s.apps[opened], s.multi = application{}, true
	case (c.P1 == 0x00 || c.P1 == 0x80) && n > 0 && n < channels:
		s.apps[n] = application{}
	case c.P1 == 0x00:
		s.forget(1)
	default:
		s.forget(0)
	}
}

// merge makes s what is certain whichever of the two it is.
func (s *state) merge(t *state) {
	for i := range s.apps {
		if s.apps[i] != t.apps[i] {
			s.apps[i] = application{}
		}
	}
	s.chain, s.multi = s.chain || t.chain, s.multi && t.multi
}
