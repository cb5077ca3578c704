// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package firewall

import (
	"fmt"

	"github.com/cardbroker/cardbroker"
)

// MaxRules is how many rules a tenant may have: each command is held against all of them.
const MaxRules = 64

// Rule is one rule: what it says nothing of, it is about whatever that is.
//
// What a command is for certain and what it may be, are not always the same: the class byte of a proprietary command may
// or may not name a channel, a card that was asked for part of an AID may have selected any that begins with it. A rule
// that allows is about what is certain. A rule that denies is about all that may be.
type Rule struct {
	Allow bool
	Class *Class        // nil: every class
	INS   []Instruction // none: every instruction, but for MANAGE CHANNEL and ENVELOPE where it allows
	P1P2  Parameters
	AID   []byte // its first bytes, up to 16, of the application that the command is for: SELECT asks for it, for the others it is current
	None  bool   // in place of AID: nothing was selected since the card was reset
	MaxLc int    // of rules that allow: so much data at most, in bytes, in one command and no chain; below 0: no limit
	Note  string // for people
}

// Class is a class byte.
type Class struct {
	Value, Mask byte
	Masked      bool // the byte as it is, under the mask; else class 00 is every interindustry class, whatever its bits for channel, secure messaging and chaining say
}

// Instruction is one instruction byte, or all from one to another.
type Instruction struct{ From, To byte }

// Parameters are P1 and P2, as they are under the mask.
type Parameters struct{ Value, Mask uint16 }

// Rules are the rules of one tenant. They never change.
type Rules struct {
	place     string
	allow     bool // what no rule is about
	checks    []check
	byDefault string // the place of allow
}

// check is a rule as it is applied.
type check struct {
	Rule
	place      string
	classes    classes
	ins, named classes
	name       name // AID
}

// NewRules returns the rules that stand at a place of a file, such as tenants.issuer.firewall: the first that is about a
// command decides, else allow does. Errors: Invalid, with the number of the rule.
func NewRules(place string, allow bool, rules []Rule) (*Rules, error) {
	r := &Rules{place: place, allow: allow, checks: make([]check, len(rules)), byDefault: place + ".default"}
	if len(rules) > MaxRules {
		return nil, cardbroker.Errorf(cardbroker.Invalid, "%s.rules: %d rules, want %d or fewer", place, len(rules), MaxRules)
	}
	for i, rule := range rules {
		at := fmt.Sprintf("%s.rules[%d]", place, i)
		switch {
		case len(rule.AID) > maxAID:
			return nil, cardbroker.Errorf(cardbroker.Invalid, "%s.aid: %d bytes, want 1 to %d", at, len(rule.AID), maxAID)
		case rule.MaxLc >= 0 && !rule.Allow:
			return nil, cardbroker.Errorf(cardbroker.Invalid, "%s.lc_max: it is for rules that allow", at)
		}
		r.checks[i] = newCheck(at, rule)
	}
	return r, nil
}

func newCheck(place string, rule Rule) check {
	k := check{Rule: rule, place: place, name: newName(rule.AID)}
	for b := range 256 {
		if k.aboutClass(byte(b)) {
			k.classes.add(byte(b))
		}
	}
	for _, span := range rule.INS {
		for b := int(span.From); b <= int(span.To); b++ {
			k.ins.add(byte(b))
			if !rule.Allow {
				k.ins.add(byte(b) | 1) // the same command with BER-TLV data, ISO/IEC 7816-4 §5.4.2
			}
		}
		if span.From == span.To {
			k.named.add(span.From)
		}
	}
	if len(rule.INS) == 0 {
		k.ins = classes{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}
	}
	return k
}

// aboutClass says whether the rule is about a class: one that denies also if a card may take it for such a one.
func (k *check) aboutClass(cla byte) bool {
	c := k.Class
	if c == nil {
		return true
	}
	if c.is(cla) {
		return true
	}
	if k.Allow {
		return false
	}
	read := readings(cla)
	for b := range 256 {
		if read.has(byte(b)) && c.is(byte(b)) {
			return true
		}
	}
	return false
}

func (c *Class) is(cla byte) bool {
	if !c.Masked && c.Value == 0 {
		return !proprietary(cla) && !reserved(cla)
	}
	mask := c.Mask
	if !c.Masked {
		mask = 0xFF
	}
	return cla&mask == c.Value&mask
}

// about says whether the rule decides on a command for an application.
func (k *check) about(c *command, app *application, chain bool) bool {
	if !k.ins.has(c.INS) || !k.classes.has(c.CLA) || (uint16(c.P1)<<8|uint16(c.P2))&k.P1P2.Mask != k.P1P2.Value&k.P1P2.Mask {
		return false
	}
	if k.Allow && (c.wraps && !k.named.has(c.INS) || k.MaxLc >= 0 && (len(c.Data) > k.MaxLc || chain || chained(c.CLA))) {
		return false
	}
	switch {
	case k.None && k.Allow:
		return app.none
	case k.None:
		return app.none || app.unknown()
	case len(k.AID) == 0:
		return true
	}
	certain, perhaps := app.is(&k.name)
	return certain || perhaps && !k.Allow
}

// decide returns which rule decides on a command for an application, as it stands in the file, and what it says.
func (r *Rules) decide(c *command, app *application, chain bool) (place string, allow bool) {
	for i := range r.checks {
		if k := &r.checks[i]; k.about(c, app, chain) {
			return k.place, k.Allow
		}
	}
	return r.byDefault, r.allow
}
