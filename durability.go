// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardbroker

// Durability says what the record of a lease's commands outlives, and so what can be told of a command whose answer got lost.
type Durability uint8

// The durabilities. A higher one includes those below it.
const (
	DurabilityNone  Durability = 0 // nothing: the lease ends with its connection
	DurabilityCrash Durability = 1 // cut connections, and the end of any program: written before the card has the command
	DurabilityPower Durability = 2 // and the loss of power: on the disk before the card has the command
)

// String returns "none", "crash" or "power".
func (d Durability) String() string {
	switch d {
	case DurabilityCrash:
		return "crash"
	case DurabilityPower:
		return "power"
	}
	return "none"
}

// ParseDurability reads what String returns. Anything else is Invalid.
func ParseDurability(text string) (Durability, error) {
	for d := DurabilityNone; d <= DurabilityPower; d++ {
		if d.String() == text {
			return d, nil
		}
	}
	return 0, Errorf(Invalid, "durability %q, want none, crash or power", text)
}
