// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package browser

import (
	"encoding/base64"
	"fmt"
	"os"
	"testing"

	"github.com/cardbroker/cardbroker/test/chromium"
	pages "github.com/cardbroker/cardbroker/web"
)

// withTokens is what a page does with tokens by our SDK, each thing as a text, or the reason why not.
const withTokens = `
globalThis.said = async action => {
	try { return String(await action()) } catch (e) { return e.reason ? [e.reason, e.retries, e.fix && 'fix'].filter(x => x !== undefined).join(' ') : 'thrown ' + e.stack }
};
globalThis.base64 = data => btoa(String.fromCharCode(...data));
globalThis.join = broker => said(async () => {
	globalThis.client = await sdk.connect({broker});
	return client.consented;
});
globalThis.places = async () => {
	const found = [];
	for (const {name, pcsc} of await client.modules())
		for (const {id, reader, token} of await client.slots(name, {present: true}))
			if (token.label) found.push({module: name, id: pcsc ? reader : id});
	return found;
};
globalThis.uses = (module, pin) => said(async () => {
	const token = client.token(module, (await place(module)).id);
	const [info, all, algorithms] = await Promise.all([token.info(), token.certificates(), token.algorithms()]);
	const own = all.find(c => c.id === '01');
	const data = new TextEncoder().encode('by our SDK'), other = new TextEncoder().encode('another text');
	const asked = {algorithm: 'sha256', id: own.id};
	const signature = await token.sign({...asked, data, pin});
	const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', data));
	const again = await token.authenticate({...asked, hash, pin});
	const good = [
		info.label.length > 0, algorithms.includes('sha256'), await token.verifyPin({pin}),
		await token.verify({...asked, data, signature}), !await token.verify({...asked, data: other, signature}), base64(again) === base64(signature),
	];
	return good.join() + ' ' + base64(own.der) + ' ' + base64(signature);
});
globalThis.place = async module => (await places()).find(p => p.module === module);
globalThis.wrong = module => said(async () => client.token(module, (await place(module)).id).sign({algorithm: 'sha256', id: '01', data: new Uint8Array([1]), pin: '000000'}));
''`

// speaker is a page that runs scripts: a browser's, or node's.
type speaker struct {
	h    *host
	name string
	page page
}

func (s speaker) do(script string) (said string) {
	s.h.t.Helper()
	if err := s.page.Run(script, &said); err != nil {
		s.h.t.Fatal(err)
	}
	return said
}

// says has it say something.
func (s speaker) says(script, want string) {
	s.h.t.Helper()
	if got := s.do(script); got != want {
		s.h.t.Errorf("%s: %s says %q, want %q", s.name, script, got, want)
	}
}

// TestSDKTokens uses tokens by our SDK, in a browser and in node: a card behind pcscd through OpenSC's module, and a SoftHSM.
func TestSDKTokens(t *testing.T) {
	h := setStage(t)
	h.needsPCSC()
	alice := &h.users[0]
	hsm, bed := alice.newHSM(), alice.bed()
	if bed == nil {
		t.FailNow()
	}
	alice.logon("--pcsc-socket", bed.Socket(), "--policy", h.policy(t, "modules:\n  opensc: {}\n  softhsm: "+hsm.Module()+"\n"))
	alice.browse()
	if err := alice.SetPermission(app, "loopback-network", chromium.Granted); err != nil {
		t.Fatal(err)
	}
	speakers := []speaker{{h, "Chromium", alice.sdk(app)}, {h, "node", alice.nodeSDK(t, "https://app2.example/")}}
	for _, s := range speakers {
		s.do(withTokens)
		s.says(fmt.Sprintf("join(%q)", h.broker), "false")
		s.do("globalThis.asked = said(() => client.consent({days: 1})), ''")
		alice.run(nil, "agent", "consent", "approve", s.do("location.origin"))
		s.says("asked", "undefined")
		s.uses("opensc", "123456")
		s.uses("softhsm", hsm.PIN)
	}
	for i, module := range []string{"softhsm", "opensc"} { // a page is wrong once, of tokens that do not tell their tries
		s := speakers[i]
		s.says(fmt.Sprintf("wrong(%q)", module), "pin_incorrect fix")
		s.says("wrong('softhsm')", "forbidden fix")
	}
}

// uses goes through what the SDK has for a module's token, and judges the signature.
func (s speaker) uses(module, pin string) {
	t := s.h.t
	t.Helper()
	said := s.do(fmt.Sprintf("uses(%q, %q)", module, pin))
	var good, certificate, text string
	fmt.Sscan(said, &good, &certificate, &text)
	signature, err := base64.StdEncoding.DecodeString(text)
	if err != nil || good != "true,true,true,true,true,true" {
		t.Errorf("%s, %s: the SDK says %s, %v", s.name, module, said, err)
		return
	}
	if err := judge(certificate, "by our SDK", signature); err != nil {
		t.Errorf("%s, %s: the signature %s: %v", s.name, module, text, err)
	}
}

// nodeSDK starts a program of the user's in node, which has our SDK and is a page.
func (u *user) nodeSDK(t *testing.T, url string) page {
	t.Helper()
	program, err := os.ReadFile("testdata/node.mjs")
	if err != nil {
		t.Fatal(err)
	}
	text, _, err := pages.DemoFile("cardbroker.js")
	if err == nil {
		err = os.WriteFile(u.h.Path("cardbroker.mjs"), text, 0o644)
	}
	if err == nil {
		err = os.WriteFile(u.h.Path("node.mjs"), program, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return u.node(u.h.Path("node.mjs"), url)
}
