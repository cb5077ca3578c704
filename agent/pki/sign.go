// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/pin"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/token"
)

// signWish is api.SignRequest as it is read.
type signWish struct {
	Algorithm     string    `json:"algorithm"`
	Data          string    `json:"data"`
	Hashed        *bool     `json:"hashed"`
	ID            string    `json:"id"`
	PIN           pin.Field `json:"pin"`
	Pace          pin.Field `json:"pace"`
	OSDialog      bool      `json:"osDialog"`
	TxID          string    `json:"txId"`
	Language      string    `json:"language"`
	Base64Encoded *bool     `json:"base64Encoded"`
	Timeout       *int      `json:"timeout"`
}

// sign signs with the key that a person signs with, unless another is named.
func (p *PKI) sign(w http.ResponseWriter, r *http.Request) error {
	return p.makeSignature(w, r, nonRepudiation, authentication)
}

// authenticate signs with the key that a person logs in with, unless another is named.
func (p *PKI) authenticate(w http.ResponseWriter, r *http.Request) error {
	return p.makeSignature(w, r, authentication)
}

// makeSignature answers with a signature by the named key, or by the first of the kinds. With ?bulk=true a PIN session may begin, or be used.
func (p *PKI) makeSignature(w http.ResponseWriter, r *http.Request, kinds ...kind) error {
	var wish signWish
	defer wish.PIN.Wipe()
	defer wish.Pace.Wipe()
	if err := httpserver.Decode(r, &wish); err != nil {
		return err
	}
	bulk, _, err := httpserver.QueryBool(r.URL.Query(), "bulk")
	if err != nil {
		return err
	}
	if err := unpaced(&wish.Pace); err != nil {
		return err
	}
	a, err := parseAlgorithm(wish.Algorithm)
	if err != nil {
		return err
	}
	input, err := a.input("data", wish.Data, wish.Hashed)
	if err != nil {
		return err
	}
	return limited(r, wish.Timeout, func(r *http.Request) error {
		in, c, err := p.signer(r, wish.ID, kinds...)
		if err != nil {
			return err
		}
		a, err := a.by(c, in)
		if err != nil {
			return err
		}
		answer, err := p.enter(r, in, token.Question{
			Call: token.CallSign,
			Sign: &token.Sign{Key: c.ID, Scheme: a.scheme, Hash: a.hash, Inputs: []token.Input{input}},
		}, entry{pin: wish.PIN, dialog: wish.OSDialog, keeps: bulk})
		if err != nil {
			p.signable.Store(nil) // the key may be another
			return err
		}
		if len(answer.Signatures) != 1 {
			return fmt.Errorf("a module has made %d signatures, want one", len(answer.Signatures))
		}
		key := sha256.Sum256(c.ID)
		p.cfg.Record(cardbroker.Event{
			Name: cardbroker.EventSigned, Origin: pageOf(r), Reader: in.reader,
			Detail: fmt.Sprintf("module %s, key %x, %v", in.module.Name, key[:8], a),
		})
		return httpserver.Data(w, api.TokenSignature{Data: base64.StdEncoding.EncodeToString(answer.Signatures[0])})
	})
}

// by returns the algorithm as the key of a certificate makes it. Errors: Invalid, Unsupported, and Forbidden by policy.
func (a algorithm) by(c *certificate, in place) (algorithm, error) {
	a, err := a.with(c.keyType())
	if err != nil {
		return a, err
	}
	switch {
	case c.Key != nil && !c.Key.Sign:
		return a, cardbroker.Errorf(cardbroker.Unsupported, "the key of this certificate does not sign")
	case c.Key != nil && len(c.Key.Mechanisms) > 0 && !meet(a.mechanisms(), c.Key.Mechanisms):
		return a, cardbroker.Errorf(cardbroker.Unsupported, "the key of this certificate does not sign by %v", a)
	}
	return a, a.allowed(in.module)
}

// input reads what is signed: base64 of a hash, unless hashed says that it is the data. Errors: Invalid.
func (a algorithm) input(name, text string, hashed *bool) (token.Input, error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return token.Input{}, cardbroker.Errorf(cardbroker.Invalid, "%s: want base64", name)
	}
	if hashed != nil && !*hashed {
		hash := a.cryptoHash().New()
		hash.Write(raw)
		return token.Input{Digest: hash.Sum(nil), Data: raw}, nil
	}
	if len(raw) != a.hash.Size() {
		sizes := []string{}
		for _, h := range hashes() {
			sizes = append(sizes, fmt.Sprintf("%s %d", h, h.Size()))
		}
		return token.Input{}, cardbroker.Errorf(cardbroker.Invalid,
			"%s: %d bytes, but a hash has (%s); to have data hashed here, say hashed: false", name, len(raw), strings.Join(sizes, ", "))
	}
	return token.Input{Digest: raw}, nil
}
