// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package token is the language of `cardsandbox pkcs11`: what the agent asks of a PKCS#11 module, and what it is answered,
// as JSON in frames of package wire. It is data only; it knows no module and no agent.
//
// A question is a frame Call with a [Question], an answer a frame Return with an [Answer] or a frame Error. Info and Slots are
// asked on the first stream, all else on the stream that Slots has named for the slot. A PIN never stands in JSON: each that a
// question needs travels before it in a frame Secret of its own, with the question's seq, and is overwritten once it is used.
package token

import (
	"github.com/cardbroker/cardbroker"
)

// Call says what is asked.
type Call string

// The calls. Those from Login on use secrets, in the order given here.
const (
	CallInfo    Call = "info"    // Answer.Library, C_GetInfo
	CallSlots   Call = "slots"   // Answer.Slots, C_GetSlotList
	CallToken   Call = "token"   // Answer.Token, C_GetTokenInfo and its mechanisms
	CallObjects Call = "objects" // Answer.Certificates: the public objects of the token; with a PIN those behind it, too

	CallLogin     Call = "login"      // compares the user PIN (one secret)
	CallSign      Call = "sign"       // Answer.Signatures; the user PIN (one secret), or none for a key that needs none
	CallVerify    Call = "verify"     // Answer.Valid, with the token's public key; no secret
	CallChangePIN Call = "change_pin" // the PIN and the new one (two secrets), C_SetPIN
	CallUnblock   Call = "unblock"    // the PUK and the new PIN (two secrets), C_InitPIN as the security officer
)

// Question is what is asked. The fields that a call does not name are empty.
type Question struct {
	Call      Call    `json:"call"`
	Present   bool    `json:"present,omitempty"`   // slots: those with a token only
	Protected bool    `json:"protected,omitempty"` // the PIN is entered at the reader: no secret, CKF_PROTECTED_AUTHENTICATION_PATH
	Serial    string  `json:"serial,omitempty"`    // of a slot: the token that is meant, CK_TOKEN_INFO; empty: whichever is there
	Refuse    uint    `json:"refuse,omitempty"`    // of a slot: flags of a token that nothing is to be done with, CKF_…; Conflict, and nothing was
	Sign      *Sign   `json:"sign,omitempty"`
	Verify    *Verify `json:"verify,omitempty"`
}

// Scheme is how a signature is made.
type Scheme string

// The schemes.
const (
	RSAPKCS1 Scheme = "rsa_pkcs1" // RSASSA-PKCS1-v1_5, RFC 8017 §8.2
	RSAPSS   Scheme = "rsa_pss"   // RSASSA-PSS, RFC 8017 §8.1; MGF1 and salt as long as the hash, by the hash itself
	ECDSA    Scheme = "ecdsa"     // r and s of the same length, one after the other, PKCS#11 v2.40 §2.3.1
)

// Hash names the hash that is signed.
type Hash string

// The hashes.
const (
	SHA1   Hash = "sha1"
	SHA256 Hash = "sha256"
	SHA384 Hash = "sha384"
	SHA512 Hash = "sha512"
)

// Input is what one signature is made over: the digest always, the data where the asker has it. A token that has only
// mechanisms that hash by themselves needs the data.
type Input struct {
	Digest []byte `json:"digest"`
	Data   []byte `json:"data,omitempty"`
}

// Sign asks for signatures, all within one login.
type Sign struct {
	Key    []byte  `json:"key"` // CKA_ID of the private key
	Scheme Scheme  `json:"scheme"`
	Hash   Hash    `json:"hash"`
	Inputs []Input `json:"inputs"` // 1 or more
}

// Verify asks whether a signature is good, by the token's public key.
type Verify struct {
	Key       []byte `json:"key"` // CKA_ID of the public key
	Scheme    Scheme `json:"scheme"`
	Hash      Hash   `json:"hash"`
	Input     Input  `json:"input"`
	Signature []byte `json:"signature"`
}

// Answer is what is answered. The fields that a call does not name are empty.
type Answer struct {
	Library      *Library      `json:"library,omitempty"`
	Slots        []Slot        `json:"slots,omitempty"`
	Token        *Token        `json:"token,omitempty"`
	Certificates []Certificate `json:"certificates,omitempty"`
	Signatures   [][]byte      `json:"signatures,omitempty"`
	Valid        bool          `json:"valid,omitempty"`
}

// Library is CK_INFO. Texts are without the blanks that fill them up.
type Library struct {
	Cryptoki     string `json:"cryptoki"` // version, such as "2.40"
	Manufacturer string `json:"manufacturer"`
	Description  string `json:"description"`
	Version      string `json:"version"`
	Flags        uint   `json:"flags"`
}

// Slot is CK_SLOT_INFO, and where it is asked.
type Slot struct {
	ID           uint   `json:"id"`     // CK_SLOT_ID, of this process of the module
	Stream       uint8  `json:"stream"` // 1 to wire.Streams-1; 0: there are too many slots, and this one cannot be asked
	Description  string `json:"description"`
	Manufacturer string `json:"manufacturer"`
	Flags        uint   `json:"flags"`
	Hardware     string `json:"hardware"`        // version
	Firmware     string `json:"firmware"`        // version
	Token        *Token `json:"token,omitempty"` // without mechanisms; nil: there is none
}

// Token is CK_TOKEN_INFO. A number that the token does not tell is -1; unlimited sessions are 0.
type Token struct {
	Label              string      `json:"label"`
	Manufacturer       string      `json:"manufacturer"`
	Model              string      `json:"model"`
	Serial             string      `json:"serial"`
	Flags              uint        `json:"flags"` // CKF_…
	MaxSessions        int64       `json:"max_sessions"`
	Sessions           int64       `json:"sessions"`
	MaxRWSessions      int64       `json:"max_rw_sessions"`
	RWSessions         int64       `json:"rw_sessions"`
	MaxPIN             int         `json:"max_pin"` // characters
	MinPIN             int         `json:"min_pin"`
	TotalPublicMemory  int64       `json:"total_public_memory"` // bytes
	FreePublicMemory   int64       `json:"free_public_memory"`
	TotalPrivateMemory int64       `json:"total_private_memory"`
	FreePrivateMemory  int64       `json:"free_private_memory"`
	Hardware           string      `json:"hardware"` // version
	Firmware           string      `json:"firmware"` // version
	Mechanisms         []Mechanism `json:"mechanisms,omitempty"`
}

// Mechanism is CK_MECHANISM_INFO.
type Mechanism struct {
	Type   uint   `json:"type"`           // CKM_…
	Name   string `json:"name,omitempty"` // "CKM_RSA_PKCS"; empty: one that we do not know
	Flags  uint   `json:"flags"`
	MinKey uint   `json:"min_key"` // the mechanism's own unit: mostly bits
	MaxKey uint   `json:"max_key"`
}

// The flags of a token that count here, PKCS#11 v2.40 §3.2.
const (
	FlagLoginRequired   = 0x00000004
	FlagProtectedPath   = 0x00000100
	FlagInitialized     = 0x00000400
	FlagUserPINLow      = 0x00010000
	FlagUserPINFinal    = 0x00020000
	FlagUserPINLocked   = 0x00040000
	FlagUserPINToChange = 0x00080000
	FlagSOPINLow        = 0x00100000
	FlagSOPINFinal      = 0x00200000
	FlagSOPINLocked     = 0x00400000
)

// Certificate is an X.509 certificate on the token, and what is there of its key.
type Certificate struct {
	ID    []byte `json:"id"` // CKA_ID, which its keys have, too
	Label string `json:"label"`
	DER   []byte `json:"der"`
	Key   *Key   `json:"key,omitempty"` // the private key; nil: none is seen, as far as can be told without a PIN
}

// Key is a private key, or the public one where that is all that can be seen without a PIN.
type Key struct {
	Type       string   `json:"type"` // "rsa" or "ec"
	Bits       int      `json:"bits"`
	Sign       bool     `json:"sign"`                 // CKA_SIGN
	Decrypt    bool     `json:"decrypt"`              // CKA_DECRYPT
	EachUse    bool     `json:"each_use,omitempty"`   // CKA_ALWAYS_AUTHENTICATE
	Mechanisms []string `json:"mechanisms,omitempty"` // CKA_ALLOWED_MECHANISMS, by name; empty: all
}

// Secrets says how many secrets a question has before it.
func (q Question) Secrets() (least, most int) {
	if q.Protected {
		return 0, 0
	}
	switch q.Call {
	case CallLogin:
		return 1, 1
	case CallSign, CallObjects:
		return 0, 1
	case CallChangePIN, CallUnblock:
		return 2, 2
	}
	return 0, 0
}

// Limits in bytes.
const (
	MaxSecret = 255     // a PIN; it has 1 or more
	MaxJSON   = 4 << 20 // a question or an answer
)

// Check says what is wrong with a question, before anybody is asked it. Errors: Invalid, with the place.
func (q Question) Check() error {
	switch q.Call {
	case CallInfo, CallSlots, CallToken, CallObjects, CallLogin, CallChangePIN, CallUnblock:
		return nil
	case CallSign:
		if q.Sign == nil || len(q.Sign.Inputs) == 0 {
			return cardbroker.Errorf(cardbroker.Invalid, "sign: nothing to sign")
		}
		return check(q.Sign.Scheme, q.Sign.Hash, q.Sign.Inputs...)
	case CallVerify:
		if q.Verify == nil || len(q.Verify.Signature) == 0 {
			return cardbroker.Errorf(cardbroker.Invalid, "verify: no signature")
		}
		return check(q.Verify.Scheme, q.Verify.Hash, q.Verify.Input)
	}
	return cardbroker.Errorf(cardbroker.Invalid, "call: %q is none", q.Call)
}

func check(scheme Scheme, hash Hash, inputs ...Input) error {
	if scheme != RSAPKCS1 && scheme != RSAPSS && scheme != ECDSA {
		return cardbroker.Errorf(cardbroker.Invalid, "scheme: %q is none", scheme)
	}
	size := hash.Size()
	if size == 0 {
		return cardbroker.Errorf(cardbroker.Invalid, "hash: %q is none", hash)
	}
	for i, in := range inputs {
		if len(in.Digest) != size {
			return cardbroker.Errorf(cardbroker.Invalid, "inputs[%d].digest: %d bytes, want %d for %s", i, len(in.Digest), size, hash)
		}
	}
	return nil
}

// Size returns the length of a digest in bytes; 0: there is no such hash.
func (h Hash) Size() int {
	switch h {
	case SHA1:
		return 20
	case SHA256:
		return 32
	case SHA384:
		return 48
	case SHA512:
		return 64
	}
	return 0
}
