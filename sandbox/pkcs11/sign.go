// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package pkcs11

import (
	p11 "github.com/miekg/pkcs11"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/token"
)

// sign makes all signatures within one login: C_SignInit and C_Sign, §5.11, and between them the login that a key wants for each
// use, §4.9.
func (a ask) sign() (token.Answer, error) {
	var answer token.Answer
	err := a.within(p11.CKF_SERIAL_SESSION, func(s *session) error {
		if err := s.mayLogin(); err != nil {
			return err
		}
		by, err := s.signer(p11.CKO_PRIVATE_KEY, a.Sign.Key, a.Sign.Scheme)
		if err != nil {
			return err
		}
		ways, err := a.ways(a.Sign.Scheme, a.Sign.Hash, by)
		if err != nil {
			return err
		}
		for _, in := range a.Sign.Inputs {
			signature, err := s.signOne(by, ways, in)
			if err != nil {
				return err
			}
			answer.Signatures = append(answer.Signatures, signature)
		}
		return nil
	})
	if err != nil {
		return token.Answer{}, err
	}
	return answer, nil
}

// signOne makes one signature, the first way that the token goes.
func (s *session) signOne(by key, ways []way, in token.Input) ([]byte, error) {
	err := error(cardbroker.Errorf(cardbroker.Unsupported, "the token hashes by itself only, and the data are not there"))
	for _, w := range ways {
		input, ok := w.input(s.Sign.Scheme, s.Sign.Hash, in, by.Bits)
		if !ok {
			continue
		}
		if by.EachUse && len(s.secrets) == 0 && !s.Protected { // an empty PIN is a wrong one
			return nil, cardbroker.Errorf(cardbroker.Forbidden, "the key wants its PIN for each use")
		}
		if failed := s.ctx.SignInit(s.handle, []*p11.Mechanism{w.mechanism}, by.handle); failed != nil {
			if err = explain(failed); cardbroker.ReasonOf(err) == cardbroker.Unsupported {
				continue
			}
			return nil, err
		}
		if by.EachUse {
			if failed := s.ctx.Login(s.handle, p11.CKU_CONTEXT_SPECIFIC, s.pin(0)); failed != nil {
				return nil, s.explainPIN(failed, p11.CKU_USER)
			}
		}
		signature, failed := s.ctx.Sign(s.handle, input)
		return signature, explain(failed)
	}
	return nil, err
}

// verify checks a signature by the token's public key: C_VerifyInit and C_Verify, §5.12.
func (a ask) verify() (token.Answer, error) {
	var answer token.Answer
	err := a.within(p11.CKF_SERIAL_SESSION, func(s *session) error {
		by, err := s.signer(p11.CKO_PUBLIC_KEY, a.Verify.Key, a.Verify.Scheme)
		if err != nil {
			return err
		}
		ways, err := a.ways(a.Verify.Scheme, a.Verify.Hash, by)
		if err != nil {
			return err
		}
		answer.Valid, err = s.verifyOne(by, ways)
		return err
	})
	return answer, err
}

// verifyOne checks the signature, the first way that the token goes.
func (s *session) verifyOne(by key, ways []way) (bool, error) {
	err := error(cardbroker.Errorf(cardbroker.Unsupported, "the token hashes by itself only, and the data are not there"))
	for _, w := range ways {
		input, ok := w.input(s.Verify.Scheme, s.Verify.Hash, s.Verify.Input, by.Bits)
		if !ok {
			continue
		}
		if failed := s.ctx.VerifyInit(s.handle, []*p11.Mechanism{w.mechanism}, by.handle); failed != nil {
			if err = explain(failed); cardbroker.ReasonOf(err) == cardbroker.Unsupported {
				continue
			}
			return false, err
		}
		failed := s.ctx.Verify(s.handle, input, s.Verify.Signature)
		switch codeOf(failed) {
		case p11.CKR_OK:
			return true, nil
		case p11.CKR_SIGNATURE_INVALID, p11.CKR_SIGNATURE_LEN_RANGE:
			return false, nil
		}
		return false, explain(failed)
	}
	return false, err
}
