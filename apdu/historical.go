// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package apdu

// Historical are the historical bytes of an ATR, ISO/IEC 7816-4 §12.1.1. All slices are part of what was parsed.
type Historical struct {
	Category byte         // the category indicator: one of the Category constants, or proprietary
	Objects  []CompactTLV // of CategoryStatus and CategoryTLV
	DIR      []byte       // of CategoryDIR: the DIR data reference
	Status   CardStatus   // of CategoryStatus and CategoryTLV
	Private  []byte       // of a proprietary category: what follows the indicator
}

// The category indicators; 81 to 8F are reserved, all others proprietary.
const (
	CategoryStatus byte = 0x00 // compact-TLV objects, then three bytes of status
	CategoryDIR    byte = 0x10 // a DIR data reference
	CategoryTLV    byte = 0x80 // compact-TLV objects, one of which may be the status
)

// CompactTLV is a data object with its tag and length in one byte, ISO/IEC 7816-4 §12.1.1.
type CompactTLV struct {
	Tag    byte // 0 to 15; that of the same object in BER-TLV is 0x40 + Tag
	Value  []byte
	Offset int // of its first byte in the historical bytes
}

// The tags.
const (
	TagCountry       byte = 0x1
	TagIssuer        byte = 0x2
	TagService       byte = 0x3
	TagInitialAccess byte = 0x4
	TagIssuerData    byte = 0x5
	TagPreIssuing    byte = 0x6
	TagCapabilities  byte = 0x7
	TagStatus        byte = 0x8
	TagApplication   byte = 0xF
)

// CardStatus is the status indicator, ISO/IEC 7816-4 §12.1.1.11.
type CardStatus struct {
	HasLifeCycle bool
	LifeCycle    byte
	HasWord      bool
	Word         StatusWord // 0000: none is said
}

// ParseHistorical reads historical bytes. With an error it returns what it could read before. Errors: [*SyntaxError].
func ParseHistorical(b []byte) (Historical, error) {
	if len(b) == 0 {
		return Historical{}, historicalError(0, "there are none")
	}
	h := Historical{Category: b[0]}
	switch h.Category {
	case CategoryStatus:
		if len(b) < 4 {
			return h, historicalError(len(b), "end before the three bytes of status")
		}
		end := len(b) - 3
		h.Status = CardStatus{true, b[end], true, StatusWord(b[end+1])<<8 | StatusWord(b[end+2])}
		return h, h.objects(b[:end])
	case CategoryTLV:
		return h, h.objects(b)
	case CategoryDIR:
		h.DIR = b[1:]
		if len(h.DIR) == 0 {
			return h, historicalError(1, "end before the DIR data reference")
		}
	default:
		h.Private = b[1:]
	}
	return h, nil
}

// objects reads the compact-TLV objects behind the category indicator.
func (h *Historical) objects(b []byte) error {
	for at := 1; at < len(b); {
		o := CompactTLV{Tag: b[at] >> 4, Offset: at}
		length := int(b[at] & 0x0F)
		at++
		if length > len(b)-at {
			return historicalError(o.Offset, "the length is %d, but %d bytes follow", length, len(b)-at)
		}
		o.Value = b[at : at+length : at+length]
		at += length
		h.Objects = append(h.Objects, o)
		if o.Tag == TagStatus && !h.status(o.Value) {
			return historicalError(o.Offset, "the status has %d bytes, want 1 to 3", length)
		}
	}
	return nil
}

// status takes a status indicator: life cycle, status word, or both. It is false for another length.
func (h *Historical) status(v []byte) bool {
	switch len(v) {
	case 1:
		h.Status = CardStatus{HasLifeCycle: true, LifeCycle: v[0]}
	case 2:
		h.Status = CardStatus{HasWord: true, Word: StatusWord(v[0])<<8 | StatusWord(v[1])}
	case 3:
		h.Status = CardStatus{true, v[0], true, StatusWord(v[1])<<8 | StatusWord(v[2])}
	default:
		return false
	}
	return true
}

// Find returns the value of the first object with that tag.
func (h Historical) Find(tag byte) (value []byte, ok bool) {
	for _, o := range h.Objects {
		if o.Tag == tag {
			return o.Value, true
		}
	}
	return nil, false
}

// Capabilities are what senders of long commands need to know of the card capabilities, ISO/IEC 7816-4 §12.1.1.9.
type Capabilities struct {
	Chaining        bool // command chaining
	ExtendedLength  bool // extended Lc and Le fields
	ExtendedInfo    bool // extended length information in EF.ATR/INFO
	ChannelsByCard  bool // the card gives logical channels their numbers
	ChannelsByOther bool // the interface device does
	Channels        int  // the highest number of logical channels, 1 to 8; 8 may be more
}

// Capabilities returns the third byte of the card capabilities. It is false where there is none.
func (h Historical) Capabilities() (Capabilities, bool) {
	v, _ := h.Find(TagCapabilities)
	if len(v) < 3 {
		return Capabilities{}, false
	}
	return capabilities(v[2]), true
}

func capabilities(c byte) Capabilities {
	return Capabilities{
		Chaining:        c&0x80 != 0,
		ExtendedLength:  c&0x40 != 0,
		ExtendedInfo:    c&0x20 != 0,
		ChannelsByCard:  c&0x10 != 0,
		ChannelsByOther: c&0x08 != 0,
		Channels:        int(c&0x07) + 1,
	}
}

func historicalError(offset int, format string, args ...any) error {
	return malformed("historical bytes", offset, format, args...)
}
