// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

import { CardbrokerError, connect, hex, permission } from "/demo/cardbroker.js";

const $ = (id) => document.getElementById(id);

let client; // the way to cardbroker
let readers = new Map(); // by id: {id, name, card}
let tokens = new Map(); // those in no reader, by the id of their slot: {id, name, module, title, token}
let chosen; // the id of a reader or slot
let picked; // the one that the user has chosen himself
let session; // with its card
let following; // ends the events
let last = Promise.resolve(); // settles when the last event is shown

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
  $("card").hidden = !reader?.card && !tokens.has(chosen);
  $("sign").hidden = modulesOf(chosen).length === 0;
  $("commands").hidden = !reader?.card;
  $("offer").hidden = !reader;
  $("close").hidden = !session;
}

function showReaders(consented) {
  const all = [...readers.values(), ...tokens.values()];
  state("readers", all.length > 0 ? "good" : consented ? "wait" : "");
  const empty = $("readers").querySelector(".empty");
  empty.hidden = all.length > 0;
  empty.textContent = consented ? "Connect a reader: it shows up here by itself." : "With your consent they show up here.";
  const focused = $("list").contains(document.activeElement);
  $("list").replaceChildren(...all.map((one) => {
    const choice = make("input");
    Object.assign(choice, { type: "radio", name: "reader", value: one.id, checked: one.id === chosen });
    choice.addEventListener("change", () => choose((picked = one.id)));
    return make("label", [choice, make("span", [make("b", one.name), make("small", inside(one), one.card || one.token ? "in" : "")])]);
  }));
  if (focused) {
    $("list").querySelector(":checked")?.focus();
  }
}

// inside says in short what is in a reader or slot.
function inside({ card, token, title }) {
  if (token) {
    return `Token in no reader, by ${title}`;
  }
  return card ? card.description?.[0] ?? (card.atr ? "Card inserted" : "Card does not answer") : "No card: put one in";
}

// modulesOf are the names of the modules that a card or token can be asked through.
const modulesOf = (id) => readers.get(id)?.card?.modules ?? (tokens.has(id) ? [tokens.get(id).module] : []);

// choose shows what is in a reader or slot.
async function choose(id) {
  if (chosen !== id) {
    await endSession();
  }
  chosen = id;
  $("ticket").replaceChildren();
  $("certificates").hidden = $("signing").hidden = $("uncertified").hidden = true;
  for (const output of document.querySelectorAll("output")) {
    output.replaceChildren();
  }
  problem("card");
  problem("sign");
  const place = tokens.get(id) ?? readers.get(id);
  if (place?.card || place?.token) {
    $("card-title").textContent = place.card ? "Card" : "Token";
    $("details").replaceChildren(...rows(place.card ? describe(place) : describeToken(place)));
    $("module").replaceChildren(...modulesOf(id).map((name) => make("option", name)));
  }
  show();
}

const rows = (list) => list.flatMap(([term, value]) => [make("dt", term), make("dd", value)]);

function describe({ id, name, pinpad, card }) {
  const list = [["Reader", name], ["Id", make("code", id)], ["PIN pad", pinpad ? "yes" : "no"], ["ATR", make("code", card.atr.replace(/..(?=.)/g, "$& ") || "none")]];
  if (card.description?.length) {
    list.push(["Probably", card.description.join("; ")]);
  }
  list.push(["Modules", card.modules?.length ? card.modules.join(", ") : "none for this card, so no certificates here: your administrator names modules in machine policy"]);
  return list;
}

function describeToken({ id, title, token }) {
  return [["Label", token.label], ["Id", make("code", id)], ["Made by", `${token.manufacturerId}, ${token.model}`], ["Serial number", make("code", token.serialNumber)], ["Module", title]];
}

// What a browser says of pages that want to reach this device (its local-network permission), in words.
const asks = {
  granted: "You have let this page reach apps on this device, in your browser.",
  prompt: "Your browser asks you whether a page from the network may reach apps on this device. This page is on this device itself: it need not ask.",
  denied: "Your browser lets no page from the network reach apps on this device. This page is on this device itself: it may.",
  unsupported: "Your browser does not ask whether pages may reach apps on this device.",
};

// look looks for cardbroker, and says what it finds.
async function look() {
  client = undefined;
  forget();
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

// forget ends the events and forgets readers and tokens.
function forget() {
  following?.();
  following = undefined;
  readers.clear();
  tokens.clear();
  $("missing").replaceChildren();
}

// findTokens looks for tokens that are no cards in readers, such as those of an HSM: modules know them alone.
async function findTokens(by) {
  for (const { name: module, title } of (await by.modules()).filter((m) => !m.pcsc)) {
    try {
      const slots = await by.slots(module, { present: true });
      for (const { id, token } of by === client && by.consented ? slots : []) {
        if (token.label) { // others have not been initialised
          tokens.set(id, { id, name: token.label, module, title, token });
        }
      }
    } catch (error) {
      $("missing").append(make("li", `${title}: ${error.description ?? error.message}`));
    }
  }
  await follows();
}

// follows has what is shown follow a change, of a reader perhaps: what the user has picked stays, else a reader comes before a token.
async function follows(changed) {
  const there = [...readers.keys(), ...tokens.keys()];
  const stays = there.includes(picked) ? picked : readers.has(chosen) ? chosen : there[0];
  if (stays !== chosen || changed === chosen) {
    await choose(stays);
  }
  show();
}

// happens shows an event of a reader, unless events are no longer followed.
async function happens(event, followed) {
  if (!followed()) {
    return;
  }
  $("events").prepend(make("li", `${new Date(event.time).toLocaleTimeString()} ${event.event.replace("_", " ")} ${event.name ?? event.reader}`));
  $("events").children[8]?.remove();
  if (event.event === "reader_removed") {
    readers.delete(event.reader);
  } else {
    let reader;
    try {
      reader = await client.reader(event.reader);
    } catch {
      return; // it has left again: that is told, too
    }
    const told = event.event !== "card_out" && JSON.stringify(readers.get(event.reader)) === JSON.stringify(reader);
    if (!followed() || told) { // by the answer to an earlier event: what the user does with the card goes on
      return;
    }
    readers.set(event.reader, reader);
  }
  await follows(event.reader);
}

// follow shows readers and cards as they come and go, and the tokens that are in no reader.
function follow() {
  if (!client.consented) {
    return;
  }
  findTokens(client).catch((error) => problem("readers", error));
  const end = client.watch({
    onEvent: (event) => { // one after the other: the answer about a later one may come first
      last = last.then(() => happens(event, () => following === end)).catch((error) => problem("readers", error));
    },
    onError: (error) => {
      forget();
      problem("readers", error);
      show();
    },
  });
  following = end;
}

async function readCertificates() {
  const token = client.token($("module").value, chosen);
  const [certificates, algorithms] = await Promise.all([token.certificates(), token.algorithms()]);
  $("certificates").tBodies[0].replaceChildren(...certificates.map((c) => make("tr", [c.use, spaced(c.subject), spaced(c.issuer), validity(c)].map((text) => make("td", text)))));
  $("certificates").hidden = certificates.length === 0;
  $("uncertified").hidden = certificates.length > 0;
  const { id, algorithm } = $("signing").elements;
  const own = certificates.filter((c) => ["authentication", "nonRepudiation"].includes(c.use));
  $("signing").hidden = own.length === 0;
  id.replaceChildren(...own.map((c) => Object.assign(make("option", `${c.use}: ${spaced(c.subject)}`), { value: c.id })));
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
  form.querySelector("output").replaceChildren();
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
  $("ticket").replaceChildren(...rows([["Ticket", make("code", ticket)], ["For", url], ["Until", new Date(expires).toLocaleTimeString()]]));
}

on($("connect"), "submit", "connection", look);
on($("ask"), "click", "consent", async () => {
  $("consented").textContent = `Your agent asks you, in a window of its own. Is there none? Then it does at http://localhost:${location.port}/consent.`;
  await client.consent({ days: 1 });
  follow();
});
on($("revoke"), "click", "consent", async () => {
  forget();
  await client.revoke();
});
on($("verify"), "submit", "card", async ({ target }) => {
  target.querySelector("output").textContent = "";
  const pin = take(target.elements.pin);
  const token = tokens.get(chosen);
  await (token ? client.token(token.module, chosen).verifyPin({ pin }) : client.verifyPin(chosen, { reference: "80", aid: "A000000308", pin }));
  target.querySelector("output").className = "good";
  target.querySelector("output").textContent = "The PIN is right.";
});
on($("load"), "click", "sign", readCertificates);
on($("signing"), "submit", "sign", ({ target }) => sign(target));
on($("transmit"), "submit", "commands", ({ target }) => transmit(target.elements.command.value));
on($("close"), "click", "commands", endSession);
on($("offering"), "submit", "offer", ({ target }) => offer(target.elements.tenant.value));

look().catch((error) => problem("connection", error)).finally(show);
