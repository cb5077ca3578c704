// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// A broker and an agent of the tests' own, which do what a test tells them, and remember what they were asked.

import { webcrypto } from "node:crypto";
import { createServer } from "node:http";

// As browsers have it; node does without a flag from version 19 on.
globalThis.crypto ??= webcrypto;

/** A server. `answer` is given each request, with its JSON, and returns [status, JSON, headers], or answers itself. */
export class Server {
  asked = [];

  static async start(answer, port = 0) {
    const server = new Server();
    server.http = createServer(async (request, response) => {
      let text = "";
      for await (const part of request) {
        text += part;
      }
      const ask = { method: request.method, path: request.url, headers: request.headers, body: text && JSON.parse(text), text };
      server.asked.push(ask);
      const said = await answer(ask, response);
      if (said) {
        const [status, body, headers = {}] = said;
        response.writeHead(status, { "Content-Type": "application/json", ...headers });
        response.end(typeof body === "string" ? body : JSON.stringify(body));
      }
    });
    await new Promise((done) => server.http.listen(port, "127.0.0.1", done));
    return server;
  }

  get port() {
    return this.http.address().port;
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  count(path) {
    return this.asked.filter((a) => a.path === path).length;
  }

  async stop() {
    this.http.closeAllConnections();
    await new Promise((done) => this.http.close(done));
  }
}

export const data = (data) => [200, { success: true, data }];
export const refused = (status, reason, more = {}) => [status, { success: false, code: 123456, description: `it is ${reason}`, reason, ...more }];

/** The consent that a broker hands out for an agent at a port. */
export const consentFor = (port) => btoa(JSON.stringify({ agent: { apiPort: String(port) }, expires: "2999-01-02T03:04:05Z", signedHash: "" }));

/** A host: a broker that knows one agent. `broker` and `agent` are told what to answer by path; what they do not say is the usual. */
export class Host {
  /** What is answered, by path. */
  broker = {};
  agent = {};
  approved = true;

  static async start() {
    const host = new Host();
    host.agentServer = await host.#startAgent();
    host.brokerServer = await Server.start((ask, response) => {
      const said = host.broker[ask.path.split("?")[0]];
      return said ? said(ask, response) : host.#usual(ask);
    });
    return host;
  }

  #startAgent() {
    return Server.start((ask, response) => {
      const said = this.agent[ask.path.split("?")[0]];
      return said ? said(ask, response) : refused(404, "not_found");
    });
  }

  #usual({ path }) {
    switch (path) {
      case "/info":
        return [200, { t1CInfoUser: { hostName: "vda7" }, cardbroker: { version: "1.2.3", mode: "service" } }];
      case "/v3/consent":
      case "/v3/validate": {
        const consent = this.approved ? consentFor(this.agentServer.port) : "";
        return data({ consentState: this.approved ? "APPROVED" : "REQUIRED", consent, consents: consent ? [consent] : [] });
      }
    }
    return refused(404, "not_found");
  }

  /** Restarts the agent on another port. */
  async restart() {
    await this.agentServer.stop();
    this.agentServer = await this.#startAgent();
  }

  async stop() {
    await this.brokerServer.stop();
    await this.agentServer.stop();
  }
}

/** A localStorage. */
export class Store {
  kept = new Map();
  getItem = (key) => this.kept.get(key) ?? null;
  setItem = (key, value) => this.kept.set(key, value);
  removeItem = (key) => this.kept.delete(key);
}

/** Has the browser say this of a permission, until the test ends; a name that is not there throws. */
export function permissions(t, states, more = {}) {
  const stubs = { navigator: { permissions: { query: async ({ name }) => {
    if (!(name in states)) {
      throw new TypeError(`unknown permission ${name}`);
    }
    return { state: states[name] };
  } } }, ...more };
  for (const [name, value] of Object.entries(stubs)) {
    const before = Object.getOwnPropertyDescriptor(globalThis, name);
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
    t.after(() => before ? Object.defineProperty(globalThis, name, before) : delete globalThis[name]);
  }
}
