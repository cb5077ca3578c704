// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package browser

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker/test/chromium"
)

// withSDK has a page load our SDK, and say of what it does with it how that ends: a text, or the reason of an error.
const withSDK = `(async broker => {
	window.sdk = await import('` + sdkPath + `');
	window.explained = 0;
	window.said = async action => {
		try { return String(await action()) } catch (e) { return e.reason ? [e.reason, e.retries, e.fix && 'fix'].filter(x => x !== undefined).join(' ') : 'thrown ' + e.stack }
	};
	window.join = () => said(async () => {
		explained = 0;
		window.client = await sdk.connect({broker, explain: () => { explained++ }});
		return client.consented;
	});
	return 'ready';
})`

// sdk opens a page that has our SDK.
func (u *user) sdk(url string) *chromium.Page {
	u.h.t.Helper()
	p := u.open(url)
	u.h.says(p, fmt.Sprintf("%s(%q)", withSDK, u.h.broker), "ready")
	return p
}

// says has a page say something.
func (h *host) says(p *chromium.Page, script, want string) {
	h.t.Helper()
	if got := h.do(p, script); got != want {
		h.t.Errorf("%s says %q, want %q; %q", script, got, want, p.Told())
	}
}

// TestSDK uses our SDK in a page from the network as docs/javascript.md says, from the browser's question to an agent that restarts
// elsewhere and one that is gone.
func TestSDK(t *testing.T) {
	h := newHost(t)
	alice := &h.users[0]
	alice.browse()
	insecure := alice.sdk("http://app.example")
	h.says(insecure, "join()", "insecure_page fix")
	h.says(insecure, "sdk.permission()", "denied")
	insecure.Close()

	p := alice.sdk(app)
	h.says(p, "sdk.permission()", "prompt")
	h.says(p, "join()", "permission_denied fix") // without a display that is the answer
	h.says(p, "explained + ''", "1")
	if err := alice.SetPermission(app, "loopback-network", chromium.Granted); err != nil {
		t.Fatal(err)
	}
	h.says(p, "join()", "false")
	h.says(p, "explained + ''", "0") // of this time
	h.says(p, "said(() => client.readers())", "consent_required fix")
	h.says(p, "window.asked = said(() => client.consent({days: 7})), 'asks'", "asks")
	alice.run(nil, "agent", "consent", "approve", app)
	h.says(p, "asked", "undefined")
	h.says(p, "join()", "true")
	sdkCard(h, p)
	sdkMoves(h, p, alice)
	sdkGone(h, p, alice)
}

// sdkCard uses the card.
func sdkCard(h *host, p *chromium.Page) {
	h.t.Helper()
	h.says(p, "said(async () => { window.reader = (await client.readers({card: true}))[0]; return reader.name + ' ' + /^3B/.test(reader.card.atr) })", "cardbroker Software Reader 00 00 true")
	h.says(p, "window.seen = [], window.stop = client.watch({onEvent: e => seen.push(e.event), onError: e => seen.push(e.reason)}), 'watches'", "watches")
	h.until("the events", func() bool { return h.do(p, "seen.join()") == "reader_added,card_in" })
	const verify = "said(() => client.verifyPin(reader.id, {reference: '80', aid: 'A000000308', pin: '%s'}))"
	h.says(p, fmt.Sprintf(verify, "654321"), "pin_incorrect 2 fix")
	h.says(p, fmt.Sprintf(verify, "123456"), "true")
	// A key that came from anywhere else than the agent gets nothing.
	h.says(p, `(async () => {
		const honest = window.fetch, posts = [];
		const pair = await crypto.subtle.generateKey({name: 'ECDH', namedCurve: 'P-256'}, true, ['deriveBits']);
		const {kty, crv, x, y} = await crypto.subtle.exportKey('jwk', pair.publicKey);
		window.fetch = async (url, options) => {
			if (options.method === 'POST') posts.push(url);
			const answer = await honest(url, options);
			if (!url.endsWith('/cb/v1/device-key')) return answer;
			const set = await answer.json();
			return new Response(JSON.stringify({...set, keys: [{...set.keys[0], kty, crv, x, y}]}));
		};
		const end = await said(() => client.verifyPin(reader.id, {reference: '80', aid: 'A000000308', pin: '123456'}));
		window.fetch = honest;
		return end + posts.join();
	})()`, "key_mismatch fix")
	h.says(p, `said(async () => {
		const session = await client.session(reader.id, {timeout: 20});
		const answers = [await session.transmit('00 A4 0400 05 A000000308 00'), ...await session.transmitAll(['00A4040005A00000030900', '00CB3FFF055C035FC10200'])];
		const atr = sdk.hex(await session.atr()), present = await session.cardPresent();
		await session.close();
		const late = await said(() => session.transmit('00A4040000'));
		return answers.map(a => a.sw + (a.data.length > 0)) + ' ' + (atr === reader.card.atr) + ' ' + present + ' ' + late;
	})`, "9000true,6A82false,9000true true true session_unknown fix")
	h.says(p, "said(() => client.readers({exclude: ['soft*']}).then(l => l.length))", "0")
	h.says(p, "said(() => client.offer(reader.id, 'acme'))", "tenant_denied fix")
}

// sdkMoves: the agent restarts in another session, so at another port. The page goes on, and so do its events.
func sdkMoves(h *host, p *chromium.Page, u *user) {
	h.t.Helper()
	before := h.do(p, "client.agent")
	if err := u.service.Stop(); err != nil {
		h.t.Error(err)
	}
	h.says(p, "window.meanwhile = Promise.all([1, 2].map(() => said(async () => (await client.readers()).length))), 'waits'", "waits")
	u.session = "another"
	u.logon("--software-card")
	h.says(p, "meanwhile.then(both => both.join())", "1,1")
	after := h.do(p, "client.agent")
	if after != u.agent || after == before {
		h.t.Errorf("the page is at %s, was at %s; the agent is at %s", after, before, u.agent)
	}
	h.says(p, "said(() => client.verifyPin(reader.id, {reference: '80', aid: 'A000000308', pin: '123456'}))", "true")
	h.says(p, "said(() => client.revoke())", "undefined")
	h.until("the end of the events", func() bool {
		return strings.TrimPrefix(h.do(p, "seen.join()"), "reader_added,card_in,") == "consent_required"
	})
}

// sdkGone: what the page is told when there is no agent, and no broker.
func sdkGone(h *host, p *chromium.Page, u *user) {
	h.t.Helper()
	if err := u.service.Stop(); err != nil {
		h.t.Error(err)
	}
	h.says(p, "join()", "no_agent fix")
	if err := h.service.Stop(); err != nil {
		h.t.Error(err)
	}
	h.says(p, "join()", "not_running fix")
}
