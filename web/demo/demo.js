// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

import { CardbrokerError, connect, hex, permission } from "/demo/cardbroker.js";

const $ = (id) => document.getElementById(id);

let client; // the way to cardbroker
let readers = new Map(); // by id: {id, name, card}
let chosen; // the id of a reader
let session; // with its card
let following; // ends the events

// make returns an element with a text, or with others in it.
function make(tag, content = "", className = "") {
  const element = document.createElement(tag);
  element.append(...[content].flat());
  element.className = className;
  return element;
}

function state(section, is) {
  $(section).dataset.state = is;
}

// problem shows an error in its section; nothing takes it away.
function problem(section, error) {
  const box = $(section).querySelector(".problem");
  box.hidden = !error;
  if (error instanceof CardbrokerError) {
    const retries = error.retries === undefined ? "" : ` Tries left: ${error.retries}.`;
    box.replaceChildren(make("b", sentence(error.description) + retries), error.fix, " ", make("small", error.reason));
  } else if (error) {
    box.replaceChildren(make("b", sentence(error.message)));
  }
}

const sentence = (text) => text[0].toUpperCase() + text.slice(1) + ".";

// on has a button or form do something. Meanwhile it cannot be used again.
function on(element, event, section, action) {
  element.addEventListener(event, async (e) => {
    e.preventDefault();
    const button = e.submitter ?? e.currentTarget;
    button.disabled = true;
    problem(section);
    try {
      await action(e);
    } catch (error) {
      problem(section, error);
    } finally {
      button.disabled = false;
      show();
    }
  });
}

// show shows what is known.
function show() {
  const consented = client?.consented ?? false;
  $("ask").hidden = !client || consented;
  $("revoke").hidden = !consented;
  state("consent", consented ? "good" : client ? "wait" : "");
  const until = client?.expires ? ` until ${client.expires.toLocaleString()}` : "";
  $("consented").textContent = consented ? `This page may use your cards${until}.` : client ? "This page may not use your cards yet." : "Connect first.";
  showReaders(consented);
  const reader = readers.get(chosen);
  for (const id of ["card", "sign", "commands"]) {
    $(id).hidden = !reader?.card;
  }
  $("sign").hidden ||= !reader.card.modules?.length;
  $("offer").hidden = !reader;
  $("close").hidden = !session;
}

function showReaders(consented) {
  state("readers", readers.size > 0 ? "good" : consented ? "wait" : "");
  const empty = $("readers").querySelector(".empty");
  empty.hidden = readers.size > 0;
  empty.textContent = consented ? "Connect a reader: it shows up here by itself." : "With your consent they show up here.";
  const focused = $("list").contains(document.activeElement);
  $("list").replaceChildren(...[...readers.values()].map((reader) => {
    const choice = make("input");
    Object.assign(choice, { type: "radio", name: "reader", value: reader.id, checked: reader.id === chosen });
    choice.addEventListener("change", () => choose(reader.id));
    const card = reader.card ? reader.card.description?.[0] ?? (reader.card.atr ? "Card inserted" : "Card does not answer") : "No card";
    return make("label", [choice, make("span", [make("b", reader.name), make("small", card, reader.card ? "in" : "")])]);
  }));
  if (focused) {
    $("list").querySelector(":checked")?.focus();
  }
}

// choose shows a reader's card.
async function choose(id) {
  if (chosen !== id) {
    await endSession();
  }
  chosen = id;
  $("ticket").replaceChildren();
  $("certificates").hidden = $("signing").hidden = true;
  for (const output of document.querySelectorAll("output")) {
    output.replaceChildren();
  }
  const card = readers.get(id)?.card;
  if (card) {
    $("details").replaceChildren(...describe(readers.get(id)));
    $("module").replaceChildren(...(card.modules ?? []).map((name) => make("option", name)));
  }
  show();
}

function describe({ id, name, pinpad, card }) {
  const rows = [["Reader", name], ["Id", make("code", id)], ["PIN pad", pinpad ? "yes" : "no"], ["ATR", make("code", card.atr.replace(/..(?=.)/g, "$& ") || "none")]];
  if (card.description?.length) {
    rows.push(["Probably", card.description.join("; ")]);
  }
  return rows.flatMap(([term, value]) => [make("dt", term), make("dd", value)]);
}

// What a browser says of pages that want to reach this device, in words.
const asks = {
  granted: "Your browser lets this page reach it.",
  prompt: "Your browser asks you about pages from the network first; this one is of this device.",
  denied: "Your browser lets this page reach it, as one of this device only.",
  unsupported: "Your browser does not ask you about that.",
};

// look looks for cardbroker, and says what it finds.
async function look() {
  following?.();
  client = undefined;
  readers.clear();
  problem("connection");
  state("connection", "wait");
  $("state").textContent = "Looking for cardbroker …";
  try {
    client = await connect({ broker: $("broker").value, explain: () => {
      $("state").textContent = "Your browser asks whether this page may reach apps on this device. Say yes: cardbroker is one.";
    } });
    state("connection", "good");
    $("state").textContent = `cardbroker ${client.version} on ${client.host} answers. ${asks[await permission()]}`;
    follow();
  } catch (error) {
    state("connection", "bad");
    $("state").textContent = "Not connected.";
    throw error;
  }
}

// follow shows readers and cards as they come and go.
function follow() {
  if (!client.consented) {
    return;
  }
  following = client.watch({
    onEvent: async (event) => {
      $("events").prepend(make("li", `${new Date(event.time).toLocaleTimeString()} ${event.event.replace("_", " ")} ${event.name ?? event.reader}`));
      $("events").children[8]?.remove();
      if (event.event === "reader_removed") {
        readers.delete(event.reader);
      } else {
        try {
          readers.set(event.reader, await client.reader(event.reader));
        } catch {
          return; // it has left again: that is told, too
        }
      }
      const next = readers.has(chosen) ? chosen : readers.keys().next().value;
      if (next !== chosen || event.reader === chosen) {
        await choose(next);
      }
      show();
    },
    onError: (error) => {
      readers.clear();
      problem("readers", error);
      show();
    },
  });
}

async function readCertificates() {
  const token = client.token($("module").value, chosen);
  const [certificates, algorithms] = await Promise.all([token.certificates(), token.algorithms()]);
  const rows = certificates.map((c) => make("tr", [c.use, spaced(c.subject), spaced(c.issuer), validity(c)].map((text) => make("td", text))));
  $("certificates").tBodies[0].replaceChildren(...rows);
  $("certificates").hidden = $("signing").hidden = false;
  const { id, algorithm } = $("signing").elements;
  const own = certificates.filter((c) => ["authentication", "nonRepudiation"].includes(c.use));
  id.replaceChildren(...own.map((c) => Object.assign(make("option", `${c.use}: ${c.subject}`), { value: c.id })));
  algorithm.replaceChildren(...algorithms.map((name) => Object.assign(make("option", name), { selected: name === "sha256" })));
}

const spaced = (name) => name.replace(/,(?=[A-Z]+=)/g, ", ");
const validity = ({ notAfter, warning }) => `${notAfter.toLocaleDateString()}${warning ? ` (${warning.replaceAll("_", " ")})` : ""}`;

// take takes a PIN out of its field, which forgets it.
function take(field) {
  const pin = field.value;
  field.value = "";
  return pin || undefined;
}

async function sign(form) {
  const { text, id, algorithm, pin, dialog } = form.elements;
  const token = client.token($("module").value, chosen);
  const asked = { algorithm: algorithm.value, data: new TextEncoder().encode(text.value), id: id.value || undefined };
  const signature = await token.sign({ ...asked, pin: take(pin), osDialog: dialog.checked || undefined });
  const right = await token.verify({ ...asked, signature });
  form.querySelector("output").className = right ? "good" : "";
  form.querySelector("output").replaceChildren(make("b", right ? "Signed, and verified: " : "Signed, but not verified: "), make("code", hex(signature)));
}

async function endSession() {
  const ending = session;
  session = undefined;
  await ending?.close().catch(() => {}); // it may have ended by itself
}

async function transmit(command) {
  session ??= await client.session(chosen, { timeout: 30 });
  const line = (text, className) => {
    $("console").append(make("li", text, className));
    $("console").lastChild.scrollIntoView({ block: "nearest" });
  };
  line(`→ ${command.replace(/\s/g, "").toUpperCase()}`, "sent");
  try {
    const { data, sw, ok } = await session.transmit(command);
    line(`← ${hex(data)} ${sw}`.replace("  ", " "), ok ? "" : "bad");
  } catch (error) {
    session = undefined;
    throw error;
  }
}

async function offer(tenant) {
  const { ticket, url, expires } = await client.offer(chosen, tenant);
  const rows = [["Ticket", make("code", ticket)], ["For", url], ["Until", new Date(expires).toLocaleTimeString()]];
  $("ticket").replaceChildren(...rows.flatMap(([term, value]) => [make("dt", term), make("dd", value)]));
}

on($("connect"), "submit", "connection", look);
on($("ask"), "click", "consent", async () => {
  $("consented").textContent = `Your agent asks you, in a window of its own. Is there none? Then it does at http://localhost:${location.port}/consent.`;
  await client.consent({ days: 1 });
  follow();
});
on($("revoke"), "click", "consent", async () => {
  following?.();
  readers.clear();
  await client.revoke();
});
on($("verify"), "submit", "card", async ({ target }) => {
  target.querySelector("output").textContent = "";
  await client.verifyPin(chosen, { reference: "80", aid: "A000000308", pin: take(target.elements.pin) });
  target.querySelector("output").className = "good";
  target.querySelector("output").textContent = "The PIN is right.";
});
on($("load"), "click", "sign", readCertificates);
on($("signing"), "submit", "sign", ({ target }) => sign(target));
on($("transmit"), "submit", "commands", ({ target }) => transmit(target.elements.command.value));
on($("close"), "click", "commands", endSession);
on($("offering"), "submit", "offer", ({ target }) => offer(target.elements.tenant.value));

look().catch((error) => problem("connection", error)).finally(show);
