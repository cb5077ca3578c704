// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";

import { CardbrokerError, connect, permission } from "../dist/cardbroker.js";
import { Host, permissions, refused, Server, Store } from "./fake.mjs";

const reason = (wanted) => (error) => {
  assert.ok(error instanceof CardbrokerError, String(error));
  assert.equal(error.reason, wanted);
  assert.notEqual(error.fix, "");
  return true;
};

async function host(t) {
  const h = await Host.start();
  t.after(() => h.stop());
  return h;
}

test("permission asks by the new name, then by the old, and never fails", async (t) => {
  for (const [states, wanted] of [
    [{ "loopback-network": "granted", "local-network-access": "denied" }, "granted"],
    [{ "local-network-access": "prompt" }, "prompt"],
    [{ "loopback-network": "denied" }, "denied"],
    [{}, "unsupported"],
  ]) {
    await t.test(wanted, async (t) => {
      permissions(t, states);
      assert.equal(await permission(), wanted);
    });
  }
  permissions(t, {}, { navigator: undefined });
  assert.equal(await permission(), "unsupported");
});

test("why nobody answers depends on what the browser says of the page", async (t) => {
  const broker = "http://127.0.0.1:1"; // nobody listens there
  const page = { hostname: "shop.example" };
  for (const [name, states, more, wanted] of [
    ["granted", { "loopback-network": "granted" }, { location: page }, "not_running"],
    ["an older browser", {}, { location: page }, "not_running"],
    ["denied", { "loopback-network": "denied" }, { location: page, isSecureContext: true }, "permission_denied"],
    ["a page over http", { "loopback-network": "denied" }, { location: page, isSecureContext: false }, "insecure_page"],
    ["not answered", { "loopback-network": "prompt" }, { location: page }, "permission_needed"],
    ["a page of this computer", { "loopback-network": "prompt" }, { location: { hostname: "app.localhost" } }, "not_running"],
  ]) {
    await t.test(name, async (t) => {
      permissions(t, states, more);
      await assert.rejects(connect({ broker, storage: new Store() }), reason(wanted));
    });
  }
});

test("explain is called before the browser asks, and only then", async (t) => {
  const h = await host(t);
  for (const [state, hostname, wanted] of [["prompt", "shop.example", 1], ["prompt", "localhost", 0], ["granted", "shop.example", 0]]) {
    await t.test(`${state} at ${hostname}`, async (t) => {
      permissions(t, { "loopback-network": state }, { location: { hostname } });
      let explained = 0;
      const before = h.brokerServer.asked.length;
      await connect({ broker: h.brokerServer.url, storage: new Store(), explain: () => {
        assert.equal(h.brokerServer.asked.length, before);
        explained++;
      } });
      assert.equal(explained, wanted);
    });
  }
});

test("connect tries the ports, and says who is not cardbroker", async (t) => {
  const h = await host(t);
  const other = await Server.start(() => [200, "<html>"]);
  t.after(() => other.stop());
  const client = await connect({ ports: [1, h.brokerServer.port], storage: new Store() });
  assert.equal(client.broker, h.brokerServer.url);
  assert.deepEqual([client.version, client.host], ["1.2.3", "vda7"]);
  await assert.rejects(connect({ broker: other.url, storage: new Store() }), reason("not_cardbroker"));
  h.broker["/v3/validate"] = () => refused(412, "no_agent");
  await assert.rejects(connect({ broker: h.brokerServer.url, storage: new Store() }), reason("no_agent"));
});

test("consent is asked for by a code word, kept, and shown the next time", async (t) => {
  const h = await host(t);
  const storage = new Store();
  h.approved = false;
  const options = { broker: h.brokerServer.url, storage };
  const client = await connect(options);
  assert.equal(client.consented, false);
  await assert.rejects(client.readers(), reason("consent_required"));
  await assert.rejects(client.consent(), reason("consent_required"));
  h.approved = true;
  await client.consent({ days: 30 });
  const { body, headers } = h.brokerServer.asked.at(-1);
  assert.match(body.codeWord, /^::t1c::miksa::[A-Za-z0-9]{32}$/);
  assert.equal(body.durationInDays, 30);
  assert.ok(headers["x-csrf-token"]);
  assert.equal(client.agent, h.agentServer.url);
  assert.equal(client.expires.toISOString(), "2999-01-02T03:04:05.000Z");

  await client.validate();
  assert.equal(h.brokerServer.asked.at(-1).body.consents.length, 1);
  const again = await connect(options);
  assert.equal(again.consented, true);
  assert.deepEqual(h.brokerServer.asked.at(-1).body, { consents: JSON.parse(storage.kept.values().next().value) });
  h.approved = false;
  assert.equal((await connect(options)).consented, false);
});

test("a store that fails, or has nonsense in it, costs no more than a question", async (t) => {
  const h = await host(t);
  for (const storage of [
    { getItem: () => "{", setItem: () => {}, removeItem: () => {} },
    { getItem: () => { throw new Error("no"); }, setItem: () => { throw new Error("full"); }, removeItem: () => {} },
  ]) {
    const client = await connect({ broker: h.brokerServer.url, storage });
    await client.consent();
    assert.equal(client.consented, true);
  }
});

test("a fixed port is where the agent is, whatever the consent says", async (t) => {
  const h = await host(t);
  const client = await connect({ broker: h.brokerServer.url, agent: "http://localhost:1234/", storage: new Store() });
  assert.equal(client.agent, "http://localhost:1234");
});
