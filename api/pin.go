// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package api

import "time"

// DeviceKey is the public half of an agent's device key, which PINs are encrypted to. Over the link it tells the broker of it,
// which answers GET /device-key with PEM. The zero value says that there is none yet.
type DeviceKey struct {
	PEM        string      `json:"pem"`        // of the RSA key: SubjectPublicKeyInfo, as existing clients want it
	Keys       []DeviceJWK `json:"keys"`       // P-256 first, then RSA
	Thumbprint string      `json:"thumbprint"` // of the P-256 key
}

// DeviceKeys answers GET /cb/v1/device-key: a JWK set, RFC 7517 §5, with the thumbprint of its P-256 key.
type DeviceKeys struct {
	Keys       []DeviceJWK `json:"keys"`
	Thumbprint string      `json:"thumbprint"`
}

// DeviceJWK is one public key, RFC 7517: EC has crv, x and y, RSA has n and e.
type DeviceJWK struct {
	Type      string `json:"kty"` // EC or RSA
	Use       string `json:"use"` // enc
	Algorithm string `json:"alg"` // ECDH-ES or RSA-OAEP-256
	KeyID     string `json:"kid"` // its thumbprint, RFC 7638 with SHA-256
	Curve     string `json:"crv,omitempty"`
	X         string `json:"x,omitempty"`
	Y         string `json:"y,omitempty"`
	N         string `json:"n,omitempty"`
	E         string `json:"e,omitempty"`
}

// PINChallenge answers POST /cb/v1/pin-challenges: what the header of a PIN's JWE says, once, until Expires.
type PINChallenge struct {
	Nonce   string    `json:"nonce"`
	Expires time.Time `json:"expires"`
}

// VerifyPIN is the body of POST /cb/v1/readers/{id}/verify-pin, as its asker writes it.
type VerifyPIN struct {
	Reference string `json:"reference"`          // P2 of VERIFY, ISO/IEC 7816-4 §11.6.6: two hexadecimal digits
	Encoding  string `json:"encoding,omitempty"` // how the PIN stands in the command; empty: piv
	AID       string `json:"aid,omitempty"`      // the application that is selected first, 5 to 16 bytes in hexadecimal; empty: none
	PIN       string `json:"pin,omitempty"`      // encrypted to the device key; empty: the user is asked, or has been
	Dialog    bool   `json:"osDialog,omitempty"` // the user is asked, whatever PIN is
}

// PINVerified answers it: the PIN was right. A wrong one is the error pin_incorrect.
type PINVerified struct {
	Verified bool `json:"verified"` // always true
}
