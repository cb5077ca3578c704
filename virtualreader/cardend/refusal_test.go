// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/firewall"
	"github.com/cardbroker/cardbroker/virtualreader/script"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// withFirewall has the next tunnels' back ends select, and read data of one application alone. It returns what they are refused, in the
// order in which it is told.
func withFirewall(t *testing.T, a *agent) <-chan string {
	t.Helper()
	rules, err := firewall.NewRules("tenants.acme.firewall", false, []firewall.Rule{
		{Allow: true, INS: []firewall.Instruction{{From: 0xA4, To: 0xA4}}, MaxLc: -1},
		{Allow: true, INS: []firewall.Instruction{{From: 0xCB, To: 0xCB}}, AID: []byte{0xA0, 0, 0, 3, 8}, MaxLc: -1},
	})
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan string, 64)
	change := a.change
	a.change = func(tunnel *cardend.Tunnel) {
		if change != nil {
			change(tunnel)
		}
		tunnel.Firewall, tunnel.Control = rules, []uint32{1}
		tunnel.Refused = func(id cardend.TunnelID, count uint64, why error) {
			told <- id.String()[:2] + " " + string(rune('0'+count)) + " " + why.Error()
		}
	}
	return told
}

// TestFirewallFollowsTheCard: what is selected counts until the card may be another, or in another state.
func TestFirewallFollowsTheCard(t *testing.T) {
	const selects, get = "\x00\xA4\x04\x00\x05\xA0\x00\x00\x03\x08", "\x00\xCB\x3F\xFF\x03\x5C\x01\x7E"
	for _, test := range []struct {
		name    string
		between func(a *agent, b *backEnd)
		allowed bool
	}{
		{"nothing", func(*agent, *backEnd) {}, true},
		{"a transaction", func(_ *agent, b *backEnd) {
			b.ask(wire.TypeBegin, nil, wire.TypeDone)
			b.ask(wire.TypeEnd, wire.AppendDisposition(nil, cardbroker.LeaveCard), wire.TypeDone)
		}, true},
		{"a reset at a transaction's end", func(_ *agent, b *backEnd) {
			b.ask(wire.TypeBegin, nil, wire.TypeDone)
			b.ask(wire.TypeEnd, wire.AppendDisposition(nil, cardbroker.ResetCard), wire.TypeDone)
		}, false},
		{"another connection", func(_ *agent, b *backEnd) {
			b.ask(wire.TypeConnect, wire.Connect{Share: cardbroker.ShareShared}.Append(nil), wire.TypeConnected)
		}, false},
		{"a connection that was left", func(_ *agent, b *backEnd) {
			b.ask(wire.TypeDisconnect, wire.AppendDisposition(nil, cardbroker.LeaveCard), wire.TypeDone)
		}, false},
		{"a reset by somebody else", func(a *agent, b *backEnd) {
			a.reader.Reset()
			b.refused(wire.TypeAPDU, []byte(selects), cardbroker.CardReset)
			b.ask(wire.TypeConnect, wire.Connect{Share: cardbroker.ShareShared}.Append(nil), wire.TypeConnected)
		}, false},
		{"a function of the reader", func(_ *agent, b *backEnd) {
			b.ask(wire.TypeControl, wire.AppendControl(nil, 1, nil), wire.TypeControlled)
		}, false},
		{"another card", func(a *agent, b *backEnd) {
			a.reader.Replace()
			b.refused(wire.TypeAPDU, []byte(selects), cardbroker.CardRemoved)
			b.ask(wire.TypeConnect, wire.Connect{Share: cardbroker.ShareShared}.Append(nil), wire.TypeConnected)
		}, false},
		{"an answer that was lost", func(a *agent, b *backEnd) {
			a.reader.Lose()
			b.refused(wire.TypeAPDU, []byte(selects), cardbroker.Indeterminate)
			b.ask(wire.TypeConnect, wire.Connect{Share: cardbroker.ShareShared}.Append(nil), wire.TypeConnected)
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := newAgent(t)
			told := withFirewall(t, a)
			b := a.open("acme")
			b.ask(wire.TypeAPDU, []byte(selects), wire.TypeAPDUResponse)
			b.ask(wire.TypeAPDU, []byte(get), wire.TypeAPDUResponse)
			test.between(a, b)
			if test.allowed {
				b.ask(wire.TypeAPDU, []byte(get), wire.TypeAPDUResponse)
				return
			}
			before := a.reader.Executed()
			e := b.refused(wire.TypeAPDU, []byte(get), cardbroker.Forbidden)
			if e.Rule != cardbroker.RuleFirewall || !strings.Contains(e.Message, "tenants.acme.firewall.default") {
				t.Errorf("refused with %v, want the rule's place", e)
			}
			if got := <-told; !strings.HasPrefix(got, "61 1 ") || !strings.Contains(got, "tenants.acme.firewall.default") {
				t.Errorf("told of %q", got)
			}
			if a.reader.Executed() != before {
				t.Error("the card has seen the command")
			}
		})
	}
}

// TestRefusalsAreCounted: of many at once the first is told of, the others when the tunnel ends.
func TestRefusalsAreCounted(t *testing.T) {
	a := newAgent(t)
	told := withFirewall(t, a)
	b := a.open("acme")
	for range 5 {
		b.refused(wire.TypeAPDU, []byte("\x00\xCA\x00\x00"), cardbroker.Forbidden)
	}
	b.conn.Shutdown(nil)
	b.over("")
	if first, rest := <-told, <-told; !strings.HasPrefix(first, "61 1 ") || !strings.HasPrefix(rest, "61 4 ") || len(told) != 0 {
		t.Errorf("told of %q, %q and %d more, want 1 and the other 4", first, rest, len(told))
	}
}

// TestReaderIsGuarded: a function of the reader that policy does not list is a refusal by the firewall, too, and told of.
func TestReaderIsGuarded(t *testing.T) {
	a := newAgent(t)
	told := withFirewall(t, a)
	b := a.open("acme")
	b.refused(wire.TypeControl, wire.AppendControl(nil, 2, nil), cardbroker.Forbidden)
	if got := <-told; !strings.Contains(got, "function 00000002 of the reader") {
		t.Errorf("told of %q", got)
	}
}

// TestPadIsJudged: what the user is asked a PIN for, is held against the rules before he is asked.
func TestPadIsJudged(t *testing.T) {
	a, user := withPad(t)
	told := withFirewall(t, a)
	b := a.open("acme")
	e := b.refused(wire.TypeControl, verifying(t), cardbroker.Forbidden)
	if e.Rule != cardbroker.RuleFirewall || !strings.Contains(e.Message, "VERIFY") || len(user.asked) != 0 {
		t.Errorf("refused with %v, asked %d times; want a refusal of VERIFY and no question", e, len(user.asked))
	}
	if got := <-told; !strings.Contains(got, "VERIFY") {
		t.Errorf("told of %q", got)
	}
}

// TestScriptsAreJudged whole before they run, where each step may find the card, and once more when they do.
func TestScriptsAreJudged(t *testing.T) {
	selects, get, other := []byte("\x00\xA4\x04\x00\x05\xA0\x00\x00\x03\x08"), []byte("\x00\xCB\x3F\xFF\x03\x5C\x01\x7E"), []byte("\x00\xA4\x04\x00\x05\xA0\x00\x00\x03\x97")
	for _, test := range []struct {
		name    string
		steps   []script.Step
		refused int // the step; -1: none
	}{
		{"select, then read", []script.Step{{Command: selects}, {Command: get}}, -1},
		{"read, then select", []script.Step{{Command: get}, {Command: selects}}, 0},
		{"a selection that may fail", []script.Step{{Command: selects, OnMismatch: script.ActionContinue}, {Command: get}}, 1},
		{"a selection whose failure is expected", []script.Step{{Command: selects, Expect: []script.Match{{}}}, {Command: get}}, 1},
		{"a jump", []script.Step{{Command: selects}, {Command: other, OnMismatch: script.ActionGoto, Goto: "read"}, {Command: selects}, {Label: "read", Command: get}}, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := newAgent(t)
			told := withFirewall(t, a)
			b := a.open("acme")
			b.sendScript(script.Part{Limit: time.Minute, Steps: test.steps}, 0, wire.MaxPayload)
			r := b.result()
			if test.refused < 0 {
				if r.Outcome != script.OK {
					t.Errorf("the result is %+v, want ok", r)
				}
				return
			}
			if r.Outcome != script.Refused || r.Step != test.refused || r.Why.Rule != cardbroker.RuleFirewall || a.reader.Executed() != 0 {
				t.Errorf("the result is %+v after %d commands, want a refusal of step %d and none", r, a.reader.Executed(), test.refused)
			}
			if got := <-told; !strings.Contains(got, "tenants.acme.firewall.default") {
				t.Errorf("told of %q", got)
			}
		})
	}
}

// TestScriptsInPartsAreJudged: the second part of a script begins where the first has left the card; when nothing of it has run, where it
// would have.
func TestScriptsInPartsAreJudged(t *testing.T) {
	selects, get := []byte("\x00\xA4\x04\x00\x05\xA0\x00\x00\x03\x08"), []byte("\x00\xCB\x3F\xFF\x03\x5C\x01\x7E")
	first := script.Part{Open: true, Limit: time.Minute, Steps: []script.Step{{Command: selects}}}
	second := script.Part{First: 1, Limit: time.Minute, Steps: []script.Step{{Command: get}}}
	a := newAgent(t)
	withFirewall(t, a)
	b := a.open("acme")
	for _, p := range []script.Part{first, second} {
		b.sendScript(p, wire.FlagJudge, wire.MaxPayload)
		payload, _ := b.results()
		if v, err := script.ParseVerdicts(payload); err != nil || len(v) != 1 || v[0] != nil {
			t.Errorf("part %d is judged %v, %v", p.First, v, err)
		}
	}
	for _, p := range []script.Part{first, second} {
		b.sendScript(p, 0, wire.MaxPayload)
		if r := b.result(); r.Outcome != script.OK {
			t.Errorf("part %d: %+v", p.First, r)
		}
	}
}
