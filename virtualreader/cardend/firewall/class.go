// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package firewall

// What the bits of a class byte mean, ISO/IEC 7816-4 §5.4.1.
const (
	chainBit     = 0x10 // further commands of the chain follow
	furtherBit   = 0x40 // the class has four channel bits instead of two
	smFirst      = 0x0C // secure messaging, with two channel bits
	smFurther    = 0x20 // the same with four
	classReaders = 0xFF // no card's: a command to the reader itself, PC/SC Part 3 §3.2
)

// channels is how many logical channels a card may have.
const channels = 20

// proprietary says that the card decides what the bits of a class mean.
func proprietary(cla byte) bool { return cla&0x80 != 0 }

// reserved says that the standard keeps a class for later.
func reserved(cla byte) bool { return cla&0xE0 == 0x20 }

// secured says that the data of a command are opaque to us: they may be wrapped for the card. Of a proprietary class that
// is not certain.
func secured(cla byte) bool {
	if cla&furtherBit != 0 {
		return cla&smFurther != 0
	}
	return cla&smFirst != 0
}

// chained says that a command is not the last of its chain, or in a proprietary class may not be, as GlobalPlatform has it.
func chained(cla byte) bool { return cla&chainBit != 0 }

// channel returns the logical channel that a class names. Cards need not take the bits of a proprietary class for a
// channel: then it is 0.
func channel(cla byte) int {
	if cla&furtherBit != 0 {
		return 4 + int(cla&0x0F)
	}
	return int(cla & 0x03)
}

// readings returns what a card that leaves some bits of a class out of account may take it for, itself included.
func readings(cla byte) classes {
	var set classes
	first, further := []byte{0, 0x03, smFirst, 0x0F, chainBit}, []byte{0, 0x0F, smFurther, chainBit, furtherBit}
	bits := first
	if cla&furtherBit != 0 {
		bits = further
	}
	for _, a := range bits {
		for _, b := range bits {
			for _, c := range bits {
				for _, d := range bits {
					set.add(cla &^ (a | b | c | d))
				}
			}
		}
	}
	return set
}

// classes is a set of bytes.
type classes [4]uint64

func (s *classes) add(b byte)      { s[b>>6] |= 1 << (b & 63) }
func (s *classes) has(b byte) bool { return s[b>>6]&(1<<(b&63)) != 0 }
