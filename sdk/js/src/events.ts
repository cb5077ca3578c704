// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

import type * as API from "./api.js";
import { CardbrokerError, type Reason } from "./error.js";
import { pause, Unanswered, type CallOptions } from "./http.js";
import type { Link } from "./link.js";

/** What ends a stream for good; with anything else it is opened again. */
const final: Reason[] = ["consent_required", "unauthenticated", "origin_denied", "forbidden", "insecure_page", "permission_denied"];

const shortest = 250; // ms, before it is opened again
const longest = 15_000;

/**
 * The readers and cards that are there, then every change, until the signal is aborted. A stream that is cut, or whose agent
 * restarts, is opened again, after a quarter of a second to a quarter of a minute; what has changed meanwhile is told then,
 * and nothing twice. It is read by fetch: an EventSource could show no JWT, and would not say why it is refused.
 */
export async function* events(link: Link, { signal }: CallOptions): AsyncGenerator<API.ReaderEvent, void> {
  const known = new Map<string, API.ReaderEvent>(); // by reader: the last event of its card, or of itself
  for (let wait = shortest; ; wait = Math.min(2 * wait, longest)) {
    try {
      const stream = await link.open("/cb/v1/events", { signal });
      if (known.size > 0) {
        yield* catchUp(known, await link.ask<API.CardReader[]>("/v3/readers", { signal }));
      }
      for await (const event of parse(stream)) {
        wait = shortest;
        if (note(known, event)) {
          yield event;
        }
      }
    } catch (error) {
      signal?.throwIfAborted();
      if (!retried(error)) {
        throw error;
      }
    }
    await pause(wait * (0.5 + Math.random() / 2), signal);
  }
}

function retried(error: unknown): boolean {
  return error instanceof CardbrokerError ? !final.includes(error.reason) : error instanceof TypeError || error instanceof Unanswered;
}

/** Remembers an event and says whether it is news. */
function note(known: Map<string, API.ReaderEvent>, event: API.ReaderEvent): boolean {
  const before = known.get(event.reader);
  switch (event.event) {
    case "reader_removed":
      return known.delete(event.reader);
    case "reader_added":
      if (before) {
        return false;
      }
      break;
    case "card_in":
      if (before?.event === "card_in" && before.atr === event.atr) {
        return false;
      }
      break;
    case "card_out":
      if (before?.event !== "card_in") {
        return false;
      }
  }
  known.set(event.reader, event);
  return true;
}

/** What left while nobody looked. */
function* catchUp(known: Map<string, API.ReaderEvent>, readers: API.CardReader[]): Generator<API.ReaderEvent> {
  for (const [id, before] of [...known]) {
    const there = readers.find((r) => r.id === id);
    const left = { reader: id, atr: "", time: new Date().toISOString(), ...(before.name ? { name: before.name } : {}) };
    if (there && before.event === "card_in" && there.card?.atr !== before.atr) {
      known.set(id, { ...left, event: "card_out" });
      yield { ...left, event: "card_out" };
    } else if (!there) {
      known.delete(id);
      yield { ...left, event: "reader_removed" };
    }
  }
}

/** The events of a text/event-stream, WHATWG HTML §9.2, as our server writes it. */
async function* parse(stream: Response): AsyncGenerator<API.ReaderEvent> {
  const reader = stream.body!.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (let text = ""; ; ) {
      const { value, done } = await reader.read();
      if (done) {
        return;
      }
      const parts = (text + value).split("\n\n");
      text = parts.pop()!;
      for (const part of parts) {
        const data = part.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart()).join("\n");
        if (data) {
          yield JSON.parse(data) as API.ReaderEvent;
        }
      }
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}
