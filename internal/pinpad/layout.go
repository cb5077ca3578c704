// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pinpad

// How a character of a PIN is encoded, bmFormatString.
const (
	binaryDigits = 0 // 01 for 1
	bcd          = 1 // two digits a byte
	ascii        = 2
)

// layout says how a PIN is put into the data of a command. Positions are bits from where the PIN's part begins.
type layout struct {
	encoding int
	right    bool // justified in its block
	position int
	block    int // bytes; 0: what is there

	length         int // bits of a field that says how many characters the PIN has; 0: there is none
	lengthPosition int
}

// parseLayout reads bmFormatString, bmPINBlockString and bmPINLengthFormat, PC/SC Part 10 §2.5.2 with the bits of the CCID
// specification 1.1, §6.1.11.
func parseLayout(p []byte) (layout, error) {
	l := layout{
		encoding:       int(p[0] & 3),
		right:          p[0]&4 != 0,
		position:       int(p[0] >> 3 & 15),
		block:          int(p[1] & 15),
		length:         int(p[1] >> 4),
		lengthPosition: int(p[2] & 15),
	}
	if p[0]&0x80 != 0 {
		l.position *= 8
	}
	if p[2]&0x10 != 0 {
		l.lengthPosition *= 8
	}
	switch {
	case l.encoding > ascii:
		return l, invalid("bmFormatString %02X: there is no encoding 3", p[0])
	case p[2]&0xE0 != 0:
		return l, invalid("bmPINLengthFormat %02X: the high bits are not 0", p[2])
	case l.position%8 != 0:
		return l, invalid("bmFormatString %02X: a PIN begins in the middle of a byte", p[0])
	case l.right && l.block == 0:
		return l, invalid("bmFormatString %02X: a PIN is justified in a block of no size", p[0])
	}
	return l, nil
}

// width is the bits of a character.
func (l layout) width() int {
	if l.encoding == bcd {
		return 4
	}
	return 8
}

// span is a part of the data, in bits. The zero span is no part.
type span struct{ from, to int }

func (s span) overlaps(t span) bool { return s.from < t.to && t.from < s.to }

// place finds where the PINs go, given the insertion offsets in bytes, and judges that: each lies wholly in the data and
// in nobody else's way, and what the template has beside them is filler. A new PIN that a template adds its own digits to
// would be half known, or nobody's.
func (e *Entry) place(offsetOld, offsetNew int) error {
	e.Min, e.Max = max(e.Min, MinPIN), min(e.Max, MaxPIN)
	if len(e.data) == 0 {
		return e.placeVariable(offsetOld, offsetNew)
	}
	end, given := 8*len(e.data), 0 // given: bytes of the present PIN that the template brings itself
	var fields []span
	if e.New {
		if e.new = e.find(offsetNew, end); e.length(offsetNew, &fields) > end {
			return outside()
		}
		end = 8 * offsetNew
		if !e.Old && e.header[2] == 0 {
			if given = e.new.from / 8; given == 0 {
				return forbidden("the command needs the present PIN, which nobody gives")
			}
		}
	}
	if e.Old {
		if e.old = e.find(offsetOld, end); e.length(offsetOld, &fields) > end {
			return outside()
		}
	}
	if e.Max < e.Min {
		return outside()
	}
	for i, field := range fields {
		if field.overlaps(e.old) || field.overlaps(e.new) || i > 0 && field.overlaps(fields[0]) {
			return forbidden("a PIN's length is written over a PIN")
		}
	}
	return e.filled(given)
}

// find returns where a PIN goes whose part of the data begins at offset and ends at end, and lowers Max to what fits. A
// block may claim more than there is; the PIN may not.
func (e *Entry) find(offset, end int) span {
	from := 8*offset + e.layout.position
	to := end
	if e.layout.block > 0 {
		to = from + 8*e.layout.block
		if to > end && !e.layout.right {
			to = end
		}
	}
	if to > end { // justified to an end that is not there
		e.Max = 0
		return span{}
	}
	e.Max = min(e.Max, (to-from)/e.layout.width())
	return span{from, to}
}

// length adds the field for a PIN's length to fields and returns where it ends. One that cannot say Max ends nowhere.
func (e *Entry) length(offset int, fields *[]span) int {
	if e.layout.length == 0 {
		return 0
	}
	field := span{8*offset + e.layout.lengthPosition, 8*offset + e.layout.lengthPosition + e.layout.length}
	*fields = append(*fields, field)
	if e.Max >= 1<<e.layout.length {
		return 8 * (maxData + 1)
	}
	return field.to
}

// placeVariable places PINs in a command whose data are the PINs and nothing else: Lc is theirs.
func (e *Entry) placeVariable(offsetOld, offsetNew int) error {
	l := e.layout
	switch {
	case l.encoding == bcd || l.block != 0 || l.position != 0 || l.length != 0 || offsetOld != 0 || offsetNew != 0:
		return outside()
	case e.New && !e.Old && e.header[2] == 0:
		return forbidden("the command needs the present PIN, which nobody gives")
	case e.Max < e.Min:
		return outside()
	}
	return nil
}

// filled checks that the template is filler from the byte given on: 00, FF or space; outside the PINs of the BCD format
// also the control byte 2N of a PIN block, ISO 9564-1 format 2.
func (e *Entry) filled(given int) error {
	for i, b := range e.data[given:] {
		at := span{8 * (given + i), 8 * (given + i + 1)}
		switch {
		case b == 0x00, b == 0xFF, b == ' ':
		case b>>4 == 2 && e.layout.encoding == bcd && !at.overlaps(e.old) && !at.overlaps(e.new):
		default:
			return forbidden("byte %d of the data is neither a PIN nor filler", given+i)
		}
	}
	return nil
}

func outside() error { return forbidden("a PIN does not lie within the data of its command") }

// Fits says whether a PIN has characters and a length that the command can take.
func (e *Entry) Fits(pin []byte) bool {
	for _, c := range pin {
		if c < '!' || c > '~' || e.Digits && (c < '0' || c > '9') {
			return false
		}
	}
	return len(pin) >= e.Min && len(pin) <= e.Max
}

// Command returns the command with the PINs in it, each of which fits; the one that is not asked for is not used. The
// caller clears the command when the card has it.
func (e *Entry) Command(old, new []byte) []byte {
	command := make([]byte, 0, 4+1+max(len(e.data), 2*MaxPIN)) // never moved: a copy would stay behind
	command = append(append(command, e.header[:]...), byte(len(e.data)))
	command = append(command, e.data...)
	if e.Old {
		command = e.put(command, old, e.old)
	}
	if e.New {
		command = e.put(command, new, e.new)
	}
	return command
}

// put writes a PIN, and its length, into a command; one of variable length goes to its end.
func (e *Entry) put(command, pin []byte, where span) []byte {
	width := e.layout.width()
	at := where.from
	switch {
	case len(e.data) == 0:
		at = 8 * (len(command) - 5)
		command = append(command, pin...)
		command[4] += byte(len(pin))
	case e.layout.right:
		at = where.to - width*len(pin)
	}
	data := command[5:]
	for _, c := range pin {
		if e.layout.encoding != ascii {
			c &= 0x0F
		}
		putBits(data, at, width, int(c))
		at += width
	}
	if e.layout.length > 0 {
		putBits(data, where.from-e.layout.position+e.layout.lengthPosition, e.layout.length, len(pin))
	}
	return command
}

// putBits writes the low n bits of value, the highest first.
func putBits(data []byte, at, n, value int) {
	for i := range n {
		bit := byte(0x80) >> ((at + i) % 8)
		data[(at+i)/8] &^= bit
		if value>>(n-1-i)&1 != 0 {
			data[(at+i)/8] |= bit
		}
	}
}
