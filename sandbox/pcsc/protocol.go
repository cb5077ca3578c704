// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcsc

import (
	"slices"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/apdu"
)

// protocolOf returns the protocol that a card with that ATR would first be spoken to with: in specific mode the one that TA2
// names, ISO/IEC 7816-3 §8.3, else T=1 before T=0, as pcsc-lite prefers it.
func protocolOf(atr []byte) cardbroker.Protocol {
	a, err := apdu.ParseATR(atr)
	if err != nil {
		return cardbroker.ProtocolUndefined
	}
	offered := a.Protocols
	for _, b := range a.Interface {
		if b.Kind == 'A' && b.Index == 2 {
			offered = []int{int(b.Value & 0x0F)}
		}
	}
	switch {
	case slices.Contains(offered, 1):
		return cardbroker.ProtocolT1
	case slices.Contains(offered, 0):
		return cardbroker.ProtocolT0
	}
	return cardbroker.ProtocolUndefined
}
