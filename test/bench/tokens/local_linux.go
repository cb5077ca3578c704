// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package tokens

import (
	"errors"
	"os"

	"github.com/miekg/pkcs11"

	"github.com/cardbroker/cardbroker/test/tokenbed"
)

// Local is the token in this process.
type Local struct {
	ctx  *pkcs11.Ctx
	slot uint
	pin  string
}

// NewLocal loads the HSM's library, of which a process can do one.
func NewLocal(h *tokenbed.HSM) (*Local, error) {
	if err := os.Setenv("SOFTHSM2_CONF", h.Conf); err != nil {
		return nil, err
	}
	l := &Local{ctx: pkcs11.New(h.Library), pin: h.PIN}
	if l.ctx == nil {
		return nil, errors.New("cannot load " + h.Library)
	}
	if err := l.ctx.Initialize(); err != nil {
		return nil, err
	}
	slots, err := l.ctx.GetSlotList(true)
	if err == nil {
		l.slot = slots[0] // the other one has a token without a name
	}
	return l, err
}

// Close finalises the library.
func (l *Local) Close() error { return l.ctx.Finalize() }

// Sign signs as one job: session, login, key, signature, logout.
func (l *Local) Sign() error {
	session, err := l.ctx.OpenSession(l.slot, pkcs11.CKF_SERIAL_SESSION)
	if err != nil {
		return err
	}
	defer l.ctx.CloseSession(session)
	if err := l.ctx.Login(session, pkcs11.CKU_USER, l.pin); err != nil {
		return err
	}
	defer l.ctx.Logout(session)
	template := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY), pkcs11.NewAttribute(pkcs11.CKA_ID, keyID())}
	if err := l.ctx.FindObjectsInit(session, template); err != nil {
		return err
	}
	keys, _, err := l.ctx.FindObjects(session, 1)
	if err := errors.Join(err, l.ctx.FindObjectsFinal(session)); err != nil {
		return err
	}
	if len(keys) == 0 {
		return errors.New("the key is not there")
	}
	if err := l.ctx.SignInit(session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_ECDSA, nil)}, keys[0]); err != nil {
		return err
	}
	_, err = l.ctx.Sign(session, digest())
	return err
}
