// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// A program of node's that uses the SDK as a web page does: its fetch says which page it is, as a browser's would. Each line of standard
// input is a JSON object with an address to be or a script to run, and is answered by one line.

import { webcrypto } from "node:crypto";
import { createInterface } from "node:readline";

globalThis.crypto ??= webcrypto; // as browsers have it; node does from version 19 on
globalThis.sdk = await import("./cardbroker.mjs");

const fetching = globalThis.fetch;
globalThis.fetch = (url, options = {}) => fetching(url, { ...options, headers: { ...options.headers, Origin: location.origin } });

async function answer({ load, run }) {
	try {
		if (load) {
			globalThis.location = new URL(load);
		}
		return { value: load ? undefined : await (0, eval)(run) };
	} catch (error) {
		return { error: String(error?.stack ?? error) };
	}
}

for await (const line of createInterface({ input: process.stdin })) {
	console.log(JSON.stringify(await answer(JSON.parse(line))));
}
process.exit();
