// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend_test

import (
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// TestMeasured counts commands alone and in scripts, and what the firewall keeps from the card; what is only judged, or answered
// again, is no command.
func TestMeasured(t *testing.T) {
	a := newAgent(t)
	reports := make(chan api.Usage, 10)
	a.change = func(t *cardend.Tunnel) { t.Report = func(u api.Usage) { reports <- u } }
	verify := []byte{0, 0x20, 0, 1, 2, 0x31, 0x32}
	b := a.open("alpha")
	b.ask(wire.TypeAPDU, selectCommand, wire.TypeAPDUResponse)
	b.conn.Send(wire.Header{Type: wire.TypeAPDU, Seq: b.seq}, selectCommand)
	b.expect(wire.TypeAPDUResponse, b.seq)
	b.refused(wire.TypeAPDU, verify, cardbroker.Forbidden)
	b.sendScript(part(selectCommand, selectCommand, selectCommand), 0, wire.MaxPayload)
	b.result()
	b.sendScript(part(selectCommand, verify), 0, wire.MaxPayload)
	b.result()
	b.sendScript(part(selectCommand, verify), wire.FlagJudge, wire.MaxPayload)
	b.results()
	b.conn.Shutdown(nil)
	b.over("")
	u := <-reports
	if len(reports) != 0 || u.Tenant != "alpha" || u.Commands != 4 || u.Indeterminate != 0 || len(u.Refused) != 1 || u.Refused[cardbroker.RuleFirewall] != 2 {
		t.Errorf("usage = %+v, and %d more reports", u, len(reports))
	}
	if u.Card.Micros != 4000 { // the card of the tests says that each takes 1 ms
		t.Errorf("the card took %d µs, want 4000", u.Card.Micros)
	}
}
