// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto"
	_ "crypto/sha1" // signatures of old cards are made and verified with it
	_ "crypto/sha256"
	_ "crypto/sha512"
	"net/http"
	"slices"
	"strings"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/token"
)

// algorithm is what a request says of a signature: the hash, and the scheme, if it says so; else the key decides.
type algorithm struct {
	hash   token.Hash
	scheme token.Scheme // empty: RSASSA-PKCS1-v1_5 or ECDSA, as the key is
}

// hashes are those that may be signed, the shortest first.
func hashes() []token.Hash {
	return []token.Hash{token.SHA1, token.SHA256, token.SHA384, token.SHA512}
}

// parseAlgorithm reads the names that existing clients send: a hash ("sha256", "SHA-256") and, before or after it, a scheme
// ("rsassa_pkcs1_sha256", "sha256WithRSA", "RSASSA-PSS-SHA256", "ecdsa_sha256"), or a name of JWA (RS256, PS384, ES512: the hash
// only). Case and what is between letters and digits do not matter. Errors: Invalid.
func parseAlgorithm(name string) (algorithm, error) {
	if name == "" {
		return algorithm{}, cardbroker.Errorf(cardbroker.Invalid, "algorithm: it is missing")
	}
	plain := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, strings.ToLower(name))
	for _, jwa := range []string{"rs", "ps", "es"} { // RFC 7518 §3.1
		if size, ok := strings.CutPrefix(plain, jwa); ok && (size == "256" || size == "384" || size == "512") {
			plain = jwa + "sha" + size
		}
	}
	for _, hash := range hashes() {
		before, after, ok := strings.Cut(plain, string(hash))
		if !ok {
			continue
		}
		switch before + after {
		case "":
			return algorithm{hash: hash}, nil
		case "rs", "rsa", "withrsa", "rsapkcs", "rsapkcs1", "pkcs1", "rsassapkcs1", "rsassapkcs1v15", "withrsaencryption", "ckmrsapkcs":
			return algorithm{hash, token.RSAPKCS1}, nil
		case "ps", "pss", "rsapss", "rsassapss", "withrsapss", "withrsaandmgf1", "ckmrsapkcspss":
			return algorithm{hash, token.RSAPSS}, nil
		case "es", "ecdsa", "withecdsa", "ckmecdsa":
			return algorithm{hash, token.ECDSA}, nil
		}
	}
	return algorithm{}, cardbroker.Errorf(cardbroker.Invalid,
		"algorithm: %.40q is none: want sha1, sha256, sha384 or sha512, alone or with rsassa_pkcs1_, rsassa_pss_ or ecdsa_ before it", name)
}

// with returns the algorithm for a type of key, "rsa" or "ec". Errors: Invalid (the scheme is another key's), Unsupported.
func (a algorithm) with(key string) (algorithm, error) {
	fits := map[string]bool{"rsa": a.scheme == token.RSAPKCS1 || a.scheme == token.RSAPSS, "ec": a.scheme == token.ECDSA}
	switch {
	case key != "rsa" && key != "ec":
		return a, cardbroker.Errorf(cardbroker.Unsupported, "keys of this type sign nothing here")
	case a.scheme == "" && key == "rsa":
		a.scheme = token.RSAPKCS1
	case a.scheme == "":
		a.scheme = token.ECDSA
	case !fits[key]:
		return a, cardbroker.Errorf(cardbroker.Invalid, "algorithm: it is not one of the key, which is of the type %s", key)
	}
	return a, nil
}

// String returns the name that …/supported-algorithms has for it.
func (a algorithm) String() string {
	switch a.scheme {
	case token.RSAPKCS1:
		return "rsassa_pkcs1_" + string(a.hash)
	case token.RSAPSS:
		return "rsassa_pss_" + string(a.hash)
	case token.ECDSA:
		return "ecdsa_" + string(a.hash)
	}
	return string(a.hash)
}

// mechanisms are those by which a token can make the signature, PKCS#11 v2.40 §2.1 and §2.3: of the hash, or of the data.
func (a algorithm) mechanisms() []string {
	hash := strings.ToUpper(string(a.hash))
	switch a.scheme {
	case token.RSAPKCS1:
		return []string{"CKM_RSA_PKCS", "CKM_" + hash + "_RSA_PKCS"}
	case token.RSAPSS:
		return []string{"CKM_RSA_PKCS_PSS", "CKM_" + hash + "_RSA_PKCS_PSS"}
	}
	return []string{"CKM_ECDSA", "CKM_ECDSA_" + hash}
}

// allowed refuses what policy does not allow. Errors: Forbidden.
func (a algorithm) allowed(m config.Module) error {
	if len(m.Mechanisms) > 0 && !meet(a.mechanisms(), m.Mechanisms) {
		return cardbroker.Errorf(cardbroker.Forbidden, "machine policy does not allow %v with this module", a)
	}
	return nil
}

func meet(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

// cryptoHash returns the hash as the standard library has it.
func (a algorithm) cryptoHash() crypto.Hash {
	switch a.hash {
	case token.SHA1:
		return crypto.SHA1
	case token.SHA256:
		return crypto.SHA256
	case token.SHA384:
		return crypto.SHA384
	}
	return crypto.SHA512
}

// algorithms lists by which algorithms a token signs, as far as policy allows: those of a hash alone first.
func (p *PKI) algorithms(w http.ResponseWriter, r *http.Request) error {
	in, err := p.place(r)
	if err != nil {
		return err
	}
	said, err := p.ask(r.Context(), in, token.Question{Call: token.CallToken})
	if err != nil {
		return err
	}
	return httpserver.Data(w, api.Algorithms{Ref: supported(in.module, said.Token.Mechanisms)})
}

// flagSign is CKF_SIGN of a mechanism.
const flagSign = 0x00000800

func supported(m config.Module, mechanisms []token.Mechanism) []string {
	var signing []string
	for _, mechanism := range mechanisms {
		if mechanism.Flags&flagSign != 0 {
			signing = append(signing, mechanism.Name)
		}
	}
	plain, full := []string{}, []string{}
	for _, hash := range hashes() {
		found := false
		for _, scheme := range []token.Scheme{token.RSAPKCS1, token.RSAPSS, token.ECDSA} {
			if a := (algorithm{hash, scheme}); a.allowed(m) == nil && meet(a.mechanisms(), signing) {
				full = append(full, a.String())
				found = found || scheme != token.RSAPSS
			}
		}
		if found {
			plain = append(plain, string(hash))
		}
	}
	return append(plain, full...)
}
