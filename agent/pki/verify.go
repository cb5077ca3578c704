// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/asn1"
	"encoding/base64"
	"math/big"
	"net/http"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/pin"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/token"
)

// validateWish is api.ValidateSignature as it is read.
type validateWish struct {
	Algorithm  string    `json:"algorithm"`
	Hash       string    `json:"hash"`
	Hashed     *bool     `json:"hashed"`
	SignedHash string    `json:"signedHash"`
	ID         string    `json:"id"`
	PIN        pin.Field `json:"pin"`
	OSDialog   bool      `json:"osDialog"`
	Timeout    *int      `json:"timeout"`
	TxID       string    `json:"txId"`
	Language   string    `json:"language"`
}

// validate says whether a signature is good. No PIN is needed for that: one that is sent is not used.
func (p *PKI) validate(w http.ResponseWriter, r *http.Request) error {
	var wish validateWish
	defer wish.PIN.Wipe()
	if err := httpserver.Decode(r, &wish); err != nil {
		return err
	}
	a, err := parseAlgorithm(wish.Algorithm)
	if err != nil {
		return err
	}
	input, err := a.input("hash", wish.Hash, wish.Hashed)
	if err != nil {
		return err
	}
	signature, err := base64.StdEncoding.DecodeString(wish.SignedHash)
	if err != nil || len(signature) == 0 {
		return cardbroker.Errorf(cardbroker.Invalid, "signedHash: want base64 of a signature")
	}
	return p.at(r, wish.Timeout, func(r *http.Request, in place) error {
		all, err := p.certificates(r.Context(), in)
		if err != nil {
			return err
		}
		c, err := find(all, wish.ID, nonRepudiation, authentication)
		if err != nil {
			return err
		}
		a, err := a.with(c.keyType())
		if err != nil {
			return err
		}
		valid, err := p.verify(r.Context(), in, c, token.Verify{Key: c.ID, Scheme: a.scheme, Hash: a.hash, Input: input, Signature: signature})
		if err != nil {
			return err
		}
		return httpserver.Data(w, api.SignatureValid{Valid: valid})
	})
}

// verify has the token verify a signature; where it cannot, the certificate's key does.
func (p *PKI) verify(ctx context.Context, in place, c *certificate, v token.Verify) (bool, error) {
	var key crypto.PublicKey
	if c.parsed != nil {
		key = c.parsed.PublicKey
	}
	if ec, ok := key.(*ecdsa.PublicKey); ok {
		v.Signature = rawECDSA(ec, v.Signature)
	}
	said, err := p.ask(ctx, in, token.Question{Call: token.CallVerify, Verify: &v})
	switch cardbroker.ReasonOf(err) {
	case "":
		return said.Valid, nil
	case cardbroker.Unsupported, cardbroker.ObjectUnknown, cardbroker.Internal: // OpenSC's module calls some bad signatures CKR_GENERAL_ERROR
		return verifyBy(key, v)
	}
	return false, err
}

// rawECDSA returns an ECDSA signature as PKCS#11 has it, r and s one after the other, though it came in DER (RFC 3279 §2.2.3).
func rawECDSA(key *ecdsa.PublicKey, signature []byte) []byte {
	size := (key.Params().BitSize + 7) / 8
	var pair struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(signature, &pair)
	if len(signature) == 2*size || err != nil || len(rest) > 0 || !fits(pair.R, size) || !fits(pair.S, size) {
		return signature
	}
	raw := make([]byte, 2*size)
	pair.R.FillBytes(raw[:size])
	pair.S.FillBytes(raw[size:])
	return raw
}

func fits(n *big.Int, size int) bool { return n.Sign() > 0 && (n.BitLen()+7)/8 <= size }

// maxRSA is the longest RSA key that is verified with, in bits: with one as long as a certificate may be, a signature takes minutes.
const maxRSA = 16384

// verifyBy verifies with a public key. Errors: Unsupported (it is of another type than the scheme, or of none that is known).
func verifyBy(key crypto.PublicKey, v token.Verify) (bool, error) {
	hash := algorithm{hash: v.Hash}.cryptoHash()
	switch key := key.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() > maxRSA {
			break
		}
		switch v.Scheme {
		case token.RSAPKCS1:
			return rsa.VerifyPKCS1v15(key, hash, v.Input.Digest, v.Signature) == nil, nil
		case token.RSAPSS:
			return rsa.VerifyPSS(key, hash, v.Input.Digest, v.Signature, nil) == nil, nil // of any length of salt
		}
	case *ecdsa.PublicKey:
		half := len(v.Signature) / 2
		if v.Scheme != token.ECDSA {
			break
		}
		if len(v.Signature)%2 != 0 || half != (key.Params().BitSize+7)/8 {
			return false, nil
		}
		der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(v.Signature[:half]), new(big.Int).SetBytes(v.Signature[half:])})
		return err == nil && ecdsa.VerifyASN1(key, v.Input.Digest, der), nil
	}
	return false, cardbroker.Errorf(cardbroker.Unsupported, "neither the token nor its certificate's key can verify this")
}
