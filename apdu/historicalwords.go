// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package apdu

import "fmt"

// CategoryWords returns what the category indicator means.
func (h Historical) CategoryWords() string {
	switch {
	case h.Category == CategoryStatus:
		return "compact-TLV objects, then status"
	case h.Category == CategoryDIR:
		return "DIR data reference"
	case h.Category == CategoryTLV:
		return "compact-TLV objects"
	case h.Category > CategoryTLV && h.Category <= 0x8F:
		return "reserved"
	}
	return "proprietary"
}

// Name returns what the object is, such as "card capabilities".
func (o CompactTLV) Name() string {
	switch o.Tag {
	case TagCountry:
		return "country code"
	case TagIssuer:
		return "issuer identification number"
	case TagService:
		return "card service data"
	case TagInitialAccess:
		return "initial access data"
	case TagIssuerData:
		return "card issuer's data"
	case TagPreIssuing:
		return "pre-issuing data"
	case TagCapabilities:
		return "card capabilities"
	case TagStatus:
		return "status"
	case TagApplication:
		return "application identifier"
	}
	return "reserved"
}

// Words returns what the object's value means, a line each; none where the standard does not say.
func (o CompactTLV) Words() []string {
	switch o.Tag {
	case TagCountry:
		return countryWords(o.Value)
	case TagService:
		if len(o.Value) == 1 {
			return serviceWords(o.Value[0])
		}
		return []string{fmt.Sprintf("%d bytes, want 1", len(o.Value))}
	case TagInitialAccess:
		return accessWords(o.Value)
	case TagCapabilities:
		return capabilityWords(o.Value)
	}
	return nil
}

// Words returns what the status says, a line each.
func (s CardStatus) Words() []string {
	var list []string
	if s.HasLifeCycle {
		list = append(list, fmt.Sprintf("life cycle %02X: %s", s.LifeCycle, lifeCycle(s.LifeCycle)))
	}
	if s.HasWord {
		words := "none said"
		if s.Word != 0 {
			words = s.Word.Words()
		}
		list = append(list, fmt.Sprintf("status word %v: %s", s.Word, words))
	}
	return list
}

// lifeCycle returns what a life cycle status byte means, ISO/IEC 7816-4 §7.4.10.
func lifeCycle(c byte) string {
	switch {
	case c == 0:
		return "not said"
	case c == 1:
		return "creation"
	case c == 3:
		return "initialization"
	case c&^0x02 == 0x05:
		return "operational, activated"
	case c&^0x02 == 0x04:
		return "operational, deactivated"
	case c&^0x03 == 0x0C:
		return "termination"
	case c > 0x0F:
		return "proprietary"
	}
	return "reserved"
}

// countryWords reads the three digits of ISO 3166-1 at the beginning.
func countryWords(v []byte) []string {
	if len(v) < 2 || v[0]>>4 > 9 || v[0]&0x0F > 9 || v[1]>>4 > 9 {
		return nil
	}
	return []string{fmt.Sprintf("country %02X%X of ISO 3166-1", v[0], v[1]>>4)}
}

// accessWords reads initial access data, ISO/IEC 7816-4 §12.1.1.6: a length, a file and a length, or a command.
func accessWords(v []byte) []string {
	switch {
	case len(v) == 1:
		return []string{fmt.Sprintf("read %d bytes", v[0])}
	case len(v) == 2:
		return []string{fmt.Sprintf("read %d bytes of the file with short identifier %d", v[1], v[0]&0x1F)}
	case len(v) >= 5:
		return []string{"command to begin with"}
	}
	return []string{fmt.Sprintf("%d bytes, want 1, 2, or 5 and more", len(v))}
}

// serviceWords reads card service data, ISO/IEC 7816-4 §12.1.1.5.
func serviceWords(c byte) []string {
	list := bits(c, []bit{
		{0x80, "application selection by full DF name"},
		{0x40, "application selection by partial DF name"},
		{0x20, "BER-TLV data objects in EF.DIR"},
		{0x10, "BER-TLV data objects in EF.ATR/INFO"},
	})
	switch c >> 1 & 7 {
	case 0b100:
		list = append(list, "EF.DIR and EF.ATR/INFO are read by READ BINARY")
	case 0b000:
		list = append(list, "EF.DIR and EF.ATR/INFO are read by READ RECORD")
	case 0b010:
		list = append(list, "EF.DIR and EF.ATR/INFO are read by GET DATA")
	default:
		list = append(list, "EF.DIR and EF.ATR/INFO are read in a reserved way")
	}
	return append(list, [2]string{"card with MF", "card without MF"}[c&1])
}

// capabilityWords reads card capabilities, ISO/IEC 7816-4 §12.1.1.9: one to three bytes.
func capabilityWords(v []byte) []string {
	if len(v) < 1 || len(v) > 3 {
		return []string{fmt.Sprintf("%d bytes, want 1 to 3", len(v))}
	}
	list := bits(v[0], []bit{
		{0x80, "DF selection by full DF name"},
		{0x40, "DF selection by partial DF name"},
		{0x20, "DF selection by path"},
		{0x10, "DF selection by file identifier"},
		{0x08, "implicit DF selection"},
		{0x04, "short EF identifiers"},
		{0x02, "record numbers"},
		{0x01, "record identifiers"},
	})
	if len(v) > 1 {
		list = append(list, codingWords(v[1])...)
	}
	if len(v) > 2 {
		list = append(list, chainingWords(v[2])...)
	}
	return list
}

// codingWords reads the data coding byte, the second of the card capabilities.
func codingWords(c byte) []string {
	list := bits(c, []bit{{0x80, "EFs of TLV structure"}})
	list = append(list, "write functions: "+[4]string{"one-time write", "proprietary", "write OR", "write AND"}[c>>5&3])
	list = append(list, "FF as first byte of a BER-TLV tag: "+[2]string{"not valid", "valid"}[c>>4&1])
	return append(list, fmt.Sprintf("data unit: %d half-bytes", 1<<(c&0x0F)))
}

// chainingWords reads the third byte of the card capabilities.
func chainingWords(c byte) []string {
	list := bits(c, []bit{
		{0x80, "command chaining"},
		{0x40, "extended Lc and Le fields"},
		{0x20, "extended length information in EF.ATR/INFO"},
	})
	which := capabilities(c)
	assigned := "no logical channels"
	switch {
	case which.ChannelsByCard && which.ChannelsByOther:
		assigned = "logical channels numbered by the card or the interface device"
	case which.ChannelsByCard:
		assigned = "logical channels numbered by the card"
	case which.ChannelsByOther:
		assigned = "logical channels numbered by the interface device"
	}
	most := fmt.Sprintf("at most %d logical channels", which.Channels)
	switch which.Channels {
	case 1:
		most = "at most 1 logical channel"
	case 8:
		most = "8 or more logical channels"
	}
	return append(list, assigned, most)
}

// bit is what a bit of a byte means.
type bit struct {
	mask byte
	name string
}

// bits returns the names of those that are set.
func bits(c byte, names []bit) []string {
	var list []string
	for _, b := range names {
		if c&b.mask != 0 {
			list = append(list, b.name)
		}
	}
	return list
}
