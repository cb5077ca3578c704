// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package apdu

import (
	"fmt"
	"slices"
	"strings"
)

// Parameters are what an ATR's interface bytes say of the transmission, with the defaults of ISO/IEC 7816-3 where they
// say nothing.
type Parameters struct {
	Fi       int // TA1: clock rate conversion; 0: reserved
	Di       int // TA1: baud rate adjustment; 0: reserved
	MaxClock int // TA1: kHz; 0: reserved
	N        int // TC1: extra guard time, 0 to 255; 255 has a meaning of its own for each protocol

	Specific  bool // TA2 is there: the card speaks only Protocol; else the first exchange may choose
	Protocol  int  // the T that is used without a choice
	Permanent bool // TA2: the card cannot change to the other mode
	Implicit  bool // TA2: Fi and Di are not those of TA1 but known otherwise

	WI int // TC2: waiting time integer of T=0

	IFSC int  // first TA of T=1: information field size of the card
	BWI  int  // first TB of T=1: block waiting time integer
	CWI  int  // first TB of T=1: character waiting time integer
	CRC  bool // first TC of T=1: blocks end with a CRC, not with an LRC

	ClockStop ClockStop // first TA of T=15
	Classes   Classes   // first TA of T=15; 0: not said, so class A only
}

// ClockStop says whether the card's clock may be stopped, ISO/IEC 7816-3 §8.3.
type ClockStop byte

// The values of ClockStop.
const (
	ClockStopNever ClockStop = iota
	ClockStopLow
	ClockStopHigh
	ClockStopAny
)

// String returns what c means.
func (c ClockStop) String() string {
	return [4]string{"not supported", "only at state L", "only at state H", "at either state"}[c&3]
}

// Classes are the operating conditions that a card accepts, a bit each, ISO/IEC 7816-3 §8.3.
type Classes byte

// The bits of Classes.
const (
	ClassA Classes = 1 << iota // 5 V
	ClassB                     // 3 V
	ClassC                     // 1.8 V
)

// String returns "A 5 V, B 3 V", for example.
func (c Classes) String() string {
	var list []string
	for i, name := range []string{"A 5 V", "B 3 V", "C 1.8 V"} {
		if c&(1<<i) != 0 {
			list = append(list, name)
		}
	}
	if len(list) == 0 || c > ClassA|ClassB|ClassC {
		list = append(list, fmt.Sprintf("reserved value %02X", byte(c)))
	}
	return strings.Join(list, ", ")
}

// Defaults of ISO/IEC 7816-3 §8.3, §10.2 and §11.4.
const (
	defaultFi, defaultDi, defaultMaxClock = 372, 1, 5000
	defaultWI                             = 10
	defaultIFSC, defaultBWI, defaultCWI   = 32, 4, 13
)

// Parameters returns what the interface bytes say. Bytes that have no meaning where they stand are passed over.
func (a ATR) Parameters() Parameters {
	p := Parameters{
		Fi: defaultFi, Di: defaultDi, MaxClock: defaultMaxClock, WI: defaultWI,
		IFSC: defaultIFSC, BWI: defaultBWI, CWI: defaultCWI,
	}
	if len(a.Protocols) > 0 {
		p.Protocol = a.Protocols[0]
	}
	for i, b := range a.Interface {
		switch a.role(i) {
		case roleRate:
			p.Fi, p.MaxClock = conversion(b.Value)
			p.Di = adjustment(b.Value)
		case roleGuard:
			p.N = int(b.Value)
		case roleMode:
			p.Specific, p.Protocol = true, int(b.Value&0x0F)
			p.Permanent, p.Implicit = b.Value&0x80 != 0, b.Value&0x10 != 0
		case roleWait:
			p.WI = int(b.Value)
		case roleSize:
			p.IFSC = int(b.Value)
		case roleBlockWait:
			p.BWI, p.CWI = int(b.Value>>4), int(b.Value&0x0F)
		case roleCheck:
			p.CRC = b.Value&1 != 0
		case roleClass:
			p.ClockStop, p.Classes = ClockStop(b.Value>>6), Classes(b.Value&0x3F)
		}
	}
	return p
}

// role is what an interface byte is for, which depends on where it stands.
type role int

const (
	roleNone      role = iota // the standard gives it no meaning
	roleRate                  // TA1
	roleVoltage               // TB1, TB2: obsolete
	roleGuard                 // TC1
	roleNext                  // TDi
	roleMode                  // TA2
	roleWait                  // TC2
	roleSize                  // first TA of T=1
	roleBlockWait             // first TB of T=1
	roleCheck                 // first TC of T=1
	roleClass                 // first TA of T=15
	roleUse                   // first TB of T=15
)

// role returns what the interface byte i is for. From the third group on only the first of a kind and protocol counts,
// ISO/IEC 7816-3 §8.2.3.
func (a ATR) role(i int) role {
	b := a.Interface[i]
	switch {
	case b.Kind == 'D':
		return roleNext
	case b.Index == 1:
		return [3]role{roleRate, roleVoltage, roleGuard}[b.Kind-'A']
	case b.Index == 2:
		return [3]role{roleMode, roleVoltage, roleWait}[b.Kind-'A']
	case slices.ContainsFunc(a.Interface[:i], func(o InterfaceByte) bool {
		return o.Index > 2 && o.Kind == b.Kind && o.T == b.T
	}):
		return roleNone
	case b.T == 1:
		return [3]role{roleSize, roleBlockWait, roleCheck}[b.Kind-'A']
	case b.T == global:
		return [3]role{roleClass, roleUse, roleNone}[b.Kind-'A']
	}
	return roleNone
}

// conversion returns Fi and the highest clock in kHz of a TA1, ISO/IEC 7816-3 table 7; 0: reserved.
func conversion(ta1 byte) (fi, kHz int) {
	i := ta1 >> 4
	return [16]int{372, 372, 558, 744, 1116, 1488, 1860, 0, 0, 512, 768, 1024, 1536, 2048, 0, 0}[i],
		[16]int{4000, 5000, 6000, 8000, 12000, 16000, 20000, 0, 0, 5000, 7500, 10000, 15000, 20000, 0, 0}[i]
}

// adjustment returns Di of a TA1, ISO/IEC 7816-3 table 8; 0: reserved.
func adjustment(ta1 byte) int {
	return [16]int{0, 1, 2, 4, 8, 16, 32, 64, 12, 20, 0, 0, 0, 0, 0, 0}[ta1&0x0F]
}
