// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package pkcs11

import (
	p11 "github.com/miekg/pkcs11"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/token"
)

const readWrite = p11.CKF_SERIAL_SESSION | p11.CKF_RW_SESSION

// session is the one session of a question.
type session struct {
	ask
	handle p11.SessionHandle
	logged bool
}

// within opens a session for f, §5.6. Nobody is logged in to the token when it returns. A session ends with its token, so the one that
// is looked at here is the one that f meets. Errors: ObjectUnknown and Conflict, before f: it is not the one that is meant, or not as it was.
func (a ask) within(flags uint, f func(*session) error) error {
	handle, err := a.ctx.OpenSession(a.slot, flags)
	if err != nil {
		return explain(err)
	}
	s := &session{ask: a, handle: handle}
	defer s.close()
	if a.Serial != "" || a.Refuse != 0 {
		info, err := a.ctx.GetTokenInfo(a.slot)
		if err != nil {
			return explain(err)
		}
		if err := a.meant(info); err != nil {
			return err
		}
	}
	return f(s)
}

// meant returns ObjectUnknown unless that is the token that the question is for, and Conflict if it has come into a state that the question
// is not for.
func (a ask) meant(is p11.TokenInfo) error {
	switch {
	case a.Serial != "" && a.Serial != text(is.SerialNumber):
		return cardbroker.Errorf(cardbroker.ObjectUnknown, "the token in this slot is another one")
	case a.Refuse&is.Flags != 0, a.Protected && is.Flags&token.FlagProtectedPath == 0:
		return cardbroker.Errorf(cardbroker.Conflict, "the token is not as it was when it was looked at")
	}
	return nil
}

// close logs out and closes the session. Where the library does neither, it closes all sessions of the token, which ends every
// login, §5.6.
func (s *session) close() {
	out := true
	if s.logged {
		code := codeOf(s.ctx.Logout(s.handle))
		out = code == p11.CKR_OK || code == p11.CKR_USER_NOT_LOGGED_IN
	}
	if err := s.ctx.CloseSession(s.handle); err != nil || !out {
		s.ctx.CloseAllSessions(s.slot)
	}
}

// login logs the user in, by the first secret, or by a PIN that is entered at the reader. A login that is there already says nothing of
// this PIN: it ends first.
func (s *session) login(user uint) error {
	pin := s.pin(0)
	err := s.ctx.Login(s.handle, user, pin)
	if code := codeOf(err); code == p11.CKR_USER_ALREADY_LOGGED_IN || code == p11.CKR_USER_ANOTHER_ALREADY_LOGGED_IN {
		if err := s.ctx.Logout(s.handle); err != nil {
			return explain(err)
		}
		err = s.ctx.Login(s.handle, user, pin)
	}
	if err != nil {
		return s.explainPIN(err, user)
	}
	s.logged = true
	return nil
}

// mayLogin logs the user in if there is a PIN.
func (s *session) mayLogin() error {
	if len(s.secrets) == 0 && !s.Protected {
		return nil
	}
	return s.login(p11.CKU_USER)
}

// explainPIN returns what err is that a PIN of the user's has led to. How many tries are left, a token tells at the end only.
func (s *session) explainPIN(err error, user uint) error {
	if codeOf(err) != p11.CKR_PIN_INCORRECT {
		return explain(err)
	}
	word, final, locked := "PIN", uint(token.FlagUserPINFinal), uint(token.FlagUserPINLocked)
	if user == p11.CKU_SO {
		word, final, locked = "PUK", token.FlagSOPINFinal, token.FlagSOPINLocked
	}
	info, failed := s.ctx.GetTokenInfo(s.slot)
	if failed == nil && info.Flags&locked != 0 {
		return cardbroker.Wrapf(err, cardbroker.PINBlocked, "the %s is wrong, and blocked now", word)
	}
	wrong := cardbroker.Wrapf(err, cardbroker.PINIncorrect, "the %s is wrong", word)
	wrong.Retries = cardbroker.RetriesUnknown
	if failed == nil && info.Flags&final != 0 {
		wrong.Retries = 1
	}
	return wrong
}
