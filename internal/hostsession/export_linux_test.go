// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package hostsession

import (
	"strconv"

	"github.com/cardbroker/cardbroker"
)

// CgroupMount is for tests.
var CgroupMount = cgroupMount

// OfProcess is ofProcess by pid: tests start processes and look at them from outside.
func OfProcess(pid int) (cardbroker.SessionID, bool) { return ofProcess(strconv.Itoa(pid)) }

// OnBus is the session on a bus of the test's.
func OnBus(s Session, address string) Session { s.bus = address; return s }

// NewPlace makes a place: above are the processes from itself up.
func NewPlace(session cardbroker.SessionID, display string, adrift bool, above ...int) Place {
	p := Place{Session: session, Display: display, adrift: adrift}
	for _, pid := range above {
		p.above = append(p.above, process{pid: pid})
	}
	return p
}

// PID is whose the holder is.
func (h Holder) PID() int { return h.pid }

// OfPath is ofPath.
var OfPath = ofPath

// BeginningOf is beginningOf; MaxEnviron is how much it reads.
var BeginningOf = beginningOf

const MaxEnviron = maxEnviron

// MaxHolders is how many descriptors may hold a socket.
const MaxHolders = maxHolders
