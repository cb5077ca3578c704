// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package apdu

import "time"

// UsualClock is the clock in kHz that readers run cards at if they keep to the lowest that is common.
const UsualClock = 4000

// WaitingTime is how long a card may be silent before it counts as mute, with a clock of so many kHz (at least 1): for
// T=0 the work waiting time WI × 960 × Fi/f, ISO/IEC 7816-3 §10.2; for T=1 the block waiting time 11 bits + 2^BWI × 960 ×
// 372/f, §11.4.3. A card that needs more asks for it: T=0 by NULL bytes, T=1 by S(WTX) with up to 255 times as much.
// Where a value is reserved the longest that is not is taken. It is rounded up to milliseconds; other protocols have
// none: 0.
func (p Parameters) WaitingTime(protocol, kHz int) time.Duration {
	fi := p.Fi
	if fi == 0 {
		fi = 2048
	}
	cycles := 0
	switch protocol {
	case 0:
		wi := p.WI
		if wi == 0 {
			wi = 255
		}
		cycles = wi * 960 * fi
	case 1:
		cycles = 11*max(fi, defaultFi) + 960*defaultFi<<min(p.BWI, 9)
	}
	kHz = max(kHz, 1)
	return time.Duration((cycles+kHz-1)/kHz) * time.Millisecond
}
