// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcsc_test

import (
	"fmt"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/test/pcscbed"
)

// TestDisconnectDoesAsTold: a card that is left keeps what was selected, any other does not, however the connection was shared
// and however deep in transactions it was. SCardDisconnect is not there to do it.
func TestDisconnectDoesAsTold(t *testing.T) {
	b := newBed(t)
	b.insert(pcscbed.Card{})
	for _, share := range []cardbroker.ShareMode{cardbroker.ShareShared, cardbroker.ShareExclusive} {
		for begun := range 3 {
			for _, d := range []cardbroker.Disposition{cardbroker.LeaveCard, cardbroker.ResetCard, cardbroker.UnpowerCard, cardbroker.EjectCard} {
				kept := b.keeps(share, begun, d)
				for try := 1; !kept && d == cardbroker.LeaveCard && try < 3; try++ { // pcscd may have switched a card off that nobody used
					kept = b.keeps(share, begun, d)
				}
				if want := d == cardbroker.LeaveCard; kept != want {
					t.Errorf("share mode %d, %d transactions, disposition %d: the card keeps what was selected: %v, want %v", share, begun, d, kept, want)
				}
			}
		}
	}
}

// keeps selects an application over one connection, ends that, and says whether another finds it selected.
func (b *bed) keeps(share cardbroker.ShareMode, begun int, d cardbroker.Disposition) bool {
	b.Helper()
	const selectPIV, getCHUID = "\x00\xA4\x04\x00\x05\xA0\x00\x00\x03\x08\x00", "\x00\xCB\x3F\xFF\x05\x5C\x03\x5F\xC1\x02\x00"
	send := func(command string) string {
		card := b.connect(share)
		for range begun {
			b.want("Begin", card.Begin(), "")
		}
		response, err := card.Transmit(nil, []byte(command))
		b.want("Transmit", err, "")
		if command == selectPIV {
			b.want("Disconnect", card.Disconnect(d), "")
		} else {
			b.want("Disconnect", card.Disconnect(cardbroker.LeaveCard), "")
		}
		return fmt.Sprintf("%X", response[len(response)-2:])
	}
	if sw := send(selectPIV); sw != "9000" {
		b.Fatalf("SELECT is answered %s", sw)
	}
	return send(getCHUID) == "9000"
}
