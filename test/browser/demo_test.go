// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package browser

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker/test/chromium"
)

// demoPage is the demo, in the user's browser.
type demoPage struct {
	*chromium.Page
	h *host
}

// Each of its parts is used as people do, and read as they see it.
const hands = `
window.by = id => document.getElementById(id);
window.fill = (form, values) => { for (const [name, value] of Object.entries(values)) by(form).elements[name].value = value };
window.press = id => by(id).tagName === 'FORM' ? by(id).requestSubmit() : by(id).click();
window.shown = id => by(id).checkVisibility() ? by(id).innerText.replace(/\s+/g, ' ') : '';
''`

// slow has the agent's first answer about the reader that the page asks for first come after those about others, and its second one
// when the page is let go.
const slow = `(() => {
	const honest = window.fetch;
	const late = [() => new Promise(done => setTimeout(done, 500)), () => new Promise(done => { window.letGo = done })];
	let first;
	window.fetch = async (url, options) => {
		const reader = /\/v3\/readers\/(.+)/.exec(url)?.[1];
		first ??= reader;
		const wait = reader && reader === first ? late.shift() : undefined;
		const answer = await honest(url, options);
		await wait?.();
		return answer;
	};
})()`

// see waits until a part shows a text, and takes a picture of it all if there is a folder for them.
func (d demoPage) see(picture, part, text string) {
	d.h.t.Helper()
	shown := ""
	defer func() {
		if !strings.Contains(shown, text) {
			whole := ""
			err := d.Run("document.body.innerText + by('events').innerText", &whole)
			d.h.t.Logf("%s shows %q, the page %q, %v; %q", part, shown, whole, err, d.Told())
		}
	}()
	d.h.until(fmt.Sprintf("%q in %s", text, part), func() bool {
		shown = d.h.do(d.Page, fmt.Sprintf("shown(%q)", part))
		return strings.Contains(shown, text)
	})
	dir := os.Getenv(pictures)
	if dir == "" || picture == "" {
		return
	}
	width := 1000
	if picture == "phone" {
		width = 390
	}
	png, err := d.Screenshot(width, 1900)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "demo-"+picture+".png"), png, 0o644)
	}
	if err != nil {
		d.h.t.Error(err)
	}
}

func (d demoPage) run(script string) {
	d.h.t.Helper()
	if err := d.Run(script+";''", nil); err != nil {
		d.h.t.Error(err)
	}
}

// demo opens the user's demo by the address that he types.
func (u *user) demo() demoPage {
	u.h.t.Helper()
	d := demoPage{u.open(strings.Replace(u.agent, "127.0.0.1", "localhost", 1) + "/demo"), u.h}
	d.run(hands)
	return d
}

// TestDemoPage goes through the demo: from the address that the user types to the last of what it shows. Its origin is nobody else's, and
// the browser complains of nothing but what is to fail.
func TestDemoPage(t *testing.T) {
	h := setStage(t)
	alice := &h.users[0]
	hsm := alice.newHSM()
	alice.logon("--software-card", "--policy", h.policy(t, "modules:\n  softhsm: "+hsm.Module()+"\n  gone: {library: /usr/lib/gone.so, pcsc: false, title: Gone middleware}\n"))
	alice.browse()
	d := alice.demo()
	origin := h.do(d.Page, "location.origin")
	if !strings.HasPrefix(origin, "http://cardbroker-demo-") {
		t.Errorf("the demo's origin is %s", origin)
	}
	d.see("nobody", "connection", "not_running")
	d.Told()
	d.run(fmt.Sprintf("by('broker').value = %q; press('connect')", h.broker))
	d.see("connected", "consent", "This page may not use your cards yet")
	d.run("press('ask')")
	d.see("asking", "consent", "Your agent asks you")
	alice.run(nil, "agent", "consent", "approve", origin)
	d.see("card", "card", "3B ")
	d.see("", "missing", "Gone middleware: ")
	d.run("fill('verify', {pin: '654321'}); press('verify')")
	d.see("wrong", "card", "Tries left: 2")
	d.refused("403", "503")
	d.run("fill('verify', {pin: '123456'}); press('verify')")
	d.see("right", "card", "The PIN is right")
	h.says(d.Page, "by('verify').elements.pin.value", "")
	d.run("press('transmit')")
	d.see("", "console", "9000")
	d.see("", "details", "none for this card")
	d.signsBySoftHSM(hsm)
	d.run("document.querySelector('details').open = true")
	d.see("phone", "events", "card in cardbroker Software Reader")
	d.run("by('list').querySelector('input').click()") // the reader
	d.run("fill('offering', {tenant: 'acme'}); press('offering')")
	d.see("offer", "offer", "tenant_denied")
	d.Told()
	if err := d.Dark(); err != nil {
		t.Error(err)
	}
	d.see("dark", "readers", "cardbroker Software Reader")
	d.run("press('revoke')")
	d.see("", "consent", "This page may not use your cards yet")
	d.see("", "readers", "With your consent they show up here")
	if told := d.Told(); len(told) > 1 || len(told) == 1 && told[0] != "failed: net::ERR_ABORTED " { // the page ends its events
		t.Errorf("the browser says %q", told)
	}
	d.Close()
	h.framed(alice)
}

// framed: no page shows the demo in a frame, and none reads where it is.
func (h *host) framed(u *user) {
	h.t.Helper()
	p := u.open(h.web.page)
	for _, address := range []string{u.agent, strings.Replace(u.agent, "127.0.0.1", "localhost", 1)} {
		h.says(p, fmt.Sprintf(`within(60000, done => {
			document.body.innerHTML = '<iframe src="%s/demo">';
			document.body.firstChild.onload = () => done('loaded');
		})`, address), "loaded")
		if told := fmt.Sprint(p.Told()); !strings.Contains(told, "403") {
			h.t.Errorf("of a frame with %s/demo the browser says %s, want a refusal", address, told)
		}
		h.says(p, fmt.Sprintf("get('%s/demo')", address), "403 own_page")
	}
}
