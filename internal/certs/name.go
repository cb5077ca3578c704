// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cardbroker/cardbroker"
)

// Name is a distinguished name, X.501 §9.
type Name struct {
	Raw []byte // DER: what is compared when one name is to be another
	rdn []relativeNameSET
}

// relativeNameSET is a RelativeDistinguishedName; package asn1 takes a SET by this ending.
type relativeNameSET []attribute

type attribute struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

func parseName(place string, der []byte) (Name, error) {
	n := Name{Raw: der}
	if _, err := asn1.Unmarshal(der, &n.rdn); err != nil {
		return n, cardbroker.Wrapf(err, cardbroker.Invalid, "certificate: %s: no distinguished name", place)
	}
	return n, nil
}

// shortName returns the descriptor of an attribute type: those of RFC 4514 §3, and others that are registered for LDAP (RFC 4519)
// or in common use in certificates of persons. Empty: there is none.
func shortName(t asn1.ObjectIdentifier) string {
	switch t.String() {
	case commonName:
		return "CN"
	case "2.5.4.4":
		return "SN"
	case "2.5.4.5":
		return "serialNumber"
	case "2.5.4.6":
		return "C"
	case "2.5.4.7":
		return "L"
	case "2.5.4.8":
		return "ST"
	case "2.5.4.9":
		return "STREET"
	case "2.5.4.10":
		return "O"
	case "2.5.4.11":
		return "OU"
	case "2.5.4.12":
		return "title"
	case "2.5.4.17":
		return "postalCode"
	case "2.5.4.42":
		return "givenName"
	case "2.5.4.43":
		return "initials"
	case "2.5.4.65":
		return "pseudonym"
	case "2.5.4.97":
		return "organizationIdentifier"
	case "0.9.2342.19200300.100.1.1":
		return "UID"
	case "0.9.2342.19200300.100.1.25":
		return "DC"
	case "1.2.840.113549.1.9.1":
		return "emailAddress"
	}
	return ""
}

const commonName = "2.5.4.3"

// String writes the name as RFC 4514 does: the last relative name first, "CN=Alice Example,O=Example,C=BE". An attribute that has
// no short name, or no text as its value, is written as #, its DER in hexadecimal.
func (n Name) String() string {
	var text strings.Builder
	for i, relative := range slices.Backward(n.rdn) {
		if i < len(n.rdn)-1 {
			text.WriteByte(',')
		}
		for j, a := range relative {
			if j > 0 {
				text.WriteByte('+')
			}
			text.WriteString(a.String())
		}
	}
	return text.String()
}

// CNs returns the common names, the most specific (the last one in the certificate) first. There may be none.
func (n Name) CNs() []string {
	names := []string{}
	for _, relative := range slices.Backward(n.rdn) {
		for _, a := range relative {
			if text, ok := a.text(); ok && a.Type.String() == commonName {
				names = append(names, text)
			}
		}
	}
	return names
}

// CN returns the most specific common name; empty: there is none.
func (n Name) CN() string {
	for _, name := range n.CNs() {
		return name
	}
	return ""
}

// String returns "CN=Alice", RFC 4514 §2.3.
func (a attribute) String() string {
	short := shortName(a.Type)
	text, ok := a.text()
	switch {
	case short == "":
		return a.Type.String() + "=#" + hex.EncodeToString(a.Value.FullBytes)
	case !ok:
		return short + "=#" + hex.EncodeToString(a.Value.FullBytes)
	}
	return short + "=" + escape(text)
}

// text returns the value, if it is of a string type.
func (a attribute) text() (string, bool) {
	var value any
	if _, err := asn1.Unmarshal(a.Value.FullBytes, &value); err != nil {
		return "", false
	}
	text, ok := value.(string)
	if ok && !utf8.ValidString(text) { // a TeletexString, which in practice is ISO 8859-1
		runes := make([]rune, len(text))
		for i := range len(text) {
			runes[i] = rune(text[i])
		}
		text = string(runes)
	}
	return text, ok
}

// escape writes a value so that it reads back, RFC 4514 §2.4; control characters so that they do no harm where it is shown.
func escape(text string) string {
	var out strings.Builder
	for i, r := range text {
		last := i+utf8.RuneLen(r) == len(text)
		switch {
		case unicode.IsControl(r):
			for _, b := range []byte(string(r)) {
				fmt.Fprintf(&out, `\%02X`, b)
			}
		case strings.ContainsRune(`"+,;<>\`, r), r == '#' && i == 0, r == ' ' && (i == 0 || last):
			out.WriteByte('\\')
			fallthrough
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}
