// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/pinpad"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/cardtest"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/journal"
	"github.com/cardbroker/cardbroker/virtualreader/script"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// leftIn returns what the next agent of the session finds in a folder, and is done with.
func leftIn(t *testing.T, folder string) []cardend.Left {
	t.Helper()
	a := newAgent(t)
	a.keep(folder)
	left := a.holder.Left()
	for _, l := range left {
		t.Cleanup(l.Discard)
	}
	return left
}

// TestRevokedLeaseStaysRevoked: a lease that somebody has ended while the card works does not come back with the next agent, whether
// this one is killed then or stops in order.
func TestRevokedLeaseStaysRevoked(t *testing.T) {
	folder := t.TempDir()
	a := newAgent(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	a.ctx = ctx
	l := a.openLasting("alpha", folder)
	gate := a.reader.Hold()
	l.seq++
	l.again(selectCommand)
	release := <-gate
	if err := a.leases.Revoke(t.Context(), a.leases.List()[0].Tunnel, "the user has ended it"); err != nil {
		t.Fatal(err)
	}
	l.expect(wire.TypeRevoked, 0)
	if left := leftIn(t, snapshot(t, folder)); len(left) != 0 {
		t.Errorf("killed, the agent leaves %d leases that were revoked", len(left))
	}
	stop()
	close(release)
	<-l.done
	if left := leftIn(t, folder); len(left) != 0 {
		t.Errorf("stopped, the agent leaves %d leases that were revoked", len(left))
	}
}

// forge changes the note in the only journal of a folder, as a program of the user's may.
func forge(t *testing.T, folder string, change func(*cardend.Note)) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.journal"))
	if err != nil || len(files) != 1 {
		t.Fatalf("journals: %v, %v", files, err)
	}
	j, state, err := journal.Open(files[0])
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	var note cardend.Note
	if err := json.Unmarshal(state.Note, &note); err != nil {
		t.Fatal(err)
	}
	change(&note)
	text, err := json.Marshal(note)
	if err == nil {
		err = j.Note(text)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// restored is restart with a tunnel of another policy.
func restored(t *testing.T, folder string, change func(*cardend.Tunnel)) *agent {
	t.Helper()
	a := newAgent(t)
	a.reader = cardtest.NewReader()
	a.holder = cardend.New(a.reader, a.leases)
	a.keep(folder)
	left := a.holder.Left()
	if len(left) != 1 {
		t.Fatalf("%d leases are left, want 1", len(left))
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tunnel := a.reader.Tunnel(left[0].Tenant)
		tunnel.ID, _ = cardend.ParseTunnelID(left[0].Tunnel)
		change(&tunnel)
		a.holder.Restore(ctx, left[0], tunnel)
	}()
	t.Cleanup(func() { cancel(); <-done })
	for len(a.leases.List()) == 0 {
		<-a.leases.Changed()
	}
	return a
}

// TestForgedDeadline: a journal that says that the lease lasts for ever, or that it begins later, is believed for as long as a lease may last.
func TestForgedDeadline(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*cardend.Note)
		max    time.Duration
		want   time.Duration
	}{
		"for ever":                   {func(n *cardend.Note) { n.Expires = n.Expires.AddDate(100, 0, 0) }, 0, cardend.MaxLease},
		"longer than policy now has": {func(n *cardend.Note) { n.Expires = n.Expires.Add(time.Hour) }, 10 * time.Minute, 10 * time.Minute},
		"of a later day": {func(n *cardend.Note) {
			n.Since, n.Expires = n.Since.AddDate(1, 0, 0), n.Expires.AddDate(1, 0, 0)
		}, 10 * time.Minute, 10 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			a := newAgent(t)
			a.openLasting("alpha", folder)
			killed := snapshot(t, folder)
			forge(t, killed, test.change)
			next := restored(t, killed, func(t *cardend.Tunnel) { t.LeaseMax = test.max })
			if left := time.Until(next.leases.List()[0].Expires); left > test.want {
				t.Errorf("the lease lasts %v more, want %v at most", left, test.want)
			}
		})
	}
}

// TestPolicyOfTheNextAgent: what policy has forbidden since, a lease of before may not do either.
func TestPolicyOfTheNextAgent(t *testing.T) {
	folder := t.TempDir()
	a := newAgent(t)
	l := a.openPassthrough(folder)
	verify := []byte{0x00, 0x20, 0x00, 0x80, 0x04, '4', '7', '1', '1'}
	l.ask(wire.TypeAPDU, verify, wire.TypeAPDUResponse)
	next := restored(t, snapshot(t, folder), func(t *cardend.Tunnel) { t.PIN = cardbroker.PINDeny })
	again := &lasting{backEnd: &backEnd{t: t, seq: l.seq}, agent: next, tenant: "alpha", secret: l.secret}
	again.resume(next, l.seq)
	again.expect(wire.TypeResumed, 0)
	again.ask(wire.TypeConnect, wire.Connect{Share: cardbroker.ShareShared}.Append(nil), wire.TypeConnected)
	again.refused(wire.TypeAPDU, verify, cardbroker.Forbidden)
	if n := next.reader.Executed(); n != 0 {
		t.Errorf("the card has seen %d commands, want none", n)
	}
}

// TestGetResponseAfterPIN in a script, behind a label that the part before went to: what is answered to a PIN is a status word alone.
func TestGetResponseAfterPIN(t *testing.T) {
	a, u := withPad(t)
	b := a.open("alpha")
	jump := part(selectCommand)
	jump.Open = true
	jump.Steps[0].Expect = []script.Match{{Value: 0x6A82, Mask: 0xFFFF}} // is not what the card answers
	jump.Steps[0].OnMismatch, jump.Steps[0].Goto = script.ActionGoto, "rest"
	b.sendScript(jump, 0, wire.MaxPayload)
	if r := b.result(); r.Outcome != script.OK {
		t.Fatalf("the result is %+v", r)
	}
	u.enters("123456")
	if sw := b.pad(pinpad.VerifyPINDirect, verifyStructure(t, 30, verifyTemplate)); sw != "9000" {
		t.Fatalf("the PIN is answered %s", sw)
	}
	before := a.reader.Executed()
	rest := part(selectCommand, []byte{0x00, 0xC0, 0x00, 0x00, 0x00})
	rest.First, rest.Steps[1].Label = 1, "rest"
	b.sendScript(rest, 0, wire.MaxPayload)
	if r := b.result(); r.Outcome == script.OK || r.Why == nil || r.Why.Rule != cardbroker.RuleFirewall {
		t.Errorf("the result is %+v, want a refusal by the firewall", r)
	}
	if n := a.reader.Executed() - before; n != 0 {
		t.Errorf("the card has seen %d commands after the PIN", n)
	}
}

// TestFloodOfConnections comes back over hundreds of connections at once, most of which say nothing: each is closed, the last has the
// lease, and it ends when its user wants.
func TestFloodOfConnections(t *testing.T) {
	a := newAgent(t)
	l := a.openLasting("alpha", t.TempDir())
	l.ask(wire.TypeAPDU, selectCommand, wire.TypeAPDUResponse)
	settled, began := testenv.Leaks(t), time.Now()
	taken, err := a.leases.Take(t.Context(), l.secret, "alpha")
	if err != nil {
		t.Fatal(err)
	}
	var silent []*lasting
	told, counted := 0, uint64(0)
	for i := range 200 {
		again, err := a.leases.Take(t.Context(), l.secret, "alpha")
		if err != nil {
			t.Fatal(err)
		}
		if again.Count > 0 {
			told, counted = told+1, counted+again.Count
		}
		near, far, raw := a.dial()
		if err := taken.Attach(t.Context(), near); err != nil {
			t.Fatal(err)
		}
		other := &lasting{backEnd: &backEnd{t: t, conn: far, raw: raw}, agent: a}
		if i%3 == 0 {
			far.Send(wire.Header{Type: wire.TypeResume, Seq: l.seq, Ack: l.seq}, nil)
		}
		silent = append(silent, other)
	}
	if most := int(time.Since(began) / time.Second); told > most || counted > 200 { // after the first one a second
		t.Errorf("%d events are worth telling, of %d connections, want %d at most", told, counted, most)
	}
	silent = append(silent, &lasting{backEnd: &backEnd{conn: l.conn}}) // the first one of all
	l.resume(a, l.seq)
	l.expect(wire.TypeResumed, 0)
	l.ask(wire.TypeAPDU, selectCommand, wire.TypeAPDUResponse)
	for _, other := range silent {
		for err = nil; err == nil; {
			_, _, err = other.conn.Receive()
		}
		other.conn.Close()
	}
	settled()
	a.leases.Revoke(t.Context(), a.leases.List()[0].Tunnel, "enough")
	l.expect(wire.TypeRevoked, 0)
	<-l.done
	if n := len(a.leases.List()); n != 0 {
		t.Errorf("%d leases are left", n)
	}
}

// TestFolderThatWentAway: another agent of the user's removes the folders of sessions that may never come again; this one has come.
func TestFolderThatWentAway(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "leases")
	a := newAgent(t)
	a.keep(folder)
	if err := os.Remove(folder); err != nil {
		t.Fatal(err)
	}
	a.openLasting("alpha", "")
}

// TestAwayEndsWhatIsCut: when the user goes, a lease whose back end is away ends as well, also for the next agent, and does not come back when
// the user does.
func TestAwayEndsWhatIsCut(t *testing.T) {
	folder := t.TempDir()
	a := newAgent(t)
	l := a.openLasting("alpha", folder)
	l.ask(wire.TypeAPDU, selectCommand, wire.TypeAPDUResponse)
	killed := snapshot(t, folder)
	l.raw.Close()
	a.leases.Close(cardbroker.Errorf(cardbroker.Forbidden, "the session is disconnected"))
	if _, err := a.leases.Take(t.Context(), l.secret, "alpha"); cardbroker.ReasonOf(err) != cardbroker.Unauthenticated {
		t.Errorf("while the user is away Take = %v, want unauthenticated", err)
	}
	<-l.done
	a.leases.Open()
	if _, err := a.leases.Take(t.Context(), l.secret, "alpha"); cardbroker.ReasonOf(err) != cardbroker.Unauthenticated {
		t.Errorf("when the user is back Take = %v, want unauthenticated", err)
	}
	if left := leftIn(t, folder); len(left) != 0 {
		t.Errorf("%d leases are left for the next agent", len(left))
	}

	next := newAgent(t) // of a session that is disconnected
	next.keep(killed)
	next.leases.Close(cardbroker.Errorf(cardbroker.Forbidden, "the session is disconnected"))
	left := next.holder.Left()
	if len(left) != 1 {
		t.Fatalf("%d leases are left, want 1", len(left))
	}
	tunnel := next.reader.Tunnel("alpha")
	tunnel.ID, _ = cardend.ParseTunnelID(left[0].Tunnel)
	if err := next.holder.Restore(t.Context(), left[0], tunnel); cardbroker.ReasonOf(err) != cardbroker.Forbidden {
		t.Errorf("Restore = %v, want forbidden", err)
	}
	if left := leftIn(t, killed); len(left) != 0 {
		t.Errorf("%d leases are left after that", len(left))
	}
}
