// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscd_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker/virtualreader/pcscd"
)

// one serves a fake with one reader, "r", with a card in it, to two clients.
func one(t *testing.T) (f *fake, a, b *speaker) {
	t.Helper()
	f = newFake(t, with("r"))
	socket := serve(t, pcscd.Config{Source: f})
	return f, enter(t, socket), enter(t, socket)
}

func check(t *testing.T, what string, got, want uint32) {
	t.Helper()
	if got != want {
		t.Errorf("%s = %#x, want %#x", what, got, want)
	}
}

// pause is how long an answer is watched that must not come.
const pause = 50 * time.Millisecond

func TestExclusive(t *testing.T) {
	f, a, b := one(t)
	h := a.connect("r")
	_, _, code := b.tryConnect("r", exclusive, either)
	check(t, "exclusive while another is connected", code, sharingViolation)
	if got := a.state("r").sharing; got != 1 {
		t.Errorf("sharing = %d with one connection, want 1", got)
	}
	a.disconnect(h, leave)
	h, _, code = b.tryConnect("r", exclusive, either)
	check(t, "exclusive alone", code, success)
	if got := a.state("r").sharing; got != -1 {
		t.Errorf("sharing = %d while exclusive, want -1", got)
	}
	for _, share := range []uint32{exclusive, shared, direct} {
		_, _, code = a.tryConnect("r", share, either)
		check(t, "connect while another is exclusive", code, sharingViolation)
	}
	f.called()
	check(t, "End without a Begin of its own", b.end(h, leave), notTransacted)
	check(t, "Begin", b.begin(h), success)
	check(t, "End", b.end(h, leave), success)
	check(t, "End again", b.end(h, leave), notTransacted)
	f.wantCalls() // the card's transaction lasts as long as the handle is exclusive
	_, code = b.reconnect(h, shared, leave)
	check(t, "from exclusive to shared", code, success)
	f.wantCalls("end 0")
	other := a.connect("r")
	_, code = b.reconnect(h, exclusive, leave)
	check(t, "to exclusive while another is connected", code, sharingViolation)
	a.disconnect(other, leave)
	_, code = b.reconnect(h, exclusive, leave)
	check(t, "to exclusive alone", code, success)
	f.wantCalls("begin")
	check(t, "Disconnect", b.disconnect(h, leave), success)
	if got := a.state("r").sharing; got != 0 {
		t.Errorf("sharing = %d with no connection, want 0", got)
	}
	f.wantCalls("disconnect 0")
}

func TestDirect(t *testing.T) {
	f := newFake(t, without("r"))
	p := enter(t, serve(t, pcscd.Config{Source: f}))
	_, _, code := p.tryConnect("r", shared, either)
	check(t, "connect without a card", code, noSmartcard)
	h, protocol, code := p.tryConnect("r", direct, 0)
	if code != success || protocol != 0 {
		t.Fatalf("direct connect = protocol %d, %#x, want none, success", protocol, code)
	}
	f.wantCalls() // nothing before it is needed
	got, code := p.control(h, 0x42000D48, []byte("request"), 100)
	if code != success || string(got) != "request" {
		t.Errorf("Control = %q, %#x", got, code)
	}
	f.wantCalls("connect direct", "control 42000d48")
	check(t, "a command without a protocol", p.try(h), protoMismatch)
	f.events <- with("r")
	p.awaitCard("r", true)
	protocol, code = p.reconnect(h, shared, leave)
	if code != success || protocol != t1 {
		t.Errorf("from direct to shared = protocol %d, %#x, want T=1", protocol, code)
	}
	check(t, "a command", p.try(h), success)
	p.disconnect(h, leave)
	f.wantCalls("disconnect 0", "connect", "transmit", "disconnect 0")
}

func TestTransactions(t *testing.T) {
	f, a, b := one(t)
	ha, hb := a.connect("r"), b.connect("r")
	check(t, "End without Begin", a.end(ha, leave), notTransacted)
	f.called()
	for range 2 {
		check(t, "Begin", a.begin(ha), success)
	}
	check(t, "another's Transmit", b.try(hb), sharingViolation)
	check(t, "another's Status", b.status(hb), sharingViolation)
	check(t, "another's End", b.end(hb, leave), notTransacted)
	_, code := b.reconnect(hb, shared, leave)
	check(t, "another's Reconnect", code, sharingViolation)
	_, code = b.control(hb, 1, nil, 10)
	check(t, "another's Control", code, sharingViolation)
	check(t, "another's Disconnect with a reset", b.disconnect(hb, reset), sharingViolation)
	check(t, "own Transmit", a.try(ha), success)
	check(t, "inner End", a.end(ha, leave), success)
	check(t, "another's Transmit still", b.try(hb), sharingViolation)
	check(t, "outer End", a.end(ha, leave), success)
	check(t, "another's Transmit", b.try(hb), success)
	f.wantCalls("begin", "transmit", "end 0", "transmit")
	check(t, "End with a wrong disposition", a.end(ha, 4), invalidValue)
	check(t, "Begin", a.begin(ha), success)
	check(t, "another's Disconnect", b.disconnect(hb, leave), success)
}

// TestBeginWaitsInOrder: those who wait for a transaction have it in the order in which they came, without asking again.
func TestBeginWaitsInOrder(t *testing.T) {
	_, a, b := one(t)
	socket := a.conn.RemoteAddr().String()
	c := enter(t, socket)
	ha, hb, hc := a.connect("r"), b.connect("r"), c.connect("r")
	check(t, "Begin", a.begin(ha), success)
	b.send(0x07, words(hb, 0))
	b.silent(pause)
	c.send(0x07, words(hc, 0))
	c.silent(pause)
	check(t, "End", a.end(ha, leave), success)
	check(t, "the first's Begin", word(b.read(8), 4), success)
	c.silent(pause)
	check(t, "End", b.end(hb, leave), success)
	check(t, "the second's Begin", word(c.read(8), 4), success)
	b.send(0x07, words(hb, 0))
	b.silent(pause)
	c.conn.Close() // which ends its transaction, with a reset
	check(t, "Begin after another died in its transaction", word(b.read(8), 4), resetCard)
}

// TestBeginIsPutOff: libpcsclite holds up the other threads of the context while it waits for the answer, so it is told
// now and then to ask again, which it does after letting them pass. It keeps its place.
func TestBeginIsPutOff(t *testing.T) {
	_, a, b := one(t)
	c := enter(t, a.conn.RemoteAddr().String())
	ha, hb, hc := a.connect("r"), b.connect("r"), c.connect("r")
	check(t, "Begin", a.begin(ha), success)
	check(t, "a Begin that waits for long", b.begin(hb), sharingViolation)
	c.send(0x07, words(hc, 0))
	b.send(0x07, words(hb, 0)) // asked again, before the other
	c.silent(pause)
	check(t, "End", a.end(ha, leave), success)
	check(t, "the first's Begin", word(b.read(8), 4), success)
	c.silent(pause)
	check(t, "End", b.end(hb, leave), success)
	check(t, "the second's Begin", word(c.read(8), 4), success)
}

// TestBeginOfTheHoldersClient: a client that waits for itself, or whose other threads hold what it waits for, is told to
// ask again at once, as pcscd does: held back, it would wait for ever.
func TestBeginOfTheHoldersClient(t *testing.T) {
	_, a, _ := one(t)
	h1, h2 := a.connect("r"), a.connect("r")
	check(t, "Begin", a.begin(h1), success)
	fastest := waitLimit
	for range 5 { // other work on this machine only adds to what it takes
		start := time.Now()
		check(t, "Begin on another handle of the client", a.begin(h2), sharingViolation)
		_, _, code := a.tryConnect("r", shared, either)
		check(t, "Connect of the client that has the transaction", code, sharingViolation)
		fastest = min(fastest, time.Since(start))
	}
	if fastest > 500*time.Millisecond {
		t.Errorf("that took %v, want no wait", fastest)
	}
	check(t, "End", a.end(h1, leave), success)
	check(t, "Begin", a.begin(h2), success)
}

// TestConnectWaits: a connect is held back until another's transaction ends.
func TestConnectWaits(t *testing.T) {
	_, a, b := one(t)
	h := a.connect("r")
	check(t, "Begin", a.begin(h), success)
	b.send(0x04, b.connectBody("r", shared, either))
	b.silent(pause)
	check(t, "End", a.end(h, leave), success)
	answer := b.read(152)
	check(t, "Connect", word(answer, 148), success)
	check(t, "Transmit", b.try(word(answer, 140)), success)
}

// TestReset: every way to reset the card tells all the other handles, until their own Reconnect.
func TestReset(t *testing.T) {
	tests := map[string]struct {
		do    func(a *speaker, h uint32) uint32
		own   uint32 // what the handle that did it is told
		calls []string
	}{
		"Reconnect with a reset": {func(a *speaker, h uint32) uint32 {
			_, code := a.reconnect(h, shared, reset)
			return code
		}, success, []string{"begin", "end 1"}},
		"Reconnect with a reset in a transaction": {func(a *speaker, h uint32) uint32 {
			a.begin(h)
			_, code := a.reconnect(h, shared, reset)
			return code | a.end(h, leave)
		}, success, []string{"begin", "end 1", "begin", "end 0"}},
		"End with a power cut": {func(a *speaker, h uint32) uint32 {
			return a.begin(h) | a.end(h, unpower)
		}, resetCard, []string{"begin", "end 2"}},
		"inner End with a reset": {func(a *speaker, h uint32) uint32 {
			code := a.begin(h)
			code |= a.begin(h)
			code |= a.end(h, reset)
			return code | a.end(h, leave) ^ resetCard
		}, resetCard, []string{"begin", "end 1", "begin"}},
		"Disconnect with a reset": {func(a *speaker, h uint32) uint32 {
			return a.disconnect(h, reset)
		}, success, []string{"begin", "end 1"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f, a, b := one(t)
			ha, hb := a.connect("r"), b.connect("r")
			f.called()
			check(t, name, test.do(a, ha), success)
			f.wantCalls(test.calls...)
			if name != "Disconnect with a reset" {
				check(t, "own Status", a.status(ha), test.own)
				a.reconnect(ha, shared, leave)
				for a.end(ha, leave) == success {
				}
			}
			check(t, "another's Status", b.status(hb), resetCard)
			check(t, "another's Transmit", b.try(hb), resetCard)
			check(t, "another's Begin", b.begin(hb), resetCard)
			_, code := b.reconnect(hb, shared, leave)
			check(t, "another's Reconnect", code, success)
			check(t, "another's Transmit", b.try(hb), success)
		})
	}
}

// TestDeath: the card is reset if the client that died, or released its context, held the transaction; else it is left.
func TestDeath(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(p *speaker)
		held bool
		want uint32
	}{
		"dies":                          {func(p *speaker) { p.conn.Close() }, false, success},
		"dies in a transaction":         {func(p *speaker) { p.conn.Close() }, true, resetCard},
		"releases":                      {func(p *speaker) { p.call(0x02, words(p.context, 0), 8) }, false, success},
		"releases within a transaction": {func(p *speaker) { p.call(0x02, words(p.context, 0), 8) }, true, resetCard},
	} {
		t.Run(name, func(t *testing.T) {
			_, a, b := one(t)
			ha, hb := a.connect("r"), b.connect("r")
			if test.held {
				check(t, "Begin", a.begin(ha), success)
			}
			test.end(a)
			for start := time.Now(); b.state("r").sharing != 1 && time.Since(start) < waitLimit; {
			}
			check(t, "Status", b.status(hb), test.want)
		})
	}
}

func TestDisposition(t *testing.T) {
	f, a, _ := one(t)
	h := a.connect("r")
	check(t, "Disconnect", a.disconnect(h, unpower), success)
	f.wantCalls("connect", "disconnect 2")
	h = a.connect("r")
	check(t, "Begin", a.begin(h), success)
	check(t, "Disconnect", a.disconnect(h, leave), success)
	f.wantCalls("connect", "begin", "disconnect 0")
	check(t, "Disconnect with a wrong disposition", a.disconnect(a.connect("r"), 4), invalidValue)
}

func TestAnswers(t *testing.T) {
	f, a, _ := one(t)
	h := a.connect("r")
	command := bytes.Repeat([]byte{0xA5}, 65544)
	got, code := a.transmit(h, command, 65548)
	if code != success || !bytes.Equal(got, append(command[:65544:65544], 0x90, 0x00)) {
		t.Errorf("Transmit of 65,544 bytes = %d bytes, %#x, want them and 9000", len(got), code)
	}
	for _, test := range []struct {
		size int
		room uint32
		want uint32
	}{{3, 100, invalidParameter}, {0, 100, invalidParameter}, {65545, 100, invalidParameter}, {4, 1, insufficientBuffer}} {
		f.called()
		_, code := a.transmit(h, command[:min(test.size, 65544)], test.room)
		if test.size == 65545 {
			_, code = a.transmit(h, append(command, 0), test.room)
			f.called()
		}
		check(t, "Transmit", code, test.want)
		f.wantCalls()
	}
	_, code = a.transmit(h, command[:10], 11)
	check(t, "Transmit with room for 11 bytes of 12", code, insufficientBuffer)
	for _, protocols := range []uint32{0, t0, raw, t0 | raw} {
		_, _, code := a.tryConnect("r", shared, protocols)
		check(t, "Connect with other protocols", code, protoMismatch)
	}
	for _, protocols := range []uint32{t1 | raw, 0x1000} {
		_, protocol, code := a.tryConnect("r", shared, protocols)
		if code != success || protocol != t1 {
			t.Errorf("Connect with protocols %#x = protocol %d, %#x, want T=1", protocols, protocol, code)
		}
	}
	_, _, code = a.tryConnect("r", 4, either)
	check(t, "Connect with share mode 4", code, invalidValue)
	_, _, code = a.tryConnect("no such", shared, either)
	check(t, "Connect to an unknown reader", code, unknownReader)
}
