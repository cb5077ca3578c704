// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package pkcs11

import (
	"slices"

	p11 "github.com/miekg/pkcs11"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/token"
)

// way is how a token is asked for a signature, or to check one.
type way struct {
	mechanism *p11.Mechanism
	hashes    bool // the token hashes the data itself
}

// hash is a hash, as PKCS#11 and DER name it.
type hash struct {
	mechanism uint
	mgf       uint // MGF1 with it
	pkcs1     uint // the mechanisms that hash by themselves
	pss       uint
	ecdsa     uint
	prefix    string // of a DigestInfo, RFC 8017 §9.2 note 1
}

func hashOf(h token.Hash) hash {
	switch h {
	case token.SHA1:
		return hash{p11.CKM_SHA_1, p11.CKG_MGF1_SHA1, p11.CKM_SHA1_RSA_PKCS, p11.CKM_SHA1_RSA_PKCS_PSS, p11.CKM_ECDSA_SHA1,
			"\x30\x21\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x14"}
	case token.SHA256:
		return hash{p11.CKM_SHA256, p11.CKG_MGF1_SHA256, p11.CKM_SHA256_RSA_PKCS, p11.CKM_SHA256_RSA_PKCS_PSS, p11.CKM_ECDSA_SHA256,
			"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20"}
	case token.SHA384:
		return hash{p11.CKM_SHA384, p11.CKG_MGF1_SHA384, p11.CKM_SHA384_RSA_PKCS, p11.CKM_SHA384_RSA_PKCS_PSS, p11.CKM_ECDSA_SHA384,
			"\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\x04\x30"}
	}
	return hash{p11.CKM_SHA512, p11.CKG_MGF1_SHA512, p11.CKM_SHA512_RSA_PKCS, p11.CKM_SHA512_RSA_PKCS_PSS, p11.CKM_ECDSA_SHA512,
		"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40"}
}

// waysOf returns the two ways to a scheme, PKCS#11 v2.40 mechanisms §2.1.6 and following, the better first: that which needs no data.
func waysOf(scheme token.Scheme, name token.Hash) [2]way {
	h := hashOf(name)
	var parameters []byte
	raw, hashes := uint(p11.CKM_RSA_PKCS), h.pkcs1
	switch scheme {
	case token.RSAPSS:
		raw, hashes = p11.CKM_RSA_PKCS_PSS, h.pss
		parameters = p11.NewPSSParams(h.mechanism, h.mgf, uint(name.Size()))
	case token.ECDSA:
		raw, hashes = p11.CKM_ECDSA, h.ecdsa
	}
	mechanism := func(m uint) *p11.Mechanism {
		if parameters == nil {
			return p11.NewMechanism(m, nil)
		}
		return p11.NewMechanism(m, parameters)
	}
	return [2]way{{mechanism(raw), false}, {mechanism(hashes), true}}
}

// ways returns those that the token has and the key allows.
func (a ask) ways(scheme token.Scheme, name token.Hash, by key) ([]way, error) {
	list, err := a.ctx.GetMechanismList(a.slot)
	if err != nil {
		return nil, explain(err)
	}
	var ways []way
	for _, w := range waysOf(scheme, name) {
		m := w.mechanism.Mechanism
		has := slices.ContainsFunc(list, func(is *p11.Mechanism) bool { return is.Mechanism == m })
		if has && (len(by.allowed) == 0 || slices.Contains(by.allowed, m)) {
			ways = append(ways, w)
		}
	}
	if len(ways) == 0 {
		return nil, cardbroker.Errorf(cardbroker.Unsupported, "the token, or the key, has no mechanism for %s with %s", scheme, name)
	}
	return ways, nil
}

// input returns what the token is given; false: it wants the data, and they are not there.
func (w way) input(scheme token.Scheme, name token.Hash, in token.Input, bits int) ([]byte, bool) {
	switch {
	case w.hashes:
		return in.Data, in.Data != nil
	case scheme == token.RSAPKCS1:
		return append([]byte(hashOf(name).prefix), in.Digest...), true
	case scheme == token.ECDSA && bits > 0: // the leftmost bits, FIPS 186-4 §6.4: some tokens refuse more
		return in.Digest[:min(len(in.Digest), (bits+7)/8)], true
	}
	return in.Digest, true
}
