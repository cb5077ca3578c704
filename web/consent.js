// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0
"use strict";

// A button takes a click only when its page has been in front for so long: nobody is to click it by accident.
const patience = 1000; // ms
let frontSince = Date.now();
for (const event of ["focus", "visibilitychange"]) {
	addEventListener(event, () => { frontSince = Date.now(); });
}

async function ask(method, path, body) {
	const options = { method, headers: { "X-CSRF-Token": "cardbroker" }, cache: "no-store" };
	if (body) {
		options.headers["Content-Type"] = "application/json";
		options.body = JSON.stringify(body);
	}
	const answer = await fetch(path, options);
	const said = await answer.json();
	if (!answer.ok) {
		throw new Error(said.description);
	}
	return said;
}

function show(problem) {
	const line = document.getElementById("problem");
	line.textContent = problem;
	line.hidden = !problem;
}

// row shows an origin and what can be done about it. What is there already stays: a button must not move under a finger.
function row(list, key, origin, note, actions) {
	for (const there of list.children) {
		if (there.dataset.key === key) {
			there.dataset.seen = "yes";
			return;
		}
	}
	const shownSince = Date.now();
	const item = document.createElement("li");
	item.dataset.key = key;
	item.dataset.seen = "yes";
	const name = document.createElement("span");
	name.className = "origin";
	name.textContent = origin;
	item.append(name, note);
	const buttons = document.createElement("div");
	for (const [label, action] of actions) {
		const button = document.createElement("button");
		button.textContent = label;
		button.addEventListener("click", async (event) => {
			if (!event.isTrusted || Date.now() - Math.max(shownSince, frontSince) < patience) {
				return;
			}
			try {
				await action();
				show("");
			} catch (error) {
				show(error.message);
			}
			await update();
		});
		buttons.append(button);
	}
	item.append(buttons);
	list.append(item);
}

function fill(id, rows) {
	const list = document.getElementById(id);
	for (const there of list.children) {
		there.dataset.seen = "";
	}
	for (const args of rows) {
		row(list, ...args);
	}
	for (const there of [...list.children]) {
		if (!there.dataset.seen) {
			there.remove();
		}
	}
}

async function update() {
	const said = await ask("GET", "/cb/v1/consents");
	fill("waiting", said.waiting.map((w) => [w.origin + w.deadline, w.origin, `asks to use your card for ${w.days} days.`, [
		["Deny", () => ask("POST", "/cb/v1/consents", { origin: w.origin, answer: "deny" })],
		["Allow", () => ask("POST", "/cb/v1/consents", { origin: w.origin, answer: "approve", days: w.days })],
	]]));
	document.getElementById("nobody").hidden = said.waiting.length > 0;
	fill("allowed", said.consents.map((c) => [c.origin + c.granted, c.origin, `until ${new Date(c.expires).toLocaleString()}`, [
		["Revoke", () => ask("POST", "/cb/v1/consents/revoke", { origin: c.origin })],
	]]));
	document.getElementById("none").hidden = said.consents.length > 0;
	const { leases } = await ask("GET", "/cb/v1/leases");
	fill("leases", leases.map((l) => [l.tunnel + (l.cut || ""), l.tenant, held(l), [
		["End", () => ask("POST", `/cb/v1/leases/${l.tunnel}/revoke`)],
	]]));
	document.getElementById("free").hidden = leases.length > 0;
}

// held says what a service holds, since when and how.
function held(l) {
	const since = new Date(l.since).toLocaleTimeString();
	const alone = l.share === "shared" ? "" : ", for itself";
	const cut = l.cut ? `; cut off since ${new Date(l.cut).toLocaleTimeString()}` : "";
	return `at ${l.backend}, holds ${l.reader} since ${since}${alone}${cut}`;
}

async function follow() {
	if (document.visibilityState === "visible") {
		try {
			await update();
		} catch (error) {
			show(error.message);
		}
	}
	setTimeout(follow, 1000);
}

follow();
