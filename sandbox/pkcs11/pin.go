// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package pkcs11

import (
	"unsafe"

	p11 "github.com/miekg/pkcs11"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/token"
)

// pin returns secret i as a string of the very same bytes, for the call that it is handed to only: they are overwritten later. It is
// empty where the PIN is entered at the reader.
func (a ask) pin(i int) string {
	if a.Protected || i >= len(a.secrets) {
		return ""
	}
	b := a.secrets[i].Reveal()
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// changePIN is C_SetPIN, §5.6, by the user, who has logged in with the old PIN before: so a wrong one is told as such, and a
// library that would take the old PIN for a PUK does not. At a reader's keypad the old one is asked for once, by C_SetPIN.
func changePIN(s *session) error {
	if !s.Protected {
		if err := s.login(p11.CKU_USER); err != nil {
			return err
		}
	}
	return s.explainPIN(s.ctx.SetPIN(s.handle, s.pin(0), s.pin(1)), p11.CKU_USER)
}

// unblock sets a new PIN by the PUK: C_InitPIN by the security officer, whose PIN the PUK is. Some cards have no such user, PIV among
// them; there some libraries take the PUK for the old PIN where nobody is logged in (OpenSC, if its configuration says
// user_pin_unblock_style = set_pin_in_unlogged_session). That is tried only where the token says that its PIN is locked: any other library
// counts the PUK as a wrong PIN.
func (a ask) unblock() error {
	err := a.within(readWrite, func(s *session) error {
		if err := s.login(p11.CKU_SO); err != nil {
			return err
		}
		return s.explainPIN(s.ctx.InitPIN(s.handle, s.pin(1)), p11.CKU_USER)
	})
	switch cardbroker.ReasonOf(err) {
	case "", cardbroker.PINIncorrect, cardbroker.PINBlocked, cardbroker.PINCanceled, cardbroker.Invalid, cardbroker.ObjectUnknown:
		return err
	}
	info, failed := a.ctx.GetTokenInfo(a.slot)
	if failed != nil || info.Flags&token.FlagUserPINLocked == 0 {
		return cardbroker.Wrapf(err, cardbroker.Unsupported, "the library sets no PIN by the PUK for this token, or only when the PIN is blocked")
	}
	return a.within(readWrite, func(s *session) error {
		failed := s.ctx.SetPIN(s.handle, s.pin(0), s.pin(1))
		if codeOf(failed) == p11.CKR_PIN_LOCKED {
			return cardbroker.Wrapf(failed, cardbroker.PINBlocked, "the PIN stays blocked: so is the PUK, or the library does not unblock by it")
		}
		return s.explainPIN(failed, p11.CKU_SO)
	})
}
