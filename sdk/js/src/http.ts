// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

import type * as API from "./api.js";
import { CardbrokerError } from "./error.js";

/** What every call takes. */
export interface CallOptions {
  /** Ends the wait; the call then throws the signal's reason. What the card was told to do goes on. */
  signal?: AbortSignal | undefined;
}

/** A request. Every one has an end: `timeout` is for the head of the answer and, but for streams, its body. */
export interface Request extends CallOptions {
  method?: "GET" | "POST";
  body?: unknown;
  headers?: Record<string, string>;
  timeout?: number;
}

/** How long requests may take, in ms. The agent's own limits are shorter, so that its reasons arrive. */
export const timeouts = { look: 15_000, user: 75_000, card: 150_000 };

/** A request that got no answer; the caller knows what that means. */
export class Unanswered extends Error {}

/** Sends a request and returns the answer, or throws the error that it is. */
export async function send(url: string, request: Request): Promise<Response> {
  request.signal?.throwIfAborted();
  const deadline = new AbortController();
  const timer = setTimeout(() => deadline.abort(), request.timeout ?? timeouts.look);
  const giveUp = () => deadline.abort();
  request.signal?.addEventListener("abort", giveUp, { once: true });
  let answer: Response;
  try {
    answer = await fetch(url, options(request, deadline.signal));
  } catch (cause) {
    request.signal?.removeEventListener("abort", giveUp);
    throw failed(request, deadline.signal, cause);
  } finally {
    clearTimeout(timer);
  }
  if (answer.ok) {
    return answer; // the caller's signal still ends its body
  }
  request.signal?.removeEventListener("abort", giveUp);
  throw await refusal(answer);
}

/** Sends a request and returns the JSON of its answer, out of the envelope if it is in one. */
export async function ask<T>(url: string, request: Request): Promise<T> {
  const { signal, timeout = timeouts.look } = request;
  const late = AbortSignal.timeout(timeout);
  const either = first(late, signal);
  try {
    const said = await (await send(url, { ...request, signal: either })).json();
    return said !== null && typeof said === "object" && said.success === true && "data" in said ? said.data : said;
  } catch (cause) {
    signal?.throwIfAborted();
    if (late.aborted) {
      throw new CardbrokerError({ reason: "timeout", description: "there was no answer in time", cause });
    }
    if (cause instanceof SyntaxError) {
      throw new CardbrokerError({ reason: "not_cardbroker", description: "the answer is not cardbroker's", cause });
    }
    throw cause instanceof TypeError ? new Unanswered("the answer ended early", { cause }) : cause;
  }
}

function options(request: Request, signal: AbortSignal): RequestInit {
  const headers: Record<string, string> = { ...request.headers };
  const init: RequestInit = { method: request.method ?? "GET", headers, signal, credentials: "omit", cache: "no-store", redirect: "error" };
  if (init.method !== "GET") {
    headers["X-CSRF-Token"] = "cardbroker";
  }
  if (request.body !== undefined) {
    headers["Content-Type"] = "application/json";
    init.body = JSON.stringify(request.body);
  }
  return init;
}

function failed(request: Request, deadline: AbortSignal, cause: unknown): unknown {
  if (request.signal?.aborted) {
    return request.signal.reason;
  }
  if (deadline.aborted) {
    return new CardbrokerError({ reason: "timeout", description: "there was no answer in time", cause });
  }
  return new Unanswered("there was no answer", { cause });
}

/** The error of an answer that is one. */
async function refusal(answer: Response): Promise<CardbrokerError> {
  let said: Partial<API.Error> = {};
  try {
    said = await answer.json();
  } catch {
    // not JSON: not ours
  }
  const retryAfter = Number(answer.headers.get("Retry-After")) || undefined;
  if (typeof said.reason !== "string" || typeof said.description !== "string") {
    return new CardbrokerError({ reason: "not_cardbroker", description: `HTTP status ${answer.status}`, status: answer.status });
  }
  const { reason, description, code, rule, retries } = said;
  return new CardbrokerError({ reason, description, code, rule, retries, status: answer.status, retryAfter });
}

/** Aborted when the first of the signals is, with its reason. */
export function first(...signals: Array<AbortSignal | undefined>): AbortSignal {
  const any = new AbortController();
  for (const signal of signals) {
    signal?.addEventListener("abort", () => any.abort(signal.reason), { once: true, signal: any.signal });
    if (signal?.aborted) {
      any.abort(signal.reason);
    }
  }
  return any.signal;
}

/** Waits, or throws the signal's reason. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((done, fail) => {
    if (signal?.aborted) {
      return fail(signal.reason);
    }
    const stop = () => {
      clearTimeout(timer);
      fail(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      done();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}
