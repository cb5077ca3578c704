// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pin

import (
	"bytes"
	"context"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/apdu"
	"github.com/cardbroker/cardbroker/internal/pinpad"
)

// padTime is how long a reader waits for its user, whole seconds.
const padTime = time.Minute

// Pad is a [Target] whose reader asks for the PIN by itself: it never passes the computer.
type Pad interface {
	Target
	// VerifyAtReader has the user enter the PIN at the reader, and the card compare it. It cannot be cut short. Errors: as of
	// Verify; PINCanceled (he does not want to), Timeout (he did not in time), Invalid (it was too short or too long), Unsupported.
	VerifyAtReader(ctx context.Context) error
}

// enterAtReader has the user enter the PIN of a trial at the reader, and tells him to meanwhile.
func (k *Keeper) enterAtReader(ctx context.Context, t trial, target Target) error {
	pad, ok := target.(Pad)
	if !ok {
		return cardbroker.Errorf(cardbroker.Unsupported, "no PIN can be entered at this reader")
	}
	if k.cfg.Notice != nil {
		end, err := k.cfg.Notice(ctx, k.before(t.wish).about(t.wish))
		if err != nil {
			return err
		}
		defer end()
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), padTime+verifyLimit)
	defer cancel()
	err := pad.VerifyAtReader(limited)
	if _, ok := err.(jobError); ok {
		return err
	}
	switch cardbroker.ReasonOf(err) {
	case cardbroker.PINCanceled, cardbroker.Invalid, cardbroker.Unsupported:
		k.refused(t.wish.Origin)
		return err // the card has seen no PIN
	case cardbroker.Timeout:
		k.refused(t.wish.Origin)
	}
	k.tried(t, err)
	return err
}

// before returns what the user is to know of the PIN that the card in the reader saw last.
func (k *Keeper) before(w *Wish) (q Question) {
	present := w.Present()
	if present == nil {
		return q
	}
	k.loop.Must(func(st *state) error {
		for _, c := range st.counts {
			if c.reader == w.Reader && c.use == w.Use && bytes.Equal(c.atr, present.ATR) {
				q.Wrong, q.Tries = true, c.left
			}
		}
		return nil
	})
	return q
}

// VerifyAtReader implements [Pad] by FEATURE_VERIFY_PIN_DIRECT, PC/SC Part 10 §2.5.2.
func (t cardTarget) VerifyAtReader(ctx context.Context) error {
	answer, err := t.card.Control(ctx, nil, pinpad.GetFeatureRequest, nil)
	if err != nil {
		return err
	}
	features, err := pinpad.ParseFeatures(answer)
	if err != nil {
		return err
	}
	code, ok := features.Code(pinpad.VerifyPINDirect)
	if !ok {
		return cardbroker.Errorf(cardbroker.Unsupported, "no PIN can be entered at this reader")
	}
	answer, err = t.card.Control(ctx, nil, code, bytes.Clone(t.verify.structure))
	if err != nil {
		return err
	}
	sw, err := statusOf(answer)
	if err != nil {
		return err
	}
	switch sw {
	case pinpad.Canceled:
		return cardbroker.Errorf(cardbroker.PINCanceled, "the user did not enter a PIN at the reader")
	case pinpad.TimedOut:
		return cardbroker.Errorf(cardbroker.Timeout, "nobody entered a PIN at the reader in time")
	case pinpad.Different, pinpad.WrongLength:
		return cardbroker.Errorf(cardbroker.Invalid, "the PIN that was entered at the reader is too short or too long")
	}
	return compared(sw)
}

// compared is what a card says to VERIFY, as an error.
func compared(sw apdu.StatusWord) error {
	left, told := sw.Retries()
	switch {
	case sw == apdu.Success:
		return nil
	case sw == apdu.AuthenticationBlocked, told && left == 0:
		return cardbroker.Errorf(cardbroker.PINBlocked, "the PIN is blocked: set a new one with the PUK")
	case !told && sw != 0x6300: // which is the same without a number
		return unexpected("VERIFY", sw)
	case !told:
		left = cardbroker.RetriesUnknown
	}
	wrong := cardbroker.Errorf(cardbroker.PINIncorrect, "the PIN is wrong")
	wrong.Retries = left
	return wrong
}
