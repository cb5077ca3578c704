// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pki_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/token"
	"github.com/cardbroker/cardbroker/test/softtoken"
)

var text = []byte("what is signed")

func hashed() string {
	sum := sha256.Sum256(text)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// TestSign has every key sign in every way, and the signatures verified by the token and without it.
func TestSign(t *testing.T) {
	for name, test := range map[string]struct {
		call string
		body fields
		key  byte
		pss  bool
	}{
		"the default key signs":              {"sign", fields{"algorithm": "sha256", "data": hashed()}, softtoken.Signature, false},
		"the default key authenticates":      {"authenticate", fields{"algorithm": "SHA256", "data": hashed()}, softtoken.Authentication, false},
		"raw":                                {"sign_raw", fields{"algorithm": "ecdsa_sha256", "data": hashed()}, softtoken.Signature, false},
		"PSS":                                {"sign", fields{"algorithm": "rsassa_pss_sha256", "data": hashed(), "id": "01"}, softtoken.Authentication, true},
		"data":                               {"sign", fields{"algorithm": "SHA-256", "data": base64.StdEncoding.EncodeToString(text), "hashed": false, "id": "01"}, softtoken.Authentication, false},
		"with all that existing clients say": {"sign", fields{"algorithm": "sha256", "data": hashed(), "txId": "1", "language": "en", "base64Encoded": true, "timeout": 30, "pace": nil, "osDialog": false, "id": "01"}, softtoken.Authentication, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, config.PINPolicy{})
			test.body["pin"] = b.pin(softtoken.PIN)
			var signature api.TokenSignature
			b.want("", "POST", test.call, test.body, &signature)
			raw, err := base64.StdEncoding.DecodeString(signature.Data)
			if err != nil || !good(b.Token.Certificate(test.key).PublicKey, raw, test.pss) {
				t.Fatalf("the signature %x is not good: %v", raw, err)
			}
			if got, want := b.events(), []cardbroker.EventName{cardbroker.EventPINVerified, cardbroker.EventSigned}; !slices.Equal(got, want) {
				t.Errorf("the events are %q, want %q", got, want)
			}
			check := fields{"algorithm": test.body["algorithm"], "hash": test.body["data"], "signedHash": signature.Data, "id": "0" + string('0'+test.key)}
			if test.body["hashed"] != nil {
				check["hashed"] = false
			}
			for _, verifies := range []bool{true, false} {
				b.Token.Change(func(s *softtoken.State) { s.Verifies = verifies })
				var valid api.SignatureValid
				if b.want("", "POST", "validate", check, &valid); !valid.Valid {
					t.Errorf("validate, the token verifies: %v: the signature is not valid", verifies)
				}
				raw[len(raw)-1] ^= 1
				check["signedHash"] = base64.StdEncoding.EncodeToString(raw)
				if b.want("", "POST", "validate", check, &valid); valid.Valid {
					t.Errorf("validate, the token verifies: %v: a signature that was changed is valid", verifies)
				}
				raw[len(raw)-1] ^= 1
				check["signedHash"] = signature.Data
			}
		})
	}
}

func good(key crypto.PublicKey, signature []byte, pss bool) bool {
	sum := sha256.Sum256(text)
	switch key := key.(type) {
	case *rsa.PublicKey:
		if pss {
			return rsa.VerifyPSS(key, crypto.SHA256, sum[:], signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature) == nil
	case *ecdsa.PublicKey:
		return len(signature) == 64 && ecdsa.Verify(key, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
	}
	return false
}

// TestValidateDER takes ECDSA signatures in DER, too.
func TestValidateDER(t *testing.T) {
	b := newBed(t, config.PINPolicy{})
	var signature api.TokenSignature
	b.want("", "POST", "sign", fields{"algorithm": "sha256", "data": hashed(), "pin": b.pin(softtoken.PIN)}, &signature)
	raw, err := base64.StdEncoding.DecodeString(signature.Data)
	if err != nil {
		t.Fatal(err)
	}
	der := derOf(raw)
	for _, verifies := range []bool{true, false} {
		b.Token.Change(func(s *softtoken.State) { s.Verifies = verifies })
		var valid api.SignatureValid
		if b.want("", "POST", "validate", fields{"algorithm": "sha256", "hash": hashed(), "signedHash": base64.StdEncoding.EncodeToString(der)}, &valid); !valid.Valid {
			t.Errorf("a signature in DER is not valid; the token verifies: %v", verifies)
		}
	}
	for _, broken := range [][]byte{{1}, raw[:63], make([]byte, 64), append([]byte{0x30, 0x06, 2, 1, 1, 2, 1, 0}, 0)} {
		b.Token.Change(func(s *softtoken.State) { s.Verifies = false })
		var valid api.SignatureValid
		if b.want("", "POST", "validate", fields{"algorithm": "sha256", "hash": hashed(), "signedHash": base64.StdEncoding.EncodeToString(broken)}, &valid); valid.Valid {
			t.Errorf("%x is valid", broken)
		}
	}
}

// derOf is the DER of r and s, RFC 3279 §2.2.3.
func derOf(raw []byte) []byte {
	number := func(n []byte) []byte {
		n = new(big.Int).SetBytes(n).Bytes()
		if n[0] >= 0x80 {
			n = append([]byte{0}, n...)
		}
		return append([]byte{2, byte(len(n))}, n...)
	}
	body := append(number(raw[:32]), number(raw[32:])...)
	return append([]byte{0x30, byte(len(body))}, body...)
}

// TestSignRefused: what is wrong with a request for a signature costs no try of a PIN, and does not reach the token.
func TestSignRefused(t *testing.T) {
	b := newBed(t, config.PINPolicy{})
	pin := b.pin(softtoken.PIN)
	good := func(change fields) fields {
		body := fields{"algorithm": "sha256", "data": hashed(), "pin": pin}
		for name, value := range change {
			body[name] = value
		}
		return body
	}
	for name, test := range map[string]struct {
		module string
		change fields
		reason cardbroker.Reason
	}{
		"no algorithm":                       {"card", fields{"algorithm": ""}, cardbroker.Invalid},
		"no such algorithm":                  {"card", fields{"algorithm": "md5"}, cardbroker.Invalid},
		"another thing beside the hash":      {"card", fields{"algorithm": "hmac_sha256"}, cardbroker.Invalid},
		"an algorithm of another key":        {"card", fields{"algorithm": "rsassa_pss_sha256", "id": "02"}, cardbroker.Invalid},
		"an algorithm that policy forbids":   {"few", fields{"algorithm": "rsassa_pss_sha256", "id": "01"}, cardbroker.Forbidden},
		"no base64":                          {"card", fields{"data": "%"}, cardbroker.Invalid},
		"a hash of another length":           {"card", fields{"algorithm": "sha384"}, cardbroker.Invalid},
		"no data":                            {"card", fields{"data": ""}, cardbroker.Invalid},
		"a key that does not sign":           {"card", fields{"id": "03"}, cardbroker.Unsupported},
		"no such key":                        {"card", fields{"id": "99"}, cardbroker.ObjectUnknown},
		"an id that is none":                 {"card", fields{"id": "key 1"}, cardbroker.Invalid},
		"PACE":                               {"card", fields{"pace": pin}, cardbroker.Unsupported},
		"a timeout that is too long":         {"card", fields{"timeout": 61}, cardbroker.Invalid},
		"a timeout that has passed":          {"card", fields{"timeout": -1}, cardbroker.Invalid},
		"no such module":                     {"none", nil, cardbroker.ObjectUnknown},
		"a member that nobody knows":         {"card", fields{"module": "/lib/evil.so"}, cardbroker.Invalid},
		"a PIN in clear":                     {"card", fields{"pin": softtoken.PIN}, cardbroker.PINNotEncrypted},
		"no PIN, and nobody who answers":     {"card", fields{"pin": nil}, cardbroker.PINCanceled},
		"a dialog, and nobody who answers":   {"card", fields{"osDialog": true}, cardbroker.PINCanceled},
		"a PIN that is longer than it takes": {"card", fields{"pin": b.pin("1234567890123")}, cardbroker.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, config.PINPolicy{})
			b.on(test.module)
			b.want(test.reason, "POST", "sign", good(test.change), nil)
			for _, q := range b.Token.Asked() {
				if q.Call == "sign" {
					t.Errorf("the token was asked to sign: %+v", q.Sign)
				}
			}
			if slices.Contains(b.events(), cardbroker.EventSigned) {
				t.Error("a signature is recorded")
			}
		})
	}
}

// TestBulk: a PIN that was right with bulk=true is kept for further signatures with it, where policy says so, and for no others.
func TestBulk(t *testing.T) {
	for _, module := range []string{"card", "soft"} {
		t.Run(module, func(t *testing.T) {
			b := newBed(t, config.PINPolicy{Session: config.PINSession{Time: 1 << 40, Uses: 3}})
			b.on(module)
			body := fields{"algorithm": "sha256", "data": hashed()}
			withPIN := fields{"algorithm": "sha256", "data": hashed(), "pin": b.pin(softtoken.PIN)}
			b.want("", "POST", "sign", withPIN, nil)
			b.want(cardbroker.PINCanceled, "POST", "sign?bulk=true", body, nil) // the PIN was for one signature
			b.want("", "POST", "sign?bulk=true", withPIN, nil)
			b.want("", "POST", "sign?bulk=true", body, nil)
			b.want(cardbroker.PINCanceled, "POST", "sign", body, nil)
			if s := b.callFor("https://other.example", "POST", "sign?bulk=true", body); s.Reason != cardbroker.PINCanceled {
				t.Errorf("another page signs with the PIN: %s", s.all)
			}
			b.want("", "GET", strings.Replace(b.base, "readers/"+string(b.Reader())+"/", "reset-bulk-pin", 1), nil, nil)
			b.want(cardbroker.PINCanceled, "POST", "sign?bulk=true", body, nil)
		})
	}
}

// TestBulkWithoutPolicy keeps nothing.
func TestBulkWithoutPolicy(t *testing.T) {
	b := newBed(t, config.PINPolicy{})
	b.want("", "POST", "sign?bulk=true", fields{"algorithm": "sha256", "data": hashed(), "pin": b.pin(softtoken.PIN)}, nil)
	b.want(cardbroker.PINCanceled, "POST", "sign?bulk=true", fields{"algorithm": "sha256", "data": hashed()}, nil)
	b.want(cardbroker.Invalid, "POST", "sign?bulk=maybe", fields{"algorithm": "sha256", "data": hashed()}, nil)
}

// TestBulkOfAnotherCard: the PIN is not tried on a card that was put in since.
func TestBulkOfAnotherCard(t *testing.T) {
	b := newBed(t, config.PINPolicy{Session: config.PINSession{Time: 1 << 40, Uses: 3}})
	b.want("", "POST", "sign?bulk=true", fields{"algorithm": "sha256", "data": hashed(), "pin": b.pin(softtoken.PIN)}, nil)
	b.Insert()
	b.want(cardbroker.PINCanceled, "POST", "sign?bulk=true", fields{"algorithm": "sha256", "data": hashed()}, nil)
	b.on("soft")
	b.want("", "POST", "sign?bulk=true", fields{"algorithm": "sha256", "data": hashed(), "pin": b.pin(softtoken.PIN)}, nil)
	b.Token.Change(func(s *softtoken.State) { s.Serial = "4712" })
	b.want(cardbroker.PINCanceled, "POST", "sign?bulk=true", fields{"algorithm": "sha256", "data": hashed()}, nil)
}

// TestKeyWithoutPIN: whoever has a token without a login may use its keys.
func TestKeyWithoutPIN(t *testing.T) {
	b := newBed(t, config.PINPolicy{})
	b.Token.Change(func(s *softtoken.State) { s.Flags = 0 })
	b.want("", "POST", "sign", fields{"algorithm": "sha256", "data": hashed()}, nil)
	if got := b.events(); !slices.Equal(got, []cardbroker.EventName{cardbroker.EventSigned}) {
		t.Errorf("the events are %q", got)
	}
}

// TestRandomData has data signed of any length, hashed here.
func TestRandomData(t *testing.T) {
	b := newBed(t, config.PINPolicy{})
	data := make([]byte, 100_000)
	rand.Read(data)
	b.want("", "POST", "sign", fields{"algorithm": "sha512", "hashed": false, "data": base64.StdEncoding.EncodeToString(data), "id": "01", "pin": b.pin(softtoken.PIN)}, nil)
}

// TestSignsAgain: who signs again by a key that he names does not have the certificates of a token read again that is no card. By then the
// key may be another, or its token: the module looks, and the certificates are read for the next one.
func TestSignsAgain(t *testing.T) {
	b := newBed(t, config.PINPolicy{})
	b.on("soft")
	reads := func(want int, reason cardbroker.Reason, body fields) {
		t.Helper()
		b.Token.Asked()
		body["algorithm"], body["data"], body["pin"] = "sha256", hashed(), b.pin(softtoken.PIN)
		b.want(reason, "POST", "sign", body, nil)
		read := 0
		for _, q := range b.Token.Asked() {
			if q.Call == token.CallObjects {
				read++
			}
		}
		if read != want {
			t.Errorf("%v: the certificates were read %d times, want %d", body["id"], read, want)
		}
	}
	reads(1, "", fields{"id": "02"})
	reads(0, "", fields{"id": "02"})
	reads(0, "", fields{"id": "01"})
	reads(1, "", fields{}) // which key signs, the certificates say
	reads(1, cardbroker.ObjectUnknown, fields{"id": "77"})
	b.Token.FailOn(token.CallSign, cardbroker.Errorf(cardbroker.ObjectUnknown, "the key is gone"))
	reads(0, cardbroker.ObjectUnknown, fields{"id": "02"})
	reads(1, "", fields{"id": "02"})
	b.Token.Change(func(st *softtoken.State) { st.Serial = "another" })
	reads(1, "", fields{"id": "02"})
}

// TestSignsAgainBySlot: who names the slot, too, does not have the module look for its slots again; what has become of the token since, the
// module sees when it is asked, before a PIN is tried.
func TestSignsAgainBySlot(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*softtoken.State)
		reason cardbroker.Reason
		pins   int // that the token has seen
		asked  bool
	}{
		"as it was":                    {func(*softtoken.State) {}, "", 1, false},
		"another token":                {func(s *softtoken.State) { s.Serial = "another" }, cardbroker.ObjectUnknown, 0, false},
		"one try is left":              {func(s *softtoken.State) { s.Left = 1 }, "", 1, true},
		"none is left":                 {func(s *softtoken.State) { s.Left = 0 }, cardbroker.PINBlocked, 0, false},
		"PINs are entered at a keypad": {func(s *softtoken.State) { s.Flags |= token.FlagProtectedPath }, cardbroker.CardRemoved, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, config.PINPolicy{})
			b.base = "/v3/modules/soft/apps/token/readers/" + string(b.slots("soft")[0].ID) + "/"
			body := fields{"id": "02", "algorithm": "sha256", "data": hashed(), "pin": b.pin(softtoken.PIN)}
			b.want("", "POST", "sign", body, nil)
			asked := b.answers(softtoken.PIN)
			b.Token.Change(test.change)
			b.Token.Asked()
			before := b.Token.Logins()
			if test.reason == "" && !test.asked {
				b.Token.FailSlots(cardbroker.Errorf(cardbroker.CardMute, "the module looks for its slots"))
			}
			b.want(test.reason, "POST", "sign", body, nil)
			if got := b.Token.Logins() - before; got != test.pins || (len(*asked) == 1) != test.asked {
				t.Errorf("the token has seen %d PINs, want %d; the user was asked %+v", got, test.pins, *asked)
			}
		})
	}
}

// TestSignsAgainWithoutSerial: a token that has no serial number cannot be told from the next one: the module looks for its slots.
func TestSignsAgainWithoutSerial(t *testing.T) {
	b := newBed(t, config.PINPolicy{})
	b.Token.Change(func(s *softtoken.State) { s.Serial = "" })
	b.base = "/v3/modules/soft/apps/token/readers/" + string(b.slots("soft")[0].ID) + "/"
	body := fields{"id": "02", "algorithm": "sha256", "data": hashed(), "pin": b.pin(softtoken.PIN)}
	b.want("", "POST", "sign", body, nil)
	b.Token.FailSlots(cardbroker.Errorf(cardbroker.CardMute, "the module looks for its slots"))
	b.want(cardbroker.CardMute, "POST", "sign", body, nil)
}
