// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package sealed encrypts PINs as web pages do, and as attackers would have them, for tests. It is made from the standards and the
// standard library alone, so that it does not share the faults of what it tests.
package sealed

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"time"

	"github.com/cardbroker/cardbroker/api"
)

// PublicKey reads a device key in PEM.
func PublicKey(text string) (*rsa.PublicKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("this is not PEM")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	public, ok := key.(*rsa.PublicKey)
	if !ok {
		return nil, errors.New("this is no RSA key")
	}
	return public, nil
}

// PKCS1 encrypts to the key of /device-key as JSEncrypt does: base64 of RSAES-PKCS1-v1_5.
func PKCS1(device string, pin []byte) (string, error) {
	key, err := PublicKey(device)
	if err != nil {
		return "", err
	}
	//lint:ignore SA1019 as existing clients do
	blob, err := rsa.EncryptPKCS1v15(rand.Reader, key, pin)
	return base64.StdEncoding.EncodeToString(blob), err
}

// Raw encrypts a block of the key's size as it is: textbook RSA.
func Raw(key *rsa.PublicKey, block []byte) string {
	c := new(big.Int).Exp(new(big.Int).SetBytes(block), big.NewInt(int64(key.E)), key.N)
	return base64.StdEncoding.EncodeToString(c.FillBytes(make([]byte, key.Size())))
}

// Header is the protected header of a JWE.
type Header map[string]any

// NewHeader returns a good header for a PIN.
func NewHeader(key api.DeviceJWK, audience, nonce string) Header {
	return Header{
		"alg": key.Algorithm, "enc": "A256GCM", "typ": "pin+jwe", "kid": key.KeyID, "aud": audience, "nonce": nonce,
		"exp": time.Now().Add(50 * time.Second).Unix(),
	}
}

// JWE encrypts to a key with a header, which may be any; to an EC key by ECDH-ES (RFC 7518 §4.6), to an RSA key by RSA-OAEP-256.
func JWE(key api.DeviceJWK, header Header, content []byte) (string, error) {
	cek, encrypted := make([]byte, 32), []byte(nil)
	if key.Type == "RSA" {
		rand.Read(cek)
		n, err := base64.RawURLEncoding.DecodeString(key.N)
		if err != nil {
			return "", err
		}
		public := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 65537}
		if encrypted, err = rsa.EncryptOAEP(sha256.New(), rand.Reader, public, cek, nil); err != nil {
			return "", err
		}
	} else if err := agree(key, header, cek); err != nil {
		return "", err
	}
	protected, err := json.Marshal(header)
	if err != nil {
		return "", err
	}
	return Compact(string(protected), encrypted, cek, content)
}

// Compact puts a JWE together: the header's text, the encrypted key and what cek encrypts with A256GCM.
func Compact(protected string, encrypted, cek, content []byte) (string, error) {
	block, err := aes.NewCipher(cek)
	if err != nil {
		return "", err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return "", err
	}
	head := base64.RawURLEncoding.EncodeToString([]byte(protected))
	iv := make([]byte, gcm.NonceSize())
	rand.Read(iv)
	sealed := gcm.Seal(nil, iv, content, []byte(head))
	text, tag := sealed[:len(content)], sealed[len(content):]
	return head + "." + base64.RawURLEncoding.EncodeToString(encrypted) + "." + base64.RawURLEncoding.EncodeToString(iv) + "." + base64.RawURLEncoding.EncodeToString(text) + "." + base64.RawURLEncoding.EncodeToString(tag), nil
}

// agree derives the content key with a new key pair, whose public half goes into the header.
func agree(key api.DeviceJWK, header Header, cek []byte) error {
	x, err := base64.RawURLEncoding.DecodeString(key.X)
	if err != nil {
		return err
	}
	y, err := base64.RawURLEncoding.DecodeString(key.Y)
	if err != nil {
		return err
	}
	public, err := ecdh.P256().NewPublicKey(append(append([]byte{4}, x...), y...))
	if err != nil {
		return err
	}
	own, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	z, err := own.ECDH(public)
	if err != nil {
		return err
	}
	point := own.PublicKey().Bytes()
	header["epk"] = map[string]string{"kty": "EC", "crv": "P-256", "x": base64.RawURLEncoding.EncodeToString(point[1:33]), "y": base64.RawURLEncoding.EncodeToString(point[33:])}
	h := sha256.New() // the Concat KDF of NIST SP 800-56A with one round
	binary.Write(h, binary.BigEndian, uint32(1))
	h.Write(z)
	binary.Write(h, binary.BigEndian, uint32(len("A256GCM")))
	h.Write([]byte("A256GCM"))
	binary.Write(h, binary.BigEndian, [3]uint32{0, 0, 256}) // no PartyUInfo, no PartyVInfo, 256 bits
	h.Sum(cek[:0])
	return nil
}
