// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package pkcs11

import (
	p11 "github.com/miekg/pkcs11"

	"github.com/cardbroker/cardbroker/internal/token"
)

// objects are the certificates that can be seen, and of each the key: the private one; and where that may be out of sight, for
// nobody is logged in, the public one, or else what the certificate says of it.
func (a ask) objects() (token.Answer, error) {
	var answer token.Answer
	err := a.within(p11.CKF_SERIAL_SESSION, func(s *session) error {
		if err := s.mayLogin(); err != nil {
			return err
		}
		handles, err := s.find(p11.CKO_CERTIFICATE, p11.NewAttribute(p11.CKA_CERTIFICATE_TYPE, p11.CKC_X_509))
		if err != nil {
			return err
		}
		private, err := s.described(p11.CKO_PRIVATE_KEY)
		if err != nil {
			return err
		}
		public := make(map[string]*token.Key)
		if !s.logged {
			if public, err = s.described(p11.CKO_PUBLIC_KEY); err != nil {
				return err
			}
		}
		for _, handle := range handles {
			is := s.look(handle, p11.CKA_ID, p11.CKA_LABEL, p11.CKA_VALUE)
			c := token.Certificate{ID: is[p11.CKA_ID], Label: text(string(is[p11.CKA_LABEL])), DER: is[p11.CKA_VALUE]}
			if len(c.DER) == 0 { // it is elsewhere, CKA_URL
				continue
			}
			if c.Key = private[string(c.ID)]; c.Key == nil && !s.logged {
				if c.Key = public[string(c.ID)]; c.Key == nil {
					c.Key = keyOf(c.DER)
				}
			}
			answer.Certificates = append(answer.Certificates, c)
		}
		return nil
	})
	return answer, err
}

// described returns what is said of the keys of a class, by their id.
func (s *session) described(class uint) (map[string]*token.Key, error) {
	all := make(map[string]*token.Key)
	for _, k := range []kind{rsaKind(), ecKind()} {
		keys, err := s.keys(class, k)
		if err != nil {
			return nil, err
		}
		for _, one := range keys {
			all[one.id] = &one.Key
		}
	}
	return all, nil
}
