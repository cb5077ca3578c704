// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package config

import "time"

// The most that policy may set.
const (
	maxPINFloor = 15 // 63Cn says no more
	maxPINTime  = time.Hour
	maxPINUses  = 1000
)

// PINPolicy is what becomes of PINs of the user's own web pages and programs. The zero value is the default: encrypted PINs
// only, no PIN is kept.
type PINPolicy struct {
	Clear   bool // a PIN in clear is taken
	Ask     bool // the user is asked each time, whatever a page sends
	Floor   int  // so many tries are left to the user himself; below 1: 1
	Session PINSession
}

// PINSession is how long a PIN that was right is kept for the same page and the same card. Zero: not at all.
type PINSession struct {
	Time time.Duration // to an hour
	Uses int           // 1 to 1000
}

// Keeps says whether PINs are kept at all.
func (s PINSession) Keeps() bool { return s.Time > 0 && s.Uses > 0 }

// pinText is what a file says of PINs. A pointer that is nil was not there.
type pinText struct {
	Clear   *string `yaml:"clear"`
	Floor   *int    `yaml:"floor"`
	Ask     *string `yaml:"ask"`
	Session struct {
		Seconds *int `yaml:"seconds"`
		Uses    *int `yaml:"uses"`
	} `yaml:"session"`
}

// loadPIN puts what a file says of PINs over what was read before.
func (p *Policy) loadPIN(path string, said pinText) error {
	if clear := said.Clear; clear != nil {
		if *clear != "allow" && *clear != "deny" {
			return wrong(path, "pin.clear: %q, want allow or deny", *clear)
		}
		p.PIN.Clear = *clear == "allow"
	}
	if floor := said.Floor; floor != nil {
		if *floor < 1 || *floor > maxPINFloor {
			return wrong(path, "pin.floor: %d, want 1 to %d", *floor, maxPINFloor)
		}
		p.PIN.Floor = *floor
	}
	if ask := said.Ask; ask != nil {
		if *ask != "always" && *ask != "session" {
			return wrong(path, "pin.ask: %q, want always or session", *ask)
		}
		p.PIN.Ask = *ask == "always"
	}
	if n := said.Session.Seconds; n != nil {
		if *n < 0 || *n > int(maxPINTime/time.Second) {
			return wrong(path, "pin.session.seconds: %d, want 0 to %d", *n, maxPINTime/time.Second)
		}
		p.PIN.Session.Time = time.Duration(*n) * time.Second
	}
	if n := said.Session.Uses; n != nil {
		if *n < 0 || *n > maxPINUses {
			return wrong(path, "pin.session.uses: %d, want 0 to %d", *n, maxPINUses)
		}
		p.PIN.Session.Uses = *n
	}
	return nil
}

// checkPIN checks what all files together say of PINs.
func (p *Policy) checkPIN(dir string) error {
	switch {
	case p.PIN.Ask && p.PIN.Session.Keeps():
		return wrong(dir, "pin.ask is always, but pin.session keeps PINs")
	case (p.PIN.Session.Time > 0) != (p.PIN.Session.Uses > 0):
		return wrong(dir, "pin.session wants both seconds and uses")
	}
	return nil
}
