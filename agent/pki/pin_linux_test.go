// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pki_test

import (
	"slices"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/pin"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/token"
	"github.com/cardbroker/cardbroker/test/softtoken"
)

// answers has the user answer questions, and returns those that he was asked.
func (b *bed) answers(texts ...string) *[]pin.Question {
	asked := &[]pin.Question{}
	answer := func(q pin.Question) []string {
		*asked = append(*asked, q)
		return texts
	}
	b.Ask.Store(&answer)
	return asked
}

// TestVerifyPIN: a page is told of a wrong PIN, and never spends the last try.
func TestVerifyPIN(t *testing.T) {
	b := newBed(t, config.PINPolicy{})
	enter := func(reason cardbroker.Reason, text string) said {
		t.Helper()
		return b.want(reason, "POST", "verify-pin", fields{"pin": b.pin(text), "base64Encoded": true}, nil)
	}
	enter("", softtoken.PIN)
	if s := enter(cardbroker.PINIncorrect, "000000"); s.Retries == nil || *s.Retries != 2 {
		t.Errorf("the answer to a wrong PIN is %s, want 2 retries", s.all)
	}
	enter(cardbroker.PINCanceled, "000000") // now the user is asked
	b.Token.Change(func(s *softtoken.State) { s.Left = 1 })
	asked := b.answers(softtoken.PIN)
	enter("", "000000")
	if q := *asked; len(q) != 1 || !q[0].Few || q[0].Tries != 1 || q[0].Which != "PIN of soft" || q[0].Origin != shop {
		t.Errorf("the user was asked %+v", q)
	}
	b.Token.Change(func(s *softtoken.State) { s.Left = 0 })
	enter(cardbroker.PINBlocked, softtoken.PIN)
}

// TestDialog asks the user, whatever the page sends.
func TestDialog(t *testing.T) {
	b := newBed(t, config.PINPolicy{})
	asked := b.answers(softtoken.PIN)
	b.want("", "POST", "verify-pin", fields{"osDialog": true, "pin": b.pin("000000")}, nil)
	if len(*asked) != 1 {
		t.Errorf("the user was asked %d times", len(*asked))
	}
	b.want("", "POST", "sign", fields{"algorithm": "sha256", "data": hashed(), "osDialog": true}, nil)
}

// TestUnknownTries: of a token that says nothing of its tries, a page spends one.
func TestUnknownTries(t *testing.T) {
	b := newBed(t, config.PINPolicy{})
	b.Token.Change(func(s *softtoken.State) { s.Left = 100 })
	b.want(cardbroker.PINIncorrect, "POST", "verify-pin", fields{"pin": b.pin("000000")}, nil)
	b.want(cardbroker.PINCanceled, "POST", "verify-pin", fields{"pin": b.pin("000000")}, nil)
}

// TestLowIsNoNumber: that a token's PIN was wrong before does not say how many tries are left; some never say that the last one is due.
func TestLowIsNoNumber(t *testing.T) {
	b := newBed(t, config.PINPolicy{})
	b.Token.Change(func(s *softtoken.State) { s.Left = 100; s.Flags |= token.FlagUserPINLow })
	b.want(cardbroker.PINIncorrect, "POST", "verify-pin", fields{"pin": b.pin("000000")}, nil)
	b.want(cardbroker.PINCanceled, "POST", "verify-pin", fields{"pin": b.pin("000000")}, nil)
}

// TestJobErrors: what the token does not do says nothing of the PIN: neither does it use up a page's tries, nor give them back.
func TestJobErrors(t *testing.T) {
	b := newBed(t, config.PINPolicy{})
	body := fields{"algorithm": "sha256", "data": hashed(), "pin": b.pin(softtoken.PIN)}
	for range 4 {
		b.Token.Asked()
		b.want("", "GET", "cert-list", nil, nil) // the certificates are not what fails
		failSign(b)
		b.want(cardbroker.Unsupported, "POST", "sign", body, nil)
	}
	if got := b.events(); len(got) > 0 {
		t.Errorf("the events are %q", got)
	}
	b.Token.Change(func(s *softtoken.State) { s.Left = 100 })
	b.want(cardbroker.PINIncorrect, "POST", "verify-pin", fields{"pin": b.pin("000000")}, nil)
	failSign(b)
	b.want(cardbroker.PINCanceled, "POST", "sign", body, nil) // not even tried: the user is to be asked
}

// failSign has the token not sign, from the next question on that is about a PIN.
func failSign(b *bed) {
	b.Token.FailOn(token.CallSign, cardbroker.Errorf(cardbroker.Unsupported, "the mechanism is not there"))
}

// TestSetPIN changes and unblocks the PIN of a token.
func TestSetPIN(t *testing.T) {
	b := newBed(t, config.PINPolicy{})
	b.want("", "POST", "change-pin", fields{"pin": b.pin(softtoken.PIN), "newPin": b.pin("654321")}, nil)
	b.want("", "POST", "verify-pin", fields{"pin": b.pin("654321")}, nil)
	b.want(cardbroker.PINIncorrect, "POST", "change-pin", fields{"pin": b.pin("000000"), "newPin": b.pin("111111")}, nil)
	b.Token.Change(func(s *softtoken.State) { s.Left = 0 })
	b.want(cardbroker.PINBlocked, "POST", "verify-pin", fields{"pin": b.pin("654321")}, nil)
	b.want("", "POST", "reset-pin", fields{"puk": b.pin(softtoken.PUK), "pin": b.pin("222222"), "reference": "issign"}, nil)
	asked := b.answers("222222", "333333")
	b.want("", "POST", "change-pin", fields{}, nil)
	b.answers(softtoken.PUK, "444444")
	b.want("", "POST", "reset-pin", fields{"osDialog": true, "puk": b.pin("00000000"), "pin": b.pin("555555")}, nil)
	b.want("", "POST", "verify-pin", fields{"pin": b.pin("444444")}, nil)
	if q := *asked; len(q) != 1 || q[0].Act != pin.Change {
		t.Errorf("the user was asked %+v", q)
	}
	changed, unblocked := 0, 0
	for _, name := range b.events() {
		switch name {
		case cardbroker.EventPINChanged:
			changed++
		case cardbroker.EventPINUnblocked:
			unblocked++
		}
	}
	if changed != 2 || unblocked != 2 {
		t.Errorf("%d changes and %d unblockings are recorded, want 2 and 2", changed, unblocked)
	}
}

// TestSetPINRefused: half of a change is none, and no PIN is tried for it.
func TestSetPINRefused(t *testing.T) {
	b := newBed(t, config.PINPolicy{})
	for _, test := range []struct {
		call   string
		body   fields
		reason cardbroker.Reason
	}{
		{"change-pin", fields{"pin": b.pin(softtoken.PIN)}, cardbroker.Invalid},
		{"change-pin", fields{"newPin": b.pin("654321")}, cardbroker.Invalid},
		{"change-pin", fields{"pin": b.pin(softtoken.PIN), "newPin": b.pin("1")}, cardbroker.Invalid},
		{"change-pin", fields{"pin": b.pin(softtoken.PIN), "newPin": "654321"}, cardbroker.PINNotEncrypted},
		{"reset-pin", fields{"puk": b.pin(softtoken.PUK), "resetOnly": true}, cardbroker.Unsupported},
		{"reset-pin", fields{"pin": b.pin("654321")}, cardbroker.Invalid},
	} {
		b.want(test.reason, "POST", test.call, test.body, nil)
	}
	if asked := b.Token.Asked(); len(asked) > 0 {
		t.Errorf("the token was asked %+v", asked)
	}
}

// TestProtectedPath: the PIN of a token with a pin pad is entered there, and nowhere else.
func TestProtectedPath(t *testing.T) {
	b := newBed(t, config.PINPolicy{Session: config.PINSession{Time: 1 << 40, Uses: 3}})
	b.Token.Change(func(s *softtoken.State) { s.Flags |= token.FlagProtectedPath })
	b.answers("nobody", "asks")
	b.want(cardbroker.Invalid, "POST", "verify-pin", fields{"pin": b.pin(softtoken.PIN)}, nil)
	b.want("", "POST", "verify-pin", fields{}, nil)
	b.want("", "POST", "sign?bulk=true", fields{"algorithm": "sha256", "data": hashed(), "osDialog": true}, nil)
	for _, q := range b.Token.Asked() {
		if (q.Call == token.CallLogin || q.Call == token.CallSign) != q.Protected {
			t.Errorf("the token was asked %+v", q)
		}
	}
	if slices.Contains(b.events(), cardbroker.EventPINSessionBegun) {
		t.Error("a PIN session has begun without a PIN")
	}
	b.Token.FailOn(token.CallLogin, cardbroker.Errorf(cardbroker.PINCanceled, "the user does not want to"))
	b.want(cardbroker.PINCanceled, "POST", "verify-pin", fields{}, nil)
	b.Token.Change(func(s *softtoken.State) { s.Left = 0 })
	b.want(cardbroker.PINBlocked, "POST", "verify-pin", fields{}, nil)
}

// TestOtherCard: a PIN is not tried on a card that was put in while its user was asked for it.
func TestOtherCard(t *testing.T) {
	b := newBed(t, config.PINPolicy{})
	answer := func(pin.Question) []string {
		b.Insert()
		return []string{softtoken.PIN}
	}
	b.Ask.Store(&answer)
	b.want(cardbroker.CardRemoved, "POST", "verify-pin", fields{"osDialog": true}, nil)
	if asked := b.Token.Asked(); len(asked) > 0 {
		t.Errorf("the token was asked %+v", asked)
	}
}

// TestSwappedToken: nor on a token in no reader that took the place of another while its user was asked.
func TestSwappedToken(t *testing.T) {
	b := newBed(t, config.PINPolicy{})
	b.on("soft")
	for _, call := range []string{"verify-pin", "sign"} {
		answer := func(pin.Question) []string {
			b.Token.Change(func(s *softtoken.State) { s.Serial += "0" })
			return []string{"000000"}
		}
		b.Ask.Store(&answer)
		body := fields{"osDialog": true}
		if call == "sign" {
			b.Token.Change(func(s *softtoken.State) { s.Serial = "4711" })
			body["algorithm"], body["data"] = "sha256", hashed()
		}
		b.want(cardbroker.ObjectUnknown, "POST", call, body, nil)
		b.Token.Change(func(s *softtoken.State) {
			if s.Left != 3 {
				t.Errorf("%s: the PIN was tried on another token: %d tries are left", call, s.Left)
			}
		})
	}
}

// TestBusy: while a back end has the reader for itself, no PIN is tried.
func TestBusy(t *testing.T) {
	b := newBed(t, config.PINPolicy{})
	busy := error(cardbroker.Errorf(cardbroker.ReaderBusy, "a back end has it"))
	b.Busy.Store(&busy)
	b.want(cardbroker.ReaderBusy, "POST", "verify-pin", fields{"pin": b.pin(softtoken.PIN)}, nil)
}

// TestLoan: a PIN is compared within the turn at its reader, which ends with it, and the tries are those of that moment.
func TestLoan(t *testing.T) {
	b := newBed(t, config.PINPolicy{})
	b.Token.Watch(func(q token.Question) {
		if lent := b.Lent.Load(); (lent == 1) != (q.Call == token.CallLogin || q.Call == token.CallSign) {
			t.Errorf("the token is asked %s, the reader is lent: %d", q.Call, lent)
		}
	})
	b.want("", "POST", "verify-pin", fields{"pin": b.pin(softtoken.PIN)}, nil)
	b.want("", "POST", "sign", fields{"algorithm": "sha256", "data": hashed(), "pin": b.pin(softtoken.PIN)}, nil)
	b.want(cardbroker.PINIncorrect, "POST", "verify-pin", fields{"pin": b.pin("000000")}, nil)
	answer := func(pin.Question) []string {
		b.Token.Change(func(s *softtoken.State) { s.Left = 0 }) // while the user is asked
		return []string{softtoken.PIN}
	}
	b.Ask.Store(&answer)
	b.Token.Asked()
	b.want(cardbroker.PINBlocked, "POST", "verify-pin", fields{"osDialog": true}, nil)
	if asked := b.Token.Asked(); len(asked) > 0 {
		t.Errorf("the token was asked %+v", asked)
	}
	if lent := b.Lent.Load(); lent != 0 {
		t.Errorf("the reader is still lent")
	}
}
