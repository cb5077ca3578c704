// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package browser

import (
	"fmt"
	"strings"

	"github.com/cardbroker/cardbroker/api"
)

// Commands for the PIV card, NIST SP 800-73-4 part 2 §3.1.
const (
	selectPIV  = "00A4040009A0000003080000100000"
	cardholder = "00CB3FFF055C035FC10200" // GET DATA of the cardholder's unique identifier
)

// remoteLoading has the application use the card by all ten calls of remote loading, within a session and without one.
func (a *application) remoteLoading(reader string) {
	a.h.t.Helper()
	var atr, own, session string
	var present bool
	call := func(data any, format string, args ...any) {
		a.h.t.Helper()
		a.call(fmt.Sprintf("client.remoteloading(%q).", reader)+fmt.Sprintf(format, args...), data)
	}
	answers := func(want, format string, args ...any) (rx string) {
		a.h.t.Helper()
		var answer api.RemoteAnswer
		call(&answer, format, args...)
		if answer.SW != want {
			a.h.t.Errorf("%s: "+format+" is answered %+v, want %s", append(append([]any{a.Name}, args...), answer, want)...)
		}
		return answer.RX
	}
	var list struct{ Readers []api.CardReader }
	a.run(&list, "agent", "readers")
	for _, r := range list.Readers {
		if string(r.ID) == reader {
			own = r.Card.ATR
		}
	}
	call(&present, "isPresent()")
	call(&atr, "atr()")
	if !present || atr != own || atr == "" {
		a.h.t.Errorf("%s: without a session the card is there: %v, its ATR is %s, want %s", a.Name, present, atr, own)
	}
	first := answers("9000", "command(%q)", selectPIV)

	call(&session, "openSession(60)")
	call(&present, "isPresent(%q)", session)
	call(&atr, "atr(%q)", session)
	if !present || atr != own {
		a.h.t.Errorf("%s: in a session the card is there: %v, its ATR is %s, want %s", a.Name, present, atr, own)
	}
	apdu := "{cla: '00', ins: 'A4', p1: '04', p2: '00', data: 'A00000030800001000', le: '00'}"
	if got := answers("9000", "apdu(%s, %q)", apdu, session); got != first || first == "" {
		a.h.t.Errorf("%s: SELECT is answered %s, and %s", a.Name, first, got)
	}
	id := answers("9000", "command(%q, %q)", cardholder, session)
	var several []api.RemoteAnswer
	call(&several, "commands([%q, %q], %q)", selectPIV, cardholder, session)
	if len(several) != 2 || several[1].RX != id || id == "" {
		a.h.t.Errorf("%s: commands are answered %+v, want the identifier %s", a.Name, several, id)
	}
	call(&several, "apdus([%s, %s], %q)", apdu, apdu, session)
	if len(several) != 2 || several[0].SW != "9000" || several[1].RX != first {
		a.h.t.Errorf("%s: apdus are answered %+v, want %s", a.Name, several, first)
	}
	a.pinPad(reader, session)
	call(&atr, "closeSession(%q)", session)
	if atr != session {
		a.h.t.Errorf("%s: closeSession is answered %s, want %s", a.Name, atr, session)
	}
	a.fails(fmt.Sprintf("client.remoteloading(%q).command(%q, %q)", reader, selectPIV, session), 107733)
	if why := a.fails(fmt.Sprintf("client.remoteloading(%q).command('00200080083132333435360000')", reader), 104701); !strings.Contains(why, "VERIFY") {
		a.h.t.Errorf("%s: a PIN in a command is refused: %s", a.Name, why)
	}
}

// pinPad asks the reader for the functions of a pin pad. It has none, and nobody can ask the user.
func (a *application) pinPad(reader, session string) {
	a.h.t.Helper()
	var features string
	a.call(fmt.Sprintf("client.remoteloading(%q).ccidFeatures(%q)", reader, session), &features)
	if features != "" {
		a.h.t.Errorf("%s: the reader has the functions %s", a.Name, features)
	}
	a.fails(fmt.Sprintf("client.remoteloading(%q).ccid('VERIFY_PIN_DIRECT', '00', %q)", reader, session), 111720)
}

// unserved makes calls of the client that nobody here serves: each ends, with an error that the application can read.
func (a *application) unserved(reader string) {
	a.h.t.Helper()
	for _, call := range []string{
		"client.fileex().listTypes('app')", "client.rawprint().list()", fmt.Sprintf("client.emv(%q).readData()", reader), "client.wacom().getDevices()",
	} {
		a.fails(call, 111720)
	}
}
