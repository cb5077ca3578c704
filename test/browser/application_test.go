// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package browser

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/cardbroker/cardbroker/api"
)

// asks makes calls of the client that say how they end, in a text: what it has for data, or its error. Each promise races with
// the clock: the client has some that never settle, after mistakes of the server.
const asks = `
window.call = (what, start) => Promise.race([
	Promise.resolve().then(start),
	new Promise((_, fail) => setTimeout(() => fail({code: 'silence', description: what + ' has said nothing for a minute'}), 60000)),
]).then(said => ({data: said && said.success ? said.data : said === undefined ? null : said.t1CInfoAPI ? said : null}),
	error => { window.failed = error; return {code: error.code || 'exception', description: error.description || String(error)} });
window.until = async (what, is) => {
	for (let tries = 0; !is(); tries++) {
		if (tries == 3000) throw new Error('never saw ' + what);
		await new Promise(done => setTimeout(done, 20));
	}
	return '';
};
window.initialise = broker => {
	const at = new URL(broker);
	const options = new T1CSdk.T1CConfigOptions(at.protocol + '//' + at.hostname, at.port);
	options.applicationDomain = 'shop.app';
	return call('initialize', async () => {
		window.client = await T1CSdk.T1CClient.initialize(new T1CSdk.T1CConfig(options));
	});
};
''`

// said is how a call of the client has ended.
type said struct {
	Data        json.RawMessage
	Code        any // a text or a number, as the client has it
	Description string
}

func (s said) String() string {
	if s.Code != nil {
		return fmt.Sprintf("%v %s", s.Code, s.Description)
	}
	return string(s.Data)
}

// application is a web application that uses the client, in a page of the user's.
type application struct {
	*user
	page
	origin string
}

// start loads the page, and the client into it.
func (a *application) start() {
	a.h.t.Helper()
	sdk, err := os.ReadFile(packages(a.h.t, "node_modules/t1c-sdk-js/dist/T1CSdk.js"))
	if err == nil {
		err = a.Load(a.origin + "/")
	}
	for _, script := range []string{string(sdk) + ";''", asks} {
		if err == nil {
			err = a.page.Run(script, nil)
		}
	}
	if err != nil {
		a.h.t.Fatal(err)
	}
}

// does runs a script and returns how its call has ended.
func (a *application) does(script string) (s said) {
	a.h.t.Helper()
	if err := a.page.Run(script, &s); err != nil {
		a.h.t.Errorf("%s: %v", a.Name, err)
	}
	return s
}

// call makes a call of the client and decodes its data.
func (a *application) call(script string, data any) {
	a.h.t.Helper()
	s := a.does(fmt.Sprintf("call(%q, () => %s)", script, script))
	err := json.Unmarshal(s.Data, data)
	if s.Code != nil || err != nil {
		a.h.t.Errorf("%s: %s is answered %s, %v; %q", a.Name, script, s, err, a.Told())
	}
}

// fails makes a call that is to fail with a code of the table of reasons, and returns the description.
func (a *application) fails(script string, code any) string {
	a.h.t.Helper()
	s := a.does(fmt.Sprintf("call(%q, () => %s)", script, script))
	if fmt.Sprint(s.Code) != fmt.Sprint(code) || s.Description == "" {
		a.h.t.Errorf("%s: %s is answered %s, want %v; %q", a.Name, script, s, code, a.Told())
	}
	return s.Description
}

// consents has the application find out that it needs consent, ask for it, and the user say yes once he is asked.
func (a *application) consents() {
	a.h.t.Helper()
	initialise := fmt.Sprintf("initialise(%q)", a.h.broker)
	if s := a.does(initialise); s.Code != "814501" || s.Description != "Consent required" {
		a.h.t.Fatalf("%s: the first initialize is answered %s; %q", a.Name, s, a.Told())
	}
	err := a.page.Run(`window.asked = call('getImplicitConsent', async () => {
		window.client = await failed.client.core().getImplicitConsent(T1CSdk.T1CClient.generateConsentToken(), 30);
	}), ''`, nil)
	if err != nil {
		a.h.t.Fatal(err)
	}
	a.h.until(a.origin+" asking", func() bool {
		var list api.Consents
		a.run(&list, "agent", "consent", "list")
		return len(list.Waiting) == 1 && string(list.Waiting[0].Origin) == a.origin
	})
	a.run(nil, "agent", "consent", "approve", a.origin)
	if s := a.does("window.asked"); s.Code != nil {
		a.h.t.Fatalf("%s: getImplicitConsent is answered %s; %q", a.Name, s, a.Told())
	}
	a.atHome()
}

// atHome checks that the client is at the user's own agent, and waits until it has the agent's key: a PIN that it sends before is
// in clear.
func (a *application) atHome() {
	a.h.t.Helper()
	if err := a.page.Run("until('the device key', () => T1CSdk.Pinutil.getPubKey())", nil); err != nil {
		a.h.t.Errorf("%s: %v", a.Name, err)
	}
	at := ""
	if err := a.page.Run("new URL(client.config().t1cApiUrl).port", &at); err != nil || at != fmt.Sprint(a.port) {
		a.h.t.Errorf("%s: the client is at port %s, %v, want %d", a.Name, at, err, a.port)
	}
}

// readers has the application list readers in all ways, and returns the one that has the card.
func (a *application) readers() string {
	a.h.t.Helper()
	var want struct{ Readers []api.CardReader }
	a.run(&want, "agent", "readers")
	var all, with, without []api.CardReader
	a.call("client.core().readers()", &all)
	a.call("client.core().readersCardAvailable()", &with)
	a.call("client.core().readersCardsUnavailable()", &without)
	if len(all) != len(want.Readers) || len(with) != 1 || len(with)+len(without) != len(all) || with[0].Card == nil {
		a.h.t.Fatalf("%s: the readers are %+v, with a card %+v, without %+v; want %+v", a.Name, all, with, without, want)
	}
	for i := range want.Readers {
		if all[i].ID != want.Readers[i].ID || all[i].Name != want.Readers[i].Name {
			a.h.t.Errorf("%s: reader %d is %+v, want %+v", a.Name, i, all[i], want.Readers[i])
		}
	}
	var one api.CardReader
	a.call(fmt.Sprintf("client.core().reader(%q)", with[0].ID), &one)
	if one.Name != with[0].Name {
		a.h.t.Errorf("%s: the reader is %+v, want %+v", a.Name, one, with[0])
	}
	a.fails("client.core().reader('0000000000000000')", 201705)
	return string(with[0].ID)
}

// stray has the application look for readers on the port of another user's agent, which serves nobody but him.
func (a *application) stray(port int) {
	a.h.t.Helper()
	if err := a.page.Run(fmt.Sprintf(`window.stranger = new T1CSdk.T1CClient(new T1CSdk.T1CConfig(
		new T1CSdk.T1CConfigOptions('http://127.0.0.1', '%d'))), ''`, port), nil); err != nil {
		a.h.t.Fatal(err)
	}
	a.fails("stranger.core().readers()", 104704)
}

// returns has the user come back to the page later: what the client has stored leads it to the agent, wherever that is now.
func (a *application) returns() {
	a.h.t.Helper()
	a.start()
	if s := a.does(fmt.Sprintf("initialise(%q)", a.h.broker)); s.Code != nil {
		a.h.t.Errorf("%s: initialize with a consent is answered %s; %q", a.Name, s, a.Told())
	}
	a.atHome()
}
