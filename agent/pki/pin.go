// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"context"
	"net/http"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/pin"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/pinpad"
	"github.com/cardbroker/cardbroker/internal/token"
)

// job is a question that wants a PIN, and the target of the PIN: the token compares it and does the rest in one go.
type job struct {
	pki    *PKI
	in     place
	loan   Loan
	q      token.Question
	act    pin.Act
	answer *token.Answer
	found  *time.Time // when the place was, which the next job is for, too
}

var _ pin.Pad = job{}

// Tries reads the flags of the token, PKCS#11 v2.40 §3.2. Of the PUK they are the security officer's. That a PIN was wrong before
// (CKF_USER_PIN_COUNT_LOW) says nothing of the tries left: there are modules that never say which is the last.
func (j job) Tries(context.Context) (left int, known bool, err error) {
	final, locked := j.judged()
	switch flags := j.in.slot.Token.Flags; {
	case flags&locked != 0:
		return 0, true, nil
	case flags&final != 0:
		return 1, true, nil
	}
	return 0, false, nil
}

// judged are the flags that Tries goes by.
func (j job) judged() (final, locked uint) {
	if j.act == pin.Unblock {
		return token.FlagSOPINFinal, token.FlagSOPINLocked
	}
	return token.FlagUserPINFinal, token.FlagUserPINLocked
}

// Verify asks the question with the PIN, of the token as Tries has judged it: one that has come to its last try since is looked for and judged
// anew. What the token did with a right PIN is no matter of the PIN's.
func (j job) Verify(ctx context.Context, entered, next []byte) error {
	var secrets []cardbroker.Secret
	for _, text := range [][]byte{entered, next} {
		if len(text) > 0 {
			secrets = append(secrets, cardbroker.NewSecret(append(make([]byte, 0, len(text)), text...))) // Do overwrites it
		}
	}
	final, locked := j.judged()
	j.q.Refuse = (final | locked | token.FlagProtectedPath) &^ j.in.slot.Token.Flags
	answer, err := j.pki.do(ctx, j.in, j.q, secrets...)
	*j.answer = answer
	switch cardbroker.ReasonOf(err) {
	case cardbroker.Conflict:
		*j.found = time.Time{}
		return pin.Changed(removed())
	case cardbroker.ObjectUnknown, cardbroker.Unsupported, cardbroker.Invalid, cardbroker.Forbidden, cardbroker.PINCanceled:
		return pin.Job(err)
	}
	return err
}

// VerifyAtReader implements [pin.Pad] by the protected authentication path, PKCS#11 v2.40 §5.6.
func (j job) VerifyAtReader(ctx context.Context) error { return j.Verify(ctx, nil, nil) }

// Close implements [pin.Target].
func (j job) Close() error { return j.loan.Close() }

// entry is what the body of a request says of the PIN.
type entry struct {
	pin, next pin.Field
	act       pin.Act
	dialog    bool
	keeps     bool // a PIN session may begin, or be used
}

// enter asks a token something for which it wants a PIN.
func (p *PKI) enter(r *http.Request, in place, q token.Question, e entry) (token.Answer, error) {
	var answer token.Answer
	t := in.slot.Token
	if q.Call == token.CallSign && t.Flags&token.FlagLoginRequired == 0 && e.pin.Empty() && !e.dialog {
		return p.ask(r.Context(), in, q) // whoever has the token may use its keys
	}
	if q.Protected = t.Flags&token.FlagProtectedPath != 0; q.Protected && (!e.pin.Empty() || !e.next.Empty()) {
		return answer, cardbroker.Errorf(cardbroker.Invalid, "the PIN of this token is entered at its reader: leave it out")
	}
	what := "PIN"
	if e.act == pin.Unblock {
		what = "PUK"
	}
	err := p.cfg.PINs.Enter(r.Context(), pin.Wish{
		Reader: in.reader, ID: in.id, Origin: pageOf(r), Use: what + " " + in.module.Name + " " + t.Serial,
		Which: what + " of " + t.Label, Shape: shapeOf(t), Act: e.act, PIN: e.pin, Next: e.next, Dialog: e.dialog, Pad: q.Protected, Once: !e.keeps,
		Present: func() *cardbroker.Card { return p.present(in) },
		Open: func(ctx context.Context) (pin.Target, cardbroker.Card, error) {
			now, loan, err := p.lend(ctx, in)
			if err != nil {
				return nil, cardbroker.Card{}, err
			}
			if (now.slot.Token.Flags^t.Flags)&token.FlagProtectedPath != 0 {
				loan.Close()
				return nil, cardbroker.Card{}, removed()
			}
			var card cardbroker.Card
			if now.present != nil {
				card = *now.present
			}
			return job{pki: p, in: now, loan: loan, q: q, act: e.act, answer: &answer, found: &in.at}, card, nil
		},
		Still: func() error { return httpserver.StillThere(r.Context()) },
	})
	return answer, err
}

// shapeOf says which PINs a token takes, as far as it says so itself.
func shapeOf(t *token.Token) pin.Shape {
	shape := pin.Shape{Min: max(1, t.MinPIN), Max: pinpad.MaxPIN}
	if t.MaxPIN >= shape.Min {
		shape.Max = min(t.MaxPIN, pinpad.MaxPIN)
	}
	return shape
}

// maxTimeout is the longest timeout of a request's body, in seconds.
const maxTimeout = 60

// limited does what a request asks for, and ends that after the timeout of its body, whatever it waits for by then; nil: when the request ends.
func limited(r *http.Request, seconds *int, do func(r *http.Request) error) error {
	if seconds != nil {
		if *seconds < 1 || *seconds > maxTimeout {
			return cardbroker.Errorf(cardbroker.Invalid, "timeout: %d, want 1 to %d seconds", *seconds, maxTimeout)
		}
		ctx, cancel := context.WithTimeout(r.Context(), time.Duration(*seconds)*time.Second)
		defer cancel()
		r = r.WithContext(ctx)
	}
	return do(r)
}

// at is limited for what is done at the place that the request names.
func (p *PKI) at(r *http.Request, seconds *int, do func(r *http.Request, in place) error) error {
	return limited(r, seconds, func(r *http.Request) error {
		in, err := p.place(r)
		if err != nil {
			return err
		}
		return do(r, in)
	})
}

// unpaced refuses a PACE secret, which no module here takes.
func unpaced(field *pin.Field) error {
	if field.Empty() {
		return nil
	}
	return cardbroker.Errorf(cardbroker.Unsupported, "pace: PACE is not served; leave it out")
}

// pinWish is api.TokenPIN as it is read.
type pinWish struct {
	PIN           pin.Field `json:"pin"`
	Pace          pin.Field `json:"pace"`
	OSDialog      bool      `json:"osDialog"`
	Timeout       *int      `json:"timeout"`
	Base64Encoded *bool     `json:"base64Encoded"`
}

// verifyPIN has a token compare its user's PIN.
func (p *PKI) verifyPIN(w http.ResponseWriter, r *http.Request) error {
	var wish pinWish
	defer wish.PIN.Wipe()
	defer wish.Pace.Wipe()
	if err := httpserver.Decode(r, &wish); err != nil {
		return err
	}
	if err := unpaced(&wish.Pace); err != nil {
		return err
	}
	return p.at(r, wish.Timeout, func(r *http.Request, in place) error {
		if _, err := p.enter(r, in, token.Question{Call: token.CallLogin}, entry{pin: wish.PIN, dialog: wish.OSDialog}); err != nil {
			return err
		}
		return httpserver.Data(w, api.PINVerified{Verified: true})
	})
}

// resetWish is api.ResetTokenPIN as it is read.
type resetWish struct {
	PUK           pin.Field `json:"puk"`
	PIN           pin.Field `json:"pin"`
	ResetOnly     bool      `json:"resetOnly"`
	OSDialog      bool      `json:"osDialog"`
	Reference     string    `json:"reference"`
	Timeout       *int      `json:"timeout"`
	Base64Encoded *bool     `json:"base64Encoded"`
}

// resetPIN sets a token's PIN anew, by its PUK.
func (p *PKI) resetPIN(w http.ResponseWriter, r *http.Request) error {
	var wish resetWish
	defer wish.PUK.Wipe()
	defer wish.PIN.Wipe()
	if err := httpserver.Decode(r, &wish); err != nil {
		return err
	}
	if wish.ResetOnly {
		return cardbroker.Errorf(cardbroker.Unsupported, "resetOnly: PKCS#11 unblocks a PIN by setting a new one; send it as pin")
	}
	return p.setPIN(w, r, wish.Timeout, entry{act: pin.Unblock, pin: wish.PUK, next: wish.PIN, dialog: wish.OSDialog})
}

// changeWish is api.ChangeTokenPIN as it is read.
type changeWish struct {
	PIN           pin.Field `json:"pin"`
	NewPIN        pin.Field `json:"newPin"`
	OSDialog      bool      `json:"osDialog"`
	Timeout       *int      `json:"timeout"`
	Base64Encoded *bool     `json:"base64Encoded"`
}

// changePIN replaces a token's PIN.
func (p *PKI) changePIN(w http.ResponseWriter, r *http.Request) error {
	var wish changeWish
	defer wish.PIN.Wipe()
	defer wish.NewPIN.Wipe()
	if err := httpserver.Decode(r, &wish); err != nil {
		return err
	}
	return p.setPIN(w, r, wish.Timeout, entry{act: pin.Change, pin: wish.PIN, next: wish.NewPIN, dialog: wish.OSDialog})
}

// setPIN gives a token another PIN, by the old one or by the PUK.
func (p *PKI) setPIN(w http.ResponseWriter, r *http.Request, timeout *int, e entry) error {
	call, event := token.CallChangePIN, cardbroker.EventPINChanged
	if e.act == pin.Unblock {
		call, event = token.CallUnblock, cardbroker.EventPINUnblocked
	}
	return p.at(r, timeout, func(r *http.Request, in place) error {
		if _, err := p.enter(r, in, token.Question{Call: call}, e); err != nil {
			return err
		}
		p.cfg.Record(cardbroker.Event{Name: event, Origin: pageOf(r), Reader: in.reader, Detail: "module " + in.module.Name})
		return httpserver.Data(w, api.PINVerified{Verified: true})
	})
}

// resetBulkPIN ends the PIN sessions of the page that asks, of all its tokens.
func (p *PKI) resetBulkPIN(w http.ResponseWriter, r *http.Request) error {
	if _, err := p.module(r.PathValue("module")); err != nil {
		return err
	}
	page := pageOf(r)
	p.cfg.PINs.EndPages("the page ends it", func(of cardbroker.Origin) bool { return of == page })
	return httpserver.Data(w, true)
}

// pageOf returns the page that asks; "" for a program. The server has checked it.
func pageOf(r *http.Request) cardbroker.Origin { return cardbroker.Origin(r.Header.Get("Origin")) }
