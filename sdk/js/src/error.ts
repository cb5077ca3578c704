// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

import type * as API from "./api.js";

/**
 * Why something failed: a reason of the REST API (docs/errors.md), or one that only a page can know:
 *
 * - `permission_denied`: the user, or machine policy, has told the browser that the page may not reach this computer.
 * - `permission_needed`: the browser has not let the page reach this computer; the user has not answered, or nobody can.
 * - `insecure_page`: the page is http:// from the network, which browsers never let reach this computer.
 * - `not_running`: nobody answers at the broker's address.
 * - `agent_unreachable`: the broker knows the agent, but it does not answer. What was not a GET may have been done.
 * - `not_cardbroker`: something else answers.
 * - `key_mismatch`: the key that PINs would be encrypted to is not the one that the broker vouches for. Nothing was sent.
 */
export type Reason =
  | API.Reason
  | "permission_denied"
  | "permission_needed"
  | "insecure_page"
  | "not_running"
  | "agent_unreachable"
  | "not_cardbroker"
  | "key_mismatch";

/** What is known of a failure. */
export interface Failure {
  reason: Reason;
  description: string;
  code?: number | undefined;
  status?: number | undefined;
  rule?: API.Rule | undefined;
  retries?: number | undefined;
  retryAfter?: number | undefined;
  cause?: unknown;
}

/** The one class of errors. An aborted signal is no error of ours: its own reason is thrown. */
export class CardbrokerError extends Error {
  override readonly name = "CardbrokerError";
  /** For programs. New ones may be added. */
  readonly reason: Reason;
  /** For people. */
  readonly description: string;
  /** Six digits, as existing clients know them; undefined if no server has answered. */
  readonly code: number | undefined;
  /** Of HTTP; undefined if no server has answered. */
  readonly status: number | undefined;
  /** The check that refused. */
  readonly rule: API.Rule | undefined;
  /** PIN tries left, with `pin_incorrect`, where the card tells. */
  readonly retries: number | undefined;
  /** Seconds, where the server says when to ask again. */
  readonly retryAfter: number | undefined;

  constructor(failure: Failure) {
    super(`${failure.description} (${failure.reason})`, { cause: failure.cause });
    this.reason = failure.reason;
    this.description = failure.description;
    this.code = failure.code;
    this.status = failure.status;
    this.rule = failure.rule;
    this.retries = failure.retries;
    this.retryAfter = failure.retryAfter;
  }

  /** What the user can do about it, in a sentence; empty if that is not known. */
  get fix(): string {
    return (this.rule && fixesByRule[this.rule]) ?? fixes[this.reason] ?? "";
  }
}

/** Where the rule tells more than the reason. */
const fixesByRule: Partial<Record<API.Rule, string>> = {
  pin_floor: "Enter the PIN where your agent asks you for it, or in the card's own program: no web page may use up its last tries.",
};

const fixes: Partial<Record<Reason, string>> = {
  permission_denied: "Allow this page to reach apps on this device, in the menu beside the address, then load it again.",
  permission_needed: "Answer the browser's question whether this page may reach apps on this device.",
  insecure_page: "Open the page by https://.",
  not_running: "Start cardbroker, or ask your administrator whether this computer has it.",
  no_agent: "Start your agent: log off and on again, or run `cardbroker agent run`.",
  agent_restarting: "Wait a moment, then try again.",
  agent_unreachable: "Look whether it was done before you try again.",
  not_cardbroker: "Ask your administrator which program uses the broker's port.",
  session_ambiguous: "Close your other sessions on this host.",
  key_mismatch: "Do not enter your PIN. Tell your administrator.",
  consent_required: "Say yes when you are asked whether this page may use your card.",
  forbidden: "Ask your administrator: policy does not allow it.",
  tenant_denied: "Ask your administrator: this page may not offer cards to that service.",
  caller_refused: "Open the page in a browser of your own session.",
  reader_shared_host: "Ask your administrator: several users can reach the readers of this host.",
  reader_unknown: "Connect the reader again.",
  reader_busy: "Wait until the card is free, or end what uses it.",
  session_unknown: "Begin again: the session with the card has ended.",
  card_absent: "Insert your card.",
  card_removed: "Insert your card again.",
  card_reset: "Try again.",
  card_mute: "Put the card in the other way round, or clean it.",
  indeterminate: "Look whether it was done before you try again.",
  pin_incorrect: "Enter the right PIN.",
  pin_blocked: "Unblock your PIN with your PUK.",
  pin_canceled: "Enter your PIN when you are asked for it.",
  rate_limited: "Wait a moment, then try again.",
  overloaded: "Wait a moment, then try again.",
  unavailable: "Wait a moment, then try again.",
  timeout: "Try again.",
};
