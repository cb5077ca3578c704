// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

import { CardbrokerError, type Reason } from "./error.js";

/**
 * What the browser says of the page's right to reach this computer. It asks its user at the first request while this is
 * `prompt`, unless the page comes from this computer or an intranet. `unsupported`: it does not ask.
 */
export type Permission = "granted" | "prompt" | "denied" | "unsupported";

/** The permission's names: since Chromium 145, and before. */
const names = ["loopback-network", "local-network-access"];

/** Asks the browser, not the user. It never fails. */
export async function permission(): Promise<Permission> {
  for (const name of names) {
    try {
      const { state } = await navigator.permissions.query({ name: name as PermissionName });
      return state;
    } catch {
      // a browser that does not know the name, or node
    }
  }
  return "unsupported";
}

/** Whether the browser may ask its user before the page's first request. */
export async function willAsk(): Promise<boolean> {
  return !fromThisComputer() && (await permission()) === "prompt";
}

/** Says why a request to this computer did not come to anything: the browser gives the page no reason. */
export async function unreachable(where: string, cause: unknown): Promise<CardbrokerError> {
  const state = await permission();
  const [reason, description] = diagnose(state, where);
  return new CardbrokerError({ reason, description, cause });
}

function diagnose(state: Permission, where: string): [Reason, string] {
  if (state === "denied" && globalThis.isSecureContext === false) {
    return ["insecure_page", "the browser lets no http:// page from the network reach this computer"];
  }
  if (state === "denied") {
    return ["permission_denied", "the browser was told that this page may not reach this computer"];
  }
  if (state === "prompt" && !fromThisComputer()) {
    return ["permission_needed", `the browser has not let this page reach this computer, or nobody answers at ${where}`];
  }
  return ["not_running", `nobody answers at ${where}`];
}

function fromThisComputer(): boolean {
  const name = globalThis.location?.hostname ?? "";
  return /^(127(\.\d+){3}|\[::1\]|localhost|.+\.localhost)$/.test(name);
}
