// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend

import (
	"context"
	"slices"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/pinpad"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// control calls a function of the reader. Which features the reader has in the eyes of a back end is ours to say: a pin pad
// where its user is to be asked, else none. Functions of the reader itself are a way into its firmware, and are refused
// unless the tenant may call them.
func (e *exchange) control(ctx context.Context, code uint32, input []byte) error {
	pad := e.tunnel.PIN == cardbroker.PINAgent
	switch {
	case code == pinpad.GetFeatureRequest:
		if pad {
			e.payload = pinpad.PadFeatures().Append(e.payload)
		}
	case pad && code == pinpad.VerifyPINDirect.Code():
		return e.pinPad(ctx, input, pinpad.ParseVerify)
	case pad && code == pinpad.ModifyPINDirect.Code():
		return e.pinPad(ctx, input, pinpad.ParseModify)
	case pad && code == pinpad.PINProperties.Code():
		e.payload = pinpad.AppendProperties(e.payload)
	case pad && code == pinpad.TLVProperties.Code():
		e.payload = pinpad.AppendTLVProperties(e.payload)
	case slices.Contains(e.tunnel.Control, code) && !pinpad.Reserved(code):
		return e.call(ctx, code, input)
	default:
		return cardbroker.Refusef(cardbroker.Forbidden, cardbroker.RuleFirewall, "function %08X of the reader is not allowed through a tunnel", code)
	}
	e.kind = wire.TypeControlled
	return nil
}

// call calls a function of the real reader.
func (e *exchange) call(ctx context.Context, code uint32, input []byte) error {
	if err := e.need(ctx); err != nil {
		return err
	}
	if err := e.executing(); err != nil {
		return err
	}
	e.firewall.Forget() // what that does to the card, nobody knows
	payload, err := e.card.Control(ctx, e.payload, code, input)
	if err != nil {
		return e.failed(err)
	}
	e.kind, e.payload = wire.TypeControlled, payload
	return nil
}

// attributeSerial is SCARD_ATTR_VENDOR_IFD_SERIAL_NO, PC/SC Part 3 §3.1.2: it names the user's own device.
const attributeSerial = 0x00010103

// attribute returns an attribute of the reader or card.
func (e *exchange) attribute(ctx context.Context, id uint32) error {
	if id == attributeSerial {
		return cardbroker.Refusef(cardbroker.Forbidden, cardbroker.RuleFirewall, "the reader's serial number is not shown through a tunnel")
	}
	if err := e.need(ctx); err != nil {
		return err
	}
	value, err := e.card.Attribute(ctx, id)
	if err != nil {
		return e.failed(err)
	}
	e.kind, e.payload = wire.TypeValue, append(e.payload, value...)
	return nil
}
