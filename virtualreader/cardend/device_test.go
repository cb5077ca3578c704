// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend_test

import (
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/pinpad"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/cardtest"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// Functions of the reader are not for back ends; its attributes are, but for what names the user's own device.
func TestDevice(t *testing.T) {
	a := newAgent(t)
	b := a.open("alpha")
	if got := b.ask(wire.TypeControl, wire.AppendControl(nil, pinpad.GetFeatureRequest, nil), wire.TypeControlled); len(got) != 0 {
		t.Errorf("the reader's features are %x, want none", got)
	}
	if e := b.refused(wire.TypeControl, wire.AppendControl(nil, 1, nil), cardbroker.Forbidden); e.Rule != cardbroker.RuleFirewall {
		t.Errorf("a function is refused by the rule %q, want %q", e.Rule, cardbroker.RuleFirewall)
	}
	if got := b.ask(wire.TypeAttribute, wire.AppendAttribute(nil, 0x00090303), wire.TypeValue); string(got) != cardtest.ATR {
		t.Errorf("the attribute ATR is %x, want %x", got, cardtest.ATR)
	}
	b.refused(wire.TypeAttribute, wire.AppendAttribute(nil, 0x00010100), cardbroker.Unsupported)
	b.refused(wire.TypeAttribute, wire.AppendAttribute(nil, 0x00010103), cardbroker.Forbidden)
}

// A card that was taken out and put in again between two looks was out: its like is not taken for it.
func TestReplacedCard(t *testing.T) {
	a := newAgent(t)
	b := a.open("alpha")
	a.reader.Nudge()
	b.expect(wire.TypeCardIn, 0)
	a.reader.Replace()
	b.expect(wire.TypeCardOut, 0)
	b.expect(wire.TypeCardIn, 0)
}
