// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package jose

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/cardbroker/cardbroker"
)

// How a secret may be encrypted, RFC 7518 §4 and §5. Direct keys, passwords and RSA PKCS#1 v1.5 are not among them.
const (
	ECDHES   = string(jose.ECDH_ES)      // to a P-256 key
	RSAOAEP  = string(jose.RSA_OAEP_256) // to an RSA key
	contents = jose.A256GCM
)

// maxSealed is the longest token that is looked at, in bytes: a PIN makes one of 350 to 700.
const maxSealed = 4096

// Sealed is a secret in the compact form of JWE, RFC 7516 §7.1, whose header was read. Nobody vouches for the header before
// [Sealed.Open] has succeeded.
type Sealed struct {
	Algorithm string // ECDHES or RSAOAEP
	KeyID     string
	Type      string
	Audience  string
	Nonce     string
	Expires   time.Time

	parsed *jose.JSONWebEncryption
}

// sealedHeader are the members that a header has; what else there could be (zip, crit, p2c, jku, jwk …) is refused.
type sealedHeader struct {
	Algorithm string          `json:"alg"`
	Contents  string          `json:"enc"`
	KeyID     string          `json:"kid"`
	Type      string          `json:"typ"`
	Audience  string          `json:"aud"`
	Nonce     string          `json:"nonce"`
	Expires   int64           `json:"exp"`
	Ephemeral json.RawMessage `json:"epk"`
	PartyU    string          `json:"apu"`
	PartyV    string          `json:"apv"`
}

// ParseSealed reads a token without decrypting anything. Errors: Invalid, which repeats nothing of the token.
func ParseSealed(token string) (Sealed, error) {
	protected, _, _ := strings.Cut(token, ".")
	if len(token) > maxSealed || strings.Count(token, ".") != 4 {
		return Sealed{}, malformed()
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(protected)
	if err != nil || !exactMembers(raw) {
		return Sealed{}, malformed()
	}
	var h sealedHeader
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if d.Decode(&h) != nil || h.Expires <= 0 {
		return Sealed{}, malformed()
	}
	parsed, err := jose.ParseEncryptedCompact(token, []jose.KeyAlgorithm{jose.ECDH_ES, jose.RSA_OAEP_256}, []jose.ContentEncryption{contents})
	if err != nil { // the library is stricter: members that stand twice, lengths
		return Sealed{}, malformed()
	}
	return Sealed{
		Algorithm: h.Algorithm, KeyID: h.KeyID, Type: h.Type, Audience: h.Audience, Nonce: h.Nonce, Expires: time.Unix(h.Expires, 0),
		parsed: parsed,
	}, nil
}

// exactMembers says whether an object's names are spelt as in [sealedHeader]: encoding/json takes ALG for alg, the library
// does not.
func exactMembers(object []byte) bool {
	var members map[string]json.RawMessage
	if json.Unmarshal(object, &members) != nil {
		return false
	}
	for name := range members {
		if strings.ToLower(name) != name {
			return false
		}
	}
	return true
}

// Open decrypts the secret with an *ecdsa.PrivateKey or a *rsa.PrivateKey. ok is false, and nothing says why, if it was
// encrypted to another key or changed on the way. The caller clears what it gets.
func (s Sealed) Open(key crypto.PrivateKey) (secret []byte, ok bool) {
	secret, err := s.parsed.Decrypt(key)
	return secret, err == nil
}

// PublicKey returns the JWK (RFC 7517) of a public key for encryption, and its key id, which is its thumbprint (RFC 7638)
// with SHA-256, 43 characters of base64url.
func PublicKey(public crypto.PublicKey, algorithm string) (jwk []byte, id string, err error) {
	key := jose.JSONWebKey{Key: public, Algorithm: algorithm, Use: "enc"}
	sum, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, "", err
	}
	key.KeyID = base64.RawURLEncoding.EncodeToString(sum)
	jwk, err = key.MarshalJSON()
	return jwk, key.KeyID, err
}

func malformed() error {
	return cardbroker.Errorf(cardbroker.Invalid, "this is not a JWE in compact form with the header that is wanted")
}
