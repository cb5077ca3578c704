// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package apdu

// Tag is a BER-TLV tag of one to three bytes, read as a big-endian number: 0x53, 0x7F49, 0x5FC102.
type Tag uint32

// TLV is a BER-TLV data object, ISO/IEC 7816-4 §5.2.2.
type TLV struct {
	Tag   Tag
	Value []byte
}

// ParseTLV reads the data objects that b is made of, one level deep: cards put plain bytes below tags that are marked as
// constructed, so only the caller knows where to go deeper (or [Find], by its path). Bytes 00 between data objects are
// padding. A tag has at most 3 bytes, a length field at most 5; an indefinite length is refused. Values are part of b.
// Errors: [*SyntaxError].
func ParseTLV(b []byte) ([]TLV, error) {
	var list []TLV
	for at := 0; at < len(b); {
		if b[at] == 0 {
			at++
			continue
		}
		o, end, err := parseTLV(b, at)
		if err != nil {
			return nil, err
		}
		list = append(list, o)
		at = end
	}
	return list, nil
}

// Find returns the value of the first data object with the path's first tag, within it the first with the second tag,
// and so on. It is false where there is none or where the bytes on the way are malformed. The value is part of b.
func Find(b []byte, path ...Tag) ([]byte, bool) {
	for _, tag := range path {
		list, err := ParseTLV(b)
		if err != nil {
			return nil, false
		}
		found := false
		for _, o := range list {
			if o.Tag == tag {
				b, found = o.Value, true
				break
			}
		}
		if !found {
			return nil, false
		}
	}
	return b, true
}

// parseTLV reads the data object at b[at:] and returns the offset behind it.
func parseTLV(b []byte, at int) (TLV, int, error) {
	tag, at, err := parseTag(b, at)
	if err != nil {
		return TLV{}, 0, err
	}
	start := at
	length, at, err := parseLength(b, at)
	if err != nil {
		return TLV{}, 0, err
	}
	if uint64(length) > uint64(len(b)-at) {
		return TLV{}, 0, tlvError(start, "the length is %d, but %d bytes follow", length, len(b)-at)
	}
	end := at + int(length)
	return TLV{Tag: tag, Value: b[at:end:end]}, end, nil
}

// parseTag reads the tag at b[at:], which is not empty: X.690 §8.1.2, at most three bytes.
func parseTag(b []byte, at int) (Tag, int, error) {
	tag := Tag(b[at])
	at++
	if tag&0x1F != 0x1F {
		return tag, at, nil
	}
	for i := range 2 {
		switch {
		case at == len(b):
			return 0, 0, tlvError(at, "ends within a tag")
		case i == 0 && b[at] == 0x80:
			return 0, 0, tlvError(at, "a tag's second byte is 80")
		}
		tag = tag<<8 | Tag(b[at])
		at++
		if tag&0x80 == 0 {
			return tag, at, nil
		}
	}
	return 0, 0, tlvError(at-1, "a tag has more than 3 bytes")
}

// parseLength reads the length at b[at:]: X.690 §8.1.3, definite, at most four bytes behind the first.
func parseLength(b []byte, at int) (uint32, int, error) {
	if at == len(b) {
		return 0, 0, tlvError(at, "ends before a length")
	}
	first := b[at]
	if first < 0x80 {
		return uint32(first), at + 1, nil
	}
	n := int(first & 0x7F)
	switch {
	case n < 1 || n > 4:
		return 0, 0, tlvError(at, "a length begins with %02X, want 00 to 7F or 81 to 84", first)
	case len(b)-at-1 < n:
		return 0, 0, tlvError(len(b), "ends within a length")
	}
	length := uint32(0)
	for _, c := range b[at+1 : at+1+n] {
		length = length<<8 | uint32(c)
	}
	return length, at + 1 + n, nil
}

// AppendTLV appends a data object to dst, its length in the shortest form. tag is one that [ParseTLV] can read. To nest,
// pass what AppendTLV(nil, …) returned as value.
func AppendTLV(dst []byte, tag Tag, value []byte) []byte {
	if tag > 0xFFFF {
		dst = append(dst, byte(tag>>16))
	}
	if tag > 0xFF {
		dst = append(dst, byte(tag>>8))
	}
	dst = append(dst, byte(tag))
	switch n := len(value); {
	case n < 0x80:
		dst = append(dst, byte(n))
	case n <= 0xFF:
		dst = append(dst, 0x81, byte(n))
	case n <= 0xFFFF:
		dst = append(dst, 0x82, byte(n>>8), byte(n))
	case n <= 0xFFFFFF:
		dst = append(dst, 0x83, byte(n>>16), byte(n>>8), byte(n))
	default:
		dst = append(dst, 0x84, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return append(dst, value...)
}

func tlvError(offset int, format string, args ...any) error {
	return malformed("TLV", offset, format, args...)
}
