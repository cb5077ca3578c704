// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/cardtest"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/journal"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

const agentRoute = "0123456789abcdef"

// lasting is a tunnel whose lease outlives its connection.
type lasting struct {
	*backEnd
	agent  *agent
	tenant cardbroker.Tenant
	secret cardbroker.Secret
}

// openLasting starts a tunnel whose lease is to outlive its connection, with journals in folder; "": without.
func (a *agent) openLasting(tenant cardbroker.Tenant, folder string) *lasting {
	a.t.Helper()
	if folder != "" {
		a.keep(folder)
	}
	before := a.change
	a.change = func(t *cardend.Tunnel) { t.Route = agentRoute }
	defer func() { a.change = before }()
	l := &lasting{backEnd: a.tunnel(tenant), agent: a, tenant: tenant}
	hello := wire.Hello{Share: cardbroker.ShareShared, Durability: cardbroker.DurabilityCrash}
	welcome, err := wire.ParseWelcome(l.ask(wire.TypeHello, hello.Append(nil), wire.TypeWelcome))
	if err != nil {
		a.t.Fatal(err)
	}
	ticket, err := cardbroker.ParseTicket(string(welcome.Resume.Reveal()))
	if err != nil || !ticket.Resume || ticket.Route != agentRoute || welcome.Grace != cardend.Grace {
		a.t.Fatalf("Welcome has grace %v and a resume token for %s, %v", welcome.Grace, ticket.Route, err)
	}
	l.secret = ticket.Secret
	return l
}

func (a *agent) keep(folder string) {
	a.t.Helper()
	journals, err := journal.OpenFolder(folder)
	if err != nil {
		a.t.Fatal(err)
	}
	a.holder.Keep(journals)
}

// resume takes the lease up again over a new connection to the agent, where heard answers have arrived.
func (l *lasting) resume(a *agent, heard uint64) {
	l.t.Helper()
	taken, err := a.leases.Take(l.t.Context(), l.secret, l.tenant)
	if err != nil {
		l.t.Fatalf("Take = %v", err)
	}
	near, far, raw := a.dial()
	if err := taken.Attach(l.t.Context(), near); err != nil {
		l.t.Fatalf("Attach = %v", err)
	}
	l.conn, l.raw = far, raw
	l.conn.Send(wire.Header{Type: wire.TypeResume, Seq: l.seq, Ack: heard}, nil)
}

// again sends the last frame once more.
func (l *lasting) again(payload []byte) {
	l.conn.Send(wire.Header{Type: wire.TypeAPDU, Seq: l.seq, Ack: l.seq - 1}, payload)
}

// answered receives Resumed and the answer to the last frame, and compares it with what the card answers to command.
func (l *lasting) answered(command []byte) {
	l.t.Helper()
	if _, err := wire.ParseResumed(l.expect(wire.TypeResumed, 0)); err != nil {
		l.t.Fatal(err)
	}
	_, response, err := wire.ParseTimes(l.expect(wire.TypeAPDUResponse, l.seq))
	if want := append(bytes.Clone(command), 0x90, 0x00); err != nil || !bytes.Equal(response, want) {
		l.t.Errorf("the answer is % X, %v, want % X", response, err, want)
	}
}

// TestSupersededConnectionAnswers has the other end of a connection that nobody has cut answer that it is superseded, as WebSockets do:
// the holder took its own close code for the back end's, and gave the lease up.
func TestSupersededConnectionAnswers(t *testing.T) {
	a := newAgent(t)
	l := a.openLasting("alpha", "")
	old, ended := l.conn, make(chan error, 1)
	go func() {
		for {
			if _, _, err := old.Receive(); err != nil {
				ended <- err
				return
			}
		}
	}()
	l.resume(a, l.seq)
	if err := <-ended; cardbroker.ReasonOf(err) != cardbroker.Forbidden {
		t.Errorf("the connection before ends with %v", err)
	}
	if _, err := wire.ParseResumed(l.expect(wire.TypeResumed, 0)); err != nil {
		t.Fatal(err)
	}
	l.ask(wire.TypeAPDU, selectCommand, wire.TypeAPDUResponse)
}

// TestCutBeforeTheAnswer cuts the connection while the card works: the answer comes over the next one, and the card has not seen
// the command again.
func TestCutBeforeTheAnswer(t *testing.T) {
	for name, folder := range map[string]string{"with a journal": t.TempDir(), "without": ""} {
		t.Run(name, func(t *testing.T) {
			a := newAgent(t)
			l := a.openLasting("alpha", folder)
			gate := a.reader.Hold()
			l.seq++
			l.again(selectCommand)
			release := <-gate
			l.raw.Close()
			close(release)
			l.resume(a, l.seq-1)
			l.again(selectCommand)
			l.answered(selectCommand)
			l.ask(wire.TypeAPDU, selectCommand, wire.TypeAPDUResponse)
			if n := a.reader.Executed(); n != 2 {
				t.Errorf("the card has seen %d commands, want 2", n)
			}
		})
	}
}

// TestCutBeforeTheFrame loses the frame itself: it is executed when it comes again.
func TestCutBeforeTheFrame(t *testing.T) {
	a := newAgent(t)
	l := a.openLasting("alpha", t.TempDir())
	l.ask(wire.TypeAPDU, selectCommand, wire.TypeAPDUResponse)
	l.raw.Close()
	l.seq++ // was sent, and did not arrive
	l.resume(a, l.seq-1)
	l.again(selectCommand)
	l.answered(selectCommand)
	if n := a.reader.Executed(); n != 2 {
		t.Errorf("the card has seen %d commands, want 2", n)
	}
}

// TestSupersededConnection has a back end come back while its old connection still looks alive.
func TestSupersededConnection(t *testing.T) {
	a := newAgent(t)
	l := a.openLasting("alpha", t.TempDir())
	old := *l.backEnd
	l.ask(wire.TypeAPDU, selectCommand, wire.TypeAPDUResponse)
	l.resume(a, l.seq)
	l.expect(wire.TypeResumed, 0)
	l.ask(wire.TypeAPDU, selectCommand, wire.TypeAPDUResponse)
	for {
		if _, _, err := old.conn.Receive(); err != nil {
			if cardbroker.ReasonOf(err) != cardbroker.Forbidden { // the code of a policy's close
				t.Errorf("the old connection ends with %v", err)
			}
			break
		}
	}
	if list := a.leases.List(); len(list) != 1 || !list[0].Cut.IsZero() {
		t.Errorf("leases = %+v, want one that has a connection", list)
	}
}

// TestTakeRefuses tries to take up what is another's.
func TestTakeRefuses(t *testing.T) {
	a := newAgent(t)
	l := a.openLasting("alpha", t.TempDir())
	for name, try := range map[string]struct {
		secret cardbroker.Secret
		tenant cardbroker.Tenant
	}{
		"another secret": {cardbroker.RandomSecret(), "alpha"},
		"another tenant": {l.secret, "beta"},
		"no secret":      {cardbroker.Secret{}, "alpha"},
	} {
		if _, err := a.leases.Take(t.Context(), try.secret, try.tenant); cardbroker.ReasonOf(err) != cardbroker.Unauthenticated || cardbroker.RuleOf(err) != cardbroker.RuleTicket {
			t.Errorf("%s: Take = %v, want unauthenticated [ticket]", name, err)
		}
	}
	l.conn.Shutdown(nil)
	l.over("")
	if _, err := a.leases.Take(t.Context(), l.secret, "alpha"); cardbroker.ReasonOf(err) != cardbroker.Unauthenticated {
		t.Errorf("after its end Take = %v, want unauthenticated", err)
	}
}

// TestResumeLies says of frames what is not so: the connection ends, and the lease waits for another.
func TestResumeLies(t *testing.T) {
	a := newAgent(t)
	l := a.openLasting("alpha", t.TempDir())
	l.ask(wire.TypeAPDU, selectCommand, wire.TypeAPDUResponse)
	seq := l.seq
	for name, lie := range map[string]struct{ sent, heard uint64 }{
		"one too few":      {seq - 1, seq - 1},
		"two too many":     {seq + 2, seq + 1},
		"heard the unsaid": {seq, seq + 1},
		"a gap":            {seq + 1, seq - 1},
	} {
		l.seq = lie.sent
		l.resume(a, lie.heard)
		t.Log(name)
		l.cutOff(cardbroker.Invalid)
	}
	l.seq = seq
	l.resume(a, seq)
	l.expect(wire.TypeResumed, 0)
	l.again(append([]byte{0x80}, selectCommand[1:]...)) // the same number, another command
	l.cutOff(cardbroker.Invalid)
	if n := a.reader.Executed(); n != 1 {
		t.Errorf("the card has seen %d commands, want 1", n)
	}
	if err := <-l.done; cardbroker.ReasonOf(err) != cardbroker.Invalid {
		t.Errorf("the tunnel ended with %v, want invalid", err)
	}
}

// restart makes the next agent of the session, which finds what is in folder.
func restart(t *testing.T, folder string, reader *cardtest.Reader) *agent {
	t.Helper()
	a := newAgent(t)
	a.reader = reader
	a.holder = cardend.New(reader, a.leases)
	a.keep(folder)
	left := a.holder.Left()
	if len(left) != 1 {
		t.Fatalf("%d leases are left, want 1", len(left))
	}
	id, err := cardend.ParseTunnelID(left[0].Tunnel)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tunnel := reader.Tunnel(left[0].Tenant)
		tunnel.ID = id
		a.holder.Restore(ctx, left[0], tunnel)
	}()
	t.Cleanup(func() { cancel(); <-done })
	for len(a.leases.List()) == 0 {
		<-a.leases.Changed()
	}
	return a
}

// snapshot is what the disk has at a moment, as after kill -9.
func snapshot(t *testing.T, folder string) string {
	t.Helper()
	copied := t.TempDir()
	if err := os.CopyFS(filepath.Join(copied, "leases"), os.DirFS(folder)); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(copied, "leases")
}

// TestAgentKilled takes what the disk has at each moment of a command, and resumes with the next agent.
func TestAgentKilled(t *testing.T) {
	folder := t.TempDir()
	a := newAgent(t)
	l := a.openLasting("alpha", folder)
	idle := snapshot(t, folder)
	gate := a.reader.Hold()
	l.seq++
	l.again(selectCommand)
	release := <-gate
	executing := snapshot(t, folder)
	close(release)
	l.expect(wire.TypeAPDUResponse, l.seq)
	done := snapshot(t, folder)
	l.seq++ // sent to nobody

	resumed := func(t *testing.T, folder string, sent, heard uint64) *lasting {
		next := restart(t, snapshot(t, folder), cardtest.NewReader())
		again := &lasting{backEnd: &backEnd{t: t, seq: sent}, agent: next, tenant: "alpha", secret: l.secret}
		again.resume(next, heard)
		return again
	}
	t.Run("before the command", func(t *testing.T) {
		again := resumed(t, idle, 2, 1)
		again.again(selectCommand)
		again.expect(wire.TypeResumed, 0)
		again.wantReset()
	})
	t.Run("while executing", func(t *testing.T) {
		again := resumed(t, executing, 2, 1)
		again.again(selectCommand)
		again.expect(wire.TypeResumed, 0)
		e, err := wire.ParseError(again.expect(wire.TypeError, 2))
		if err != nil || e.Reason != cardbroker.Indeterminate {
			t.Errorf("the answer is %v, %v, want indeterminate", e, err)
		}
		again.refused(wire.TypeAPDU, selectCommand, cardbroker.CardReset)
		again.goesOn()
	})
	t.Run("after the answer", func(t *testing.T) {
		again := resumed(t, done, 2, 1)
		again.again(selectCommand)
		again.answered(selectCommand)
		again.refused(wire.TypeAPDU, selectCommand, cardbroker.CardReset)
		again.goesOn()
	})
	t.Run("another command in its place", func(t *testing.T) {
		again := resumed(t, done, 2, 1)
		again.again(append([]byte{0x80}, selectCommand[1:]...))
		again.expect(wire.TypeResumed, 0)
		again.expect(wire.TypeError, 2)
		again.cutOff(cardbroker.Invalid)
	})
	t.Run("after the answer, which has arrived", func(t *testing.T) {
		again := resumed(t, done, 3, 2)
		again.again(selectCommand)
		again.expect(wire.TypeResumed, 0)
		again.wantReset()
	})
}

// cutOff expects the connection's end, and what it says of it.
func (l *lasting) cutOff(want cardbroker.Reason) {
	l.t.Helper()
	for {
		if _, _, err := l.conn.Receive(); err != nil {
			if cardbroker.ReasonOf(err) != want {
				l.t.Errorf("the connection ends with %v, want %s", err, want)
			}
			return
		}
	}
}

// wantReset expects that the last frame was not executed, because the card is another than it was sent to.
func (l *lasting) wantReset() {
	l.t.Helper()
	e, err := wire.ParseError(l.expect(wire.TypeError, l.seq))
	if err != nil || e.Reason != cardbroker.CardReset {
		l.t.Errorf("the answer is %v, %v, want card_reset", e, err)
	}
	l.goesOn()
}

// goesOn connects to the card anew: from then on the tunnel is as good as before.
func (l *lasting) goesOn() {
	l.t.Helper()
	before := l.agent.reader.Executed()
	if before != 0 {
		l.t.Errorf("the next agent's card has seen %d commands, want none", before)
	}
	l.ask(wire.TypeConnect, wire.Connect{Share: cardbroker.ShareShared}.Append(nil), wire.TypeConnected)
	l.ask(wire.TypeAPDU, selectCommand, wire.TypeAPDUResponse)
	if n := l.agent.reader.Executed(); n != 1 {
		l.t.Errorf("the card has seen %d commands, want 1", n)
	}
}

// TestJournalHoldsNoPIN looks for a PIN in the journal of a command that carries one, also as a hash that can be guessed.
func TestJournalHoldsNoPIN(t *testing.T) {
	folder := t.TempDir()
	a := newAgent(t)
	a.change = nil
	l := a.openPassthrough(folder)
	verify := []byte{0x00, 0x20, 0x00, 0x80, 0x08, '4', '7', '1', '1', 0xFF, 0xFF, 0xFF, 0xFF}
	gate := a.reader.Hold()
	l.seq++
	l.again(verify)
	release := <-gate
	defer close(release)
	names, err := filepath.Glob(filepath.Join(folder, "*.journal"))
	if err != nil || len(names) != 1 {
		t.Fatalf("journals: %v, %v", names, err)
	}
	raw, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	frame := sha256.Sum256(append([]byte{byte(wire.TypeAPDU)}, verify...))
	plain := sha256.Sum256(verify)
	for name, text := range map[string][]byte{"the PIN": []byte("4711"), "the command": verify[:5], "its hash": plain[:], "the frame's hash": frame[:],
		"the resume token's secret": l.secret.Reveal()} {
		if bytes.Contains(raw, text) {
			t.Errorf("%s is in the journal", name)
		}
	}
}

// openPassthrough is openLasting where PINs pass.
func (a *agent) openPassthrough(folder string) *lasting {
	a.t.Helper()
	a.keep(folder)
	a.change = func(t *cardend.Tunnel) { t.Route, t.PIN = agentRoute, cardbroker.PINPassthrough }
	l := &lasting{backEnd: a.tunnel("alpha"), agent: a, tenant: "alpha"}
	hello := wire.Hello{Share: cardbroker.ShareShared, Durability: cardbroker.DurabilityPower}
	welcome, err := wire.ParseWelcome(l.ask(wire.TypeHello, hello.Append(nil), wire.TypeWelcome))
	if err != nil {
		a.t.Fatal(err)
	}
	ticket, err := cardbroker.ParseTicket(string(welcome.Resume.Reveal()))
	if err != nil {
		a.t.Fatal(err)
	}
	l.secret = ticket.Secret
	return l
}
