// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { webcrypto } from "node:crypto";
import { test } from "node:test";

import { bytes, CardbrokerError, connect, hex } from "../dist/cardbroker.js";
import { data, Host, refused, Store } from "./fake.mjs";

globalThis.crypto ??= webcrypto; // node 18

const reader = "0123456789abcdef";
const PIN = "84206913";

async function connected(t, options = {}) {
  const h = await Host.start();
  t.after(() => h.stop());
  const client = await connect({ broker: h.brokerServer.url, storage: new Store(), ...options });
  return { h, client };
}

test("readers are listed, with and without a filter", async (t) => {
  const { h, client } = await connected(t, { jwt: async () => "a.b.c" });
  h.agent["/v3/readers"] = () => data([{ id: reader, name: "R", pinpad: false }]);
  assert.equal((await client.readers())[0].id, reader);
  await client.readers({ card: true });
  await client.readers({ exclude: ["hello", "a*&b"], card: false });
  assert.deepEqual(h.agentServer.asked.map((a) => a.path), ["/v3/readers", "/v3/readers?cardInserted=true", "/v3/readers?excluded=hello&excluded=a*%26b&cardInserted=false"]);
  assert.equal(h.agentServer.asked[0].headers.authorization, "Bearer a.b.c");
  assert.ok(h.brokerServer.asked.every((a) => !a.headers.authorization));
});

test("an error says all that the server said", async (t) => {
  const { h, client } = await connected(t);
  h.agent["/v3/readers"] = () => refused(429, "rate_limited", { rule: "rate", retries: 2 }).concat({ "Retry-After": "7" });
  await assert.rejects(client.readers(), (e) => {
    assert.deepEqual(
      [e.name, e.reason, e.code, e.status, e.rule, e.retries, e.retryAfter, e.description],
      ["CardbrokerError", "rate_limited", 123456, 429, "rate", 2, 7, "it is rate_limited"],
    );
    return true;
  });
});

test("an agent that restarted elsewhere is found; a GET is sent again, once, and nothing else ever", async (t) => {
  const { h, client } = await connected(t);
  h.agent["/v3/readers"] = () => data([]);
  h.agent["/cb/v1/offers"] = () => [200, { ticket: "t" }];
  await h.restart();
  assert.deepEqual(await client.readers(), []);
  assert.equal(h.agentServer.count("/v3/readers"), 1);

  await h.restart();
  await assert.rejects(client.offer(reader, "acme"), { reason: "agent_unreachable" });
  assert.equal(h.agentServer.count("/cb/v1/offers"), 0);
  assert.equal((await client.offer(reader, "acme")).ticket, "t"); // the next one finds it
  assert.equal(h.agentServer.count("/cb/v1/offers"), 1);
});

test("a command whose answer is lost is not sent again", async (t) => {
  const { h, client } = await connected(t);
  h.agent["/cb/v1/offers"] = (_, response) => void response.socket.destroy();
  await assert.rejects(client.offer(reader, "acme"), { reason: "agent_unreachable" });
  assert.equal(h.agentServer.count("/cb/v1/offers"), 1);
  h.agent["/v3/readers"] = h.agent["/cb/v1/offers"];
  await assert.rejects(client.readers(), { reason: "agent_unreachable" });
  assert.equal(h.agentServer.count("/v3/readers"), 2);
});

test("while the agent restarts it is waited for, by all at once", async (t) => {
  const { h, client } = await connected(t);
  let restarting = 2;
  h.agent["/v3/readers"] = () => (restarting > 0 ? refused(503, "agent_restarting") : data([]));
  const validated = h.brokerServer.count("/v3/validate");
  h.broker["/v3/validate"] = () => (restarting-- > 0 ? refused(412, "no_agent") : undefined) ?? data({
    consentState: "APPROVED", consent: btoa(JSON.stringify({ agent: { apiPort: String(h.agentServer.port) } })), consents: [],
  });
  await Promise.all([client.readers(), client.readers(), client.readers()]);
  assert.ok(h.brokerServer.count("/v3/validate") - validated <= 4, "looked up for each who waits");
});

test("consent that has ended is said, and not asked for", async (t) => {
  const { h, client } = await connected(t);
  h.agent["/v3/readers"] = () => refused(412, "consent_required", { rule: "origin_unconsented" });
  await assert.rejects(client.readers(), { reason: "consent_required" });
  assert.equal(client.consented, false);
  assert.equal(h.brokerServer.count("/v3/consent"), 0);
});

test("a signal ends any wait, with its own reason", async (t) => {
  const { h, client } = await connected(t);
  const silent = () => undefined;
  for (const path of ["/v3/readers", `/v3/readers/${reader}`, "/cb/v1/offers", "/cb/v1/leases", "/cb/v1/events", "/cb/v1/device-key"]) {
    h.agent[path] = silent;
  }
  const calls = [
    (signal) => client.readers({ signal }),
    (signal) => client.reader(reader, { signal }),
    (signal) => client.offer(reader, "acme", { signal }),
    (signal) => client.leases({ signal }),
    (signal) => client.events({ signal }).next(),
    (signal) => client.verifyPin(reader, { reference: "80", pin: PIN, signal }),
    (signal) => client.token("m", reader).sign({ algorithm: "sha256", hash: new Uint8Array(32), pin: PIN, signal }),
  ];
  for (const call of calls) {
    for (const early of [true, false]) {
      const stop = new AbortController();
      const reason = new Error("enough");
      early ? stop.abort(reason) : setTimeout(() => stop.abort(reason), 20);
      await assert.rejects(call(stop.signal), (e) => e === reason, call.toString());
    }
  }
});

/** An agent's device key, as JWK set, and what opens a JWE to it. */
async function deviceKey() {
  const { subtle } = webcrypto;
  const curve = { name: "ECDH", namedCurve: "P-256" };
  const pair = await subtle.generateKey(curve, true, ["deriveBits"]);
  const { kty, crv, x, y } = await subtle.exportKey("jwk", pair.publicKey);
  const kid = Buffer.from(await subtle.digest("SHA-256", Buffer.from(JSON.stringify({ crv, kty, x, y })))).toString("base64url");
  const open = async (jwe) => {
    const parts = jwe.split(".");
    const [head, , iv, text, tag] = parts.map((p) => Buffer.from(p, "base64url"));
    const header = JSON.parse(head);
    const epk = await subtle.importKey("jwk", header.epk, curve, false, []);
    const z = await subtle.deriveBits({ name: "ECDH", public: epk }, pair.privateKey, 256);
    const enc = Buffer.from("A256GCM");
    const info = Buffer.concat([Buffer.from([0, 0, 0, 1]), Buffer.from(z), Buffer.from([0, 0, 0, 7]), enc, Buffer.alloc(8), Buffer.from([0, 0, 1, 0])]);
    const key = await subtle.importKey("raw", await subtle.digest("SHA-256", info), "AES-GCM", false, ["decrypt"]);
    const plain = await subtle.decrypt({ name: "AES-GCM", iv, additionalData: Buffer.from(parts[0]) }, key, Buffer.concat([text, tag]));
    return { header, pin: Buffer.from(plain).toString() };
  };
  return { kid, open, set: { keys: [{ kty, crv, x, y, kid, use: "enc", alg: "ECDH-ES" }], thumbprint: kid } };
}

/** A host whose agent takes PINs. */
async function sealing(t) {
  const { h, client } = await connected(t);
  const key = await deviceKey();
  let nonces = 0;
  h.agent["/cb/v1/device-key"] = () => [200, key.set];
  h.agent["/cb/v1/pin-challenges"] = () => [200, { nonce: `nonce${++nonces}` }];
  h.broker["/cb/v1/agent"] = () => [200, { port: h.agentServer.port, deviceKeyThumbprint: key.kid }];
  return { h, client, key };
}

const wire = (h) => JSON.stringify([h.brokerServer.asked, h.agentServer.asked]);

test("a PIN is sealed to the agent's key, for one reader and one nonce", async (t) => {
  const { h, client, key } = await sealing(t);
  const path = `/cb/v1/readers/${reader}/verify-pin`;
  h.agent[path] = () => [200, { verified: true }];
  assert.equal(await client.verifyPin(reader, { reference: "80", aid: "A000000308", pin: PIN }), true);
  const { pin, ...rest } = h.agentServer.asked.at(-1).body;
  assert.deepEqual(rest, { reference: "80", aid: "A000000308" });
  const { header, pin: opened } = await key.open(pin);
  assert.equal(opened, PIN);
  assert.deepEqual(
    [header.alg, header.enc, header.typ, header.kid, header.aud, header.nonce], ["ECDH-ES", "A256GCM", "pin+jwe", key.kid, reader, "nonce1"],
  );
  assert.ok(header.exp - Date.now() / 1000 <= 60 && Object.keys(header).length === 8, JSON.stringify(header));

  h.agent[path] = () => refused(403, "pin_incorrect", { retries: 2 });
  await assert.rejects(client.verifyPin(reader, { reference: "80", pin: PIN }), (e) => {
    assert.deepEqual([e.reason, e.retries], ["pin_incorrect", 2]);
    assert.ok(!(e.stack + JSON.stringify(e) + JSON.stringify(e, Object.getOwnPropertyNames(e))).includes(PIN));
    return true;
  });
  assert.equal(h.agentServer.asked.filter((a) => a.path === path).length, 2);
  assert.ok(!wire(h).includes(PIN) && !wire(h).includes(btoa(PIN)));
});

test("a key that the broker does not vouch for gets no PIN", async (t) => {
  const other = await deviceKey();
  for (const [name, lie] of [
    ["another agent's key", (h) => { h.agent["/cb/v1/device-key"] = () => [200, other.set]; }],
    ["another key by the right name", (h, key) => {
      h.agent["/cb/v1/device-key"] = () => [200, { keys: [{ ...other.set.keys[0], kid: key.kid }], thumbprint: key.kid }];
    }],
    ["no key", (h) => { h.agent["/cb/v1/device-key"] = () => [200, { keys: [] }]; }],
  ]) {
    await t.test(name, async (t) => {
      const { h, client, key } = await sealing(t);
      lie(h, key);
      await assert.rejects(client.verifyPin(reader, { reference: "80", pin: PIN }), { reason: "key_mismatch" });
      assert.equal(h.agentServer.asked.filter((a) => a.method === "POST").length, 0);
    });
  }
});

// An agent that had just started answered a moment before the broker had heard of its key: that was taken for a key that is not its own.
test("a key that the broker does not know yet gets no PIN, and is waited for", async (t) => {
  const { h, client, key } = await sealing(t);
  h.agent[`/cb/v1/readers/${reader}/verify-pin`] = () => [200, { verified: true }];
  let asked = 0;
  const stop = new AbortController();
  h.broker["/cb/v1/agent"] = () => {
    if (++asked === 2) {
      stop.abort(new Error("enough"));
    }
    return [200, { deviceKeyThumbprint: asked < 4 ? "" : key.kid }];
  };
  await assert.rejects(client.verifyPin(reader, { reference: "80", pin: PIN, signal: stop.signal }), { message: "enough" });
  assert.equal(h.agentServer.asked.filter((a) => a.method === "POST").length, 0);
  assert.equal(await client.verifyPin(reader, { reference: "80", pin: PIN }), true);
  assert.equal(asked, 4);
});

test("tokens", async (t) => {
  const { h, client, key } = await sealing(t);
  const base = `/v3/modules/safenet/apps/token/readers/${reader}`;
  const token = client.token("safenet", reader);
  const certificate = { certificate: btoa("der"), id: "01", subject: "CN=A", issuer: "CN=B", serialNumber: "5", notBefore: "2026-01-01T00:00:00Z", notAfter: "2030-01-01T00:00:00Z", warning: "" };
  h.agent["/cb/v1/modules"] = () => [200, { modules: [{ name: "safenet", title: "S", pcsc: true, state: "idle" }] }];
  h.agent[`${base}/info`] = () => data({ info: { label: "Card" }, infoType: 1 });
  h.agent[`${base}/cert-list`] = () => data({ authenticationCertificate: { certificates: [certificate] }, intermediateCertificates: { certificates: [certificate] }, rootCertificate: {} });
  h.agent[`${base}/supported-algorithms`] = () => data({ ref: ["sha256"] });
  h.agent[`${base}/sign`] = () => data({ data: btoa("signed") });
  h.agent[`${base}/validate`] = () => data({ valid: true });
  h.agent[`${base}/verify-pin`] = h.agent[`${base}/reset-pin`] = h.agent[`${base}/change-pin`] = () => data({ verified: true });

  assert.equal((await client.modules())[0].name, "safenet");
  h.agent["/cb/v1/modules/safenet/slots"] = ({ path }) => [200, { slots: path.endsWith("?present=true") ? [{ id: "5107" }] : [] }];
  assert.deepEqual([await client.slots("safenet"), (await client.slots("safenet", { present: true }))[0].id], [[], "5107"]);
  assert.equal((await token.info()).label, "Card");
  assert.deepEqual((await token.certificates()).map((c) => [c.use, c.id, hex(c.der)]), [["authentication", "01", "646572"], ["intermediate", "01", "646572"]]);
  assert.equal((await token.certificates({ use: "root" })).length, 0);
  assert.deepEqual(await token.algorithms(), ["sha256"]);
  assert.equal(Buffer.from(await token.sign({ algorithm: "sha256", hash: new Uint8Array([1, 2]), id: "01", pin: PIN })).toString(), "signed");
  const { pin, ...rest } = h.agentServer.asked.at(-1).body;
  assert.deepEqual(rest, { algorithm: "sha256", id: "01", data: "AQI=" });
  assert.equal((await key.open(pin)).pin, PIN);

  await token.sign({ algorithm: "sha256", data: new Uint8Array([1]), bulk: true });
  assert.equal(h.agentServer.asked.at(-1).path, `${base}/sign?bulk=true`);
  assert.deepEqual(h.agentServer.asked.at(-1).body, { algorithm: "sha256", data: "AQ==", hashed: false });
  await assert.rejects(token.sign({ algorithm: "sha256" }), TypeError);

  await token.sign({ algorithm: "sha256", hash: new Uint8Array([1]), osDialog: true });
  assert.deepEqual(h.agentServer.asked.at(-1).body, { algorithm: "sha256", data: "AQ==", osDialog: true });
  assert.equal(await token.verify({ algorithm: "sha256", hash: new Uint8Array([1]), signature: new Uint8Array([2]) }), true);
  assert.deepEqual(h.agentServer.asked.at(-1).body, { algorithm: "sha256", hash: "AQ==", signedHash: "Ag==" });
  assert.equal(await token.verifyPin({ pin: PIN }), true);

  await token.unblock({ puk: "12345678", pin: PIN });
  const { puk, pin: fresh } = h.agentServer.asked.at(-1).body;
  const opened = [await key.open(puk), await key.open(fresh)];
  assert.deepEqual(opened.map((o) => o.pin), ["12345678", PIN]);
  assert.notEqual(opened[0].header.nonce, opened[1].header.nonce);
  await token.changePin({ pin: PIN, newPin: "1111" });
  assert.equal((await key.open(h.agentServer.asked.at(-1).body.newPin)).pin, "1111");
  assert.ok(!wire(h).includes(PIN));

  h.agent[`${base}/sign`] = (_, response) => void response.socket.destroy();
  const before = h.agentServer.count(`${base}/sign`);
  await assert.rejects(token.sign({ algorithm: "sha256", hash: new Uint8Array([1]), pin: PIN }), { reason: "agent_unreachable" });
  assert.equal(h.agentServer.count(`${base}/sign`), before + 1);
});

test("sessions", async (t) => {
  const { h, client } = await connected(t);
  const base = `/v3/modules/remoteloading/apps/hsm/readers/${reader}`;
  h.agent[`${base}/open-session`] = () => data("S1");
  h.agent[`${base}/close-session`] = () => data("S1");
  h.agent[`${base}/card-present`] = () => data(true);
  h.agent[`${base}/atr`] = () => data("3B00");
  h.agent[`${base}/command`] = ({ body }) => data({ tx: body.command, sw: "9000", rx: "CAFE" });
  h.agent[`${base}/commands`] = ({ body }) => data(body.commands.map((tx) => ({ tx, sw: "6A82" })));
  const session = await client.session(reader, { timeout: 30 });
  assert.deepEqual(h.agentServer.asked.at(-1).body, { timeout: 30 });
  const response = await session.transmit("00 a4 04 00");
  assert.deepEqual([response.ok, response.sw, hex(response.data)], [true, "9000", "CAFE"]);
  assert.deepEqual(h.agentServer.asked.at(-1).body, { command: "00A40400", sessionId: "S1" });
  assert.deepEqual((await session.transmitAll([bytes("00A4"), "00B0"])).map((r) => [r.ok, r.sw, r.data.length]), [[false, "6A82", 0], [false, "6A82", 0]]);
  assert.equal(hex(await session.atr()), "3B00");
  assert.equal(await session.cardPresent(), true);
  await assert.rejects(session.transmit("0"), TypeError);
  await session.close();
  assert.deepEqual(h.agentServer.asked.at(-1).body, { sessionId: "S1" });
});

test("events go on over a cut, and tell nothing twice", async (t) => {
  const { h, client } = await connected(t);
  const event = (event, reader, atr = "") => ({ event, reader, atr, name: reader, time: "2026-01-01T00:00:00Z" });
  const streams = [
    [event("reader_added", "a"), event("card_in", "a", "3B00"), event("reader_added", "b")],
    [event("reader_added", "a"), event("reader_added", "c"), event("card_in", "c", "3B01")],
  ];
  let open;
  h.agent["/cb/v1/events"] = (_, response) => {
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    const text = (streams.shift() ?? []).map((e) => `event: ${e.event}\ndata: ${JSON.stringify(e)}\n\n`).join("");
    response.write(text.slice(0, 50));
    response.write(text.slice(50));
    open = response;
  };
  h.agent["/v3/readers"] = () => data([{ id: "a", name: "a", pinpad: false }, { id: "c", name: "c", pinpad: false, card: { atr: "3B01" } }]);
  const seen = [];
  for await (const e of client.events()) {
    seen.push(`${e.event} ${e.reader}`);
    if (seen.length === 3) {
      open.destroy();
    }
    if (seen.length === 7) {
      break;
    }
  }
  assert.deepEqual(seen, ["reader_added a", "card_in a", "reader_added b", "card_out a", "reader_removed b", "reader_added c", "card_in c"]);
});

test("a watch ends by its stop, and tells what ends it for good", async (t) => {
  const { h, client } = await connected(t);
  h.agent["/cb/v1/events"] = () => refused(412, "consent_required");
  const error = await new Promise((onError) => client.watch({ onEvent: () => {}, onError }));
  assert.ok(error instanceof CardbrokerError && error.reason === "consent_required");
  await client.validate();
  h.agent["/cb/v1/events"] = (_, response) => void response.writeHead(200).flushHeaders();
  const stop = client.watch({ onEvent: () => {}, onError: (e) => assert.fail(e) });
  stop();
});

test("bytes", () => {
  assert.equal(hex(bytes("00 ff\n1A")), "00FF1A");
  assert.throws(() => bytes("0g"), TypeError);
  assert.throws(() => bytes("123"), TypeError);
});
