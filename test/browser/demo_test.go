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

// see waits until a part shows a text, and takes a picture of it all if there is a folder for them.
func (d demoPage) see(picture, part, text string) {
	d.h.t.Helper()
	d.h.until(fmt.Sprintf("%q in %s", text, part), func() bool { return strings.Contains(d.h.do(d.Page, fmt.Sprintf("shown(%q)", part)), text) })
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

// TestDemoPage goes through the demo: from the address that the user types to the last of what it shows. Its origin is nobody else's, and
// the browser complains of nothing but what is to fail.
func TestDemoPage(t *testing.T) {
	h := newHost(t)
	alice := &h.users[0]
	alice.browse()
	d := demoPage{alice.open(strings.Replace(alice.agent, "127.0.0.1", "localhost", 1) + "/demo"), h}
	d.run(hands)
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
	d.run("fill('verify', {pin: '654321'}); press('verify')")
	d.see("wrong", "card", "Tries left: 2")
	if told := d.Told(); len(told) != 1 || !strings.Contains(told[0], "403") {
		t.Errorf("the browser says %q, want one refusal", told)
	}
	d.run("fill('verify', {pin: '123456'}); press('verify')")
	d.see("right", "card", "The PIN is right")
	h.says(d.Page, "by('verify').elements.pin.value", "")
	d.run("press('transmit')")
	d.see("", "console", "9000")
	d.signs()
	d.run("document.querySelector('details').open = true")
	d.see("phone", "events", "card in cardbroker Software Reader")
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

// token answers in place of the agent what a token of one module is asked; that is tried with real ones elsewhere. Whatever it is, a PIN
// comes sealed.
const token = `
window.honest = window.fetch;
window.fetch = async (url, options) => {
	const data = data => new Response(JSON.stringify({success: true, data}));
	const call = url.split('/apps/token/readers/' + reader.id)[1];
	const certificate = (certificateType, id, cn, warning) => ({certificates: [{certificate: 'MAA=', certificateType, id, subject: 'CN=' + cn + ',O=Example,C=BE',
		issuer: 'CN=Example CA,O=Example,C=BE', serialNumber: '01', notBefore: '2026-01-01T00:00:00Z', notAfter: '2031-01-01T00:00:00Z', warning}]});
	const body = options.body && JSON.parse(options.body);
	switch (call) {
	case '/cert-list': return data({authenticationCertificate: certificate('authentication', '9a', 'Alice Example', ''),
		nonRepudiationCertificate: certificate('nonRepudiation', '9c', 'Alice Example', 'expires_soon'), rootCertificate: certificate('root', '', 'Example CA', '')});
	case '/supported-algorithms': return data({ref: ['sha1', 'sha256', 'rsassa_pss_sha256']});
	case '/sign':
		window.signed = body;
		return data({data: btoa('x'.repeat(256))});
	case '/validate': return data({valid: body.signedHash === btoa('x'.repeat(256)) && body.hash === signed.data});
	}
	const answer = await honest(url, options);
	if (!url.endsWith('/v3/readers/' + reader.id)) return answer;
	const said = await answer.json();
	said.data.card.modules = ['opensc'];
	return new Response(JSON.stringify(said));
};
''`

// signs reads certificates and signs.
func (d demoPage) signs() {
	d.h.t.Helper()
	d.run("window.reader = {id: by('list').querySelector(':checked').value}")
	d.run(token)
	d.run("press('connect')")
	d.see("", "sign", "opensc")
	d.run("press('load')")
	d.see("certificates", "certificates", "expires soon")
	d.run("fill('signing', {text: 'I agree to that.', id: '9c', pin: '123456'}); by('signing').requestSubmit()")
	d.see("signed", "signing", "Signed, and verified: 7878")
	d.h.says(d.Page, "[signed.id, signed.algorithm, atob(signed.data), signed.hashed, signed.pin.split('.').length, by('signing').elements.pin.value].join()",
		"9c,sha256,I agree to that.,false,5,")
	d.run("window.fetch = honest")
}

// framed: no page shows the demo in a frame, and none reads where it is.
func (h *host) framed(u *user) {
	h.t.Helper()
	p := u.open(h.web.page)
	for _, address := range []string{u.agent, strings.Replace(u.agent, "127.0.0.1", "localhost", 1)} {
		h.says(p, fmt.Sprintf(`within(5000, done => {
			document.body.innerHTML = '<iframe src="%s/demo">';
			document.body.firstChild.onload = () => done('loaded');
		})`, address), "loaded")
		if told := fmt.Sprint(p.Told()); !strings.Contains(told, "403") {
			h.t.Errorf("of a frame with %s/demo the browser says %s, want a refusal", address, told)
		}
		h.says(p, fmt.Sprintf("get('%s/demo')", address), "403 own_page")
	}
}
