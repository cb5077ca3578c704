// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend

import (
	"context"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/pinpad"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// control calls a function of the reader. Which features the reader has in the eyes of a back end is ours to say: none.
// Functions of the reader itself are a way into its firmware, and are refused.
func (e *exchange) control(_ context.Context, code uint32, _ []byte) error {
	if code == pinpad.GetFeatureRequest {
		e.kind = wire.TypeControlled
		return nil
	}
	return cardbroker.Refusef(cardbroker.Forbidden, cardbroker.RuleFirewall, "function %08X of the reader is not allowed through a tunnel", code)
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
