// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// A web page without a browser: jsdom has what the Trust1Connector client needs of one, with XMLHttpRequest and its CORS. Each
// line of standard input is a JSON object with an address to load or a script to run there, and is answered by one line.

import { createInterface } from "node:readline";
import { JSDOM, VirtualConsole } from "jsdom";

const told = []; // what would be in the console
const quiet = new VirtualConsole();
for (const kind of ["error", "warn", "jsdomError"]) {
	quiet.on(kind, (...words) => told.push(words.map(String).join(" ").slice(0, 300)));
}

let page; // the JSDOM
const stored = new Map(); // local storage, by origin

function load(url) {
	if (page) {
		stored.set(page.window.origin, Object.entries(page.window.localStorage));
		page.window.close();
	}
	page = new JSDOM("<!DOCTYPE html>", { url, runScripts: "outside-only", virtualConsole: quiet });
	for (const [key, value] of stored.get(page.window.origin) ?? []) {
		page.window.localStorage.setItem(key, value);
	}
}

async function answer({ load: url, run }) {
	try {
		const value = url ? load(url) : await page.window.eval(run);
		return { value, told: told.splice(0) };
	} catch (error) {
		return { error: String(error?.stack ?? error), told: told.splice(0) };
	}
}

for await (const line of createInterface({ input: process.stdin })) {
	console.log(JSON.stringify(await answer(JSON.parse(line))));
}
process.exit();
