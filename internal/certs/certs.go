// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package certs reads X.509 certificates as they are found on cards, for people and programs to look at: names, numbers, keys, and
// whether they are about to expire. It verifies nothing.
//
// The names, the serial number, the validity and the key's hash are read by this package itself, because crypto/x509 refuses
// certificates that cards do hold: those with a negative serial number, with a key on a curve that Go does not have (Brainpool),
// with a name in an old string type. Of such a certificate [Certificate.X509] is nil, and what needs it is empty.
package certs

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker"
)

// MaxSize is how long a certificate may be, in bytes, as text or DER.
const MaxSize = 64 << 10

// Certificate is a certificate that was read.
type Certificate struct {
	DER       []byte
	Version   int      // 1 to 3
	Serial    *big.Int // may be negative
	Issuer    Name
	Subject   Name
	NotBefore time.Time
	NotAfter  time.Time // the last moment at which it is valid
	SPKI      []byte    // SubjectPublicKeyInfo, DER

	X509 *x509.Certificate // nil: crypto/x509 refuses it
}

// Parse reads a certificate from text: PEM, or the base64 of its DER (RFC 4648 §4; lines may be broken). Errors: Invalid with the
// place, TooLarge.
func Parse(text string) (Certificate, error) {
	if len(text) > MaxSize {
		return Certificate{}, tooLarge(len(text))
	}
	if strings.Contains(text, "-----BEGIN ") {
		block, rest := pem.Decode([]byte(text))
		switch {
		case block == nil:
			return Certificate{}, invalid("PEM", "a block that begins does not end, or is damaged")
		case block.Type != "CERTIFICATE":
			return Certificate{}, invalid("PEM", "the block is no CERTIFICATE")
		case strings.TrimSpace(string(rest)) != "":
			return Certificate{}, invalid("PEM", "something follows after the certificate, at byte %d", len(text)-len(rest))
		}
		return ParseDER(block.Bytes)
	}
	der, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if at, ok := errors.AsType[base64.CorruptInputError](err); ok {
		return Certificate{}, invalid("base64", "byte %d is wrong; want PEM, or base64 of DER", int64(at))
	}
	return ParseDER(der)
}

// ParseDER reads a certificate, RFC 5280 §4.1, and nothing after it. It keeps der. Errors: Invalid with the place, TooLarge.
func ParseDER(der []byte) (Certificate, error) {
	if len(der) > MaxSize {
		return Certificate{}, tooLarge(len(der))
	}
	c := Certificate{DER: der}
	var outer, inner asn1.RawValue
	all := &reader{rest: der}
	all.read("certificate", &outer, "")
	if all.err == nil && len(all.rest) > 0 {
		return c, invalid("certificate", "%d bytes follow after it", len(all.rest))
	}
	whole := all.into("certificate", outer)
	whole.read("tbsCertificate", &inner, "")
	fields := whole.into("tbsCertificate", inner)
	var validity struct{ NotBefore, NotAfter time.Time }
	var key, issuer, subject asn1.RawValue
	fields.read("version", &c.Version, "optional,explicit,default:0,tag:0")
	fields.read("serialNumber", &c.Serial, "")
	fields.read("signature", &asn1.RawValue{}, "")
	fields.read("issuer", &issuer, "")
	fields.read("validity", &validity, "")
	fields.read("subject", &subject, "")
	fields.read("subjectPublicKeyInfo", &key, "")
	if fields.err == nil {
		c.Issuer, fields.err = parseName("issuer", issuer.FullBytes)
	}
	if fields.err == nil {
		c.Subject, fields.err = parseName("subject", subject.FullBytes)
	}
	if fields.err == nil && (c.Version < 0 || c.Version > 2) {
		fields.err = invalid("version", "%d is none", c.Version)
	}
	if fields.err != nil {
		return Certificate{}, fields.err
	}
	c.Version++
	c.NotBefore, c.NotAfter, c.SPKI = validity.NotBefore.UTC(), validity.NotAfter.UTC(), key.FullBytes
	if parsed, err := x509.ParseCertificate(der); err == nil {
		c.X509 = parsed
	}
	return c, nil
}

// reader reads one value after the other, until one is wrong.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) read(place string, v any, params string) {
	if r.err != nil {
		return
	}
	rest, err := asn1.UnmarshalWithParams(r.rest, v, params)
	if err != nil {
		r.err = cardbroker.Wrapf(err, cardbroker.Invalid, "certificate: %s: not what X.509 wants here", place)
	}
	r.rest = rest
}

// into returns a reader of what is in a sequence that r has read.
func (r *reader) into(place string, sequence asn1.RawValue) *reader {
	if r.err == nil && (sequence.Class != asn1.ClassUniversal || sequence.Tag != asn1.TagSequence || !sequence.IsCompound) {
		return &reader{err: invalid(place, "no SEQUENCE")}
	}
	return &reader{rest: sequence.Bytes, err: r.err}
}

func invalid(place, format string, args ...any) error {
	return cardbroker.Errorf(cardbroker.Invalid, "certificate: %s: %s", place, fmt.Sprintf(format, args...))
}

func tooLarge(size int) error {
	return cardbroker.Errorf(cardbroker.TooLarge, "a certificate of %d bytes, want %d or less", size, MaxSize)
}

// PEM returns the certificate as PEM, RFC 7468 §5.
func (c Certificate) PEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.DER}))
}

// Base64 returns the DER in base64, on one line.
func (c Certificate) Base64() string { return base64.StdEncoding.EncodeToString(c.DER) }

// SerialText returns the serial number in hexadecimal, upper case, two digits for each byte of its value: as openssl prints it.
func (c Certificate) SerialText() string {
	digits := fmt.Sprintf("%X", new(big.Int).Abs(c.Serial))
	if len(digits)%2 == 1 {
		digits = "0" + digits
	}
	if c.Serial.Sign() < 0 {
		return "-" + digits
	}
	return digits
}

// KeyHash is the SHA-256 of the SubjectPublicKeyInfo: certificates of one key have the same.
func (c Certificate) KeyHash() [sha256.Size]byte { return sha256.Sum256(c.SPKI) }

// The types of keys.
const (
	KeyRSA     = "rsa"
	KeyEC      = "ec"
	KeyEd25519 = "ed25519"
)

// Key returns the type of the public key, empty for one that is not known here, and its size in bits.
func (c Certificate) Key() (kind string, bits int) {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(c.SPKI, &info); err != nil {
		return "", 0
	}
	switch info.Algorithm.Algorithm.String() {
	case "1.2.840.113549.1.1.1", "1.2.840.113549.1.1.10": // rsaEncryption, id-RSASSA-PSS: RFC 8017 §A.1, RFC 4055 §1.2
		if key, err := x509.ParsePKCS1PublicKey(info.Key.Bytes); err == nil {
			bits = key.N.BitLen()
		}
		return KeyRSA, bits
	case "1.2.840.10045.2.1": // id-ecPublicKey, RFC 5480 §2.1.1
		return KeyEC, c.curveBits(info.Key.Bytes)
	case "1.3.101.112": // id-Ed25519, RFC 8410 §3
		return KeyEd25519, 256
	}
	return "", 0
}

// curveBits returns the size of the curve that a point is on. Curves that Go does not have are of whole bytes.
func (c Certificate) curveBits(point []byte) int {
	if c.X509 != nil {
		if key, ok := c.X509.PublicKey.(*ecdsa.PublicKey); ok {
			return key.Params().BitSize
		}
	}
	switch {
	case len(point) > 1 && point[0] == 4: // uncompressed, SEC 1 §2.3.3
		return (len(point) - 1) / 2 * 8
	case len(point) > 1:
		return (len(point) - 1) * 8
	}
	return 0
}
