// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

/**
 * cardbroker in web pages: {@link connect} finds the broker of this computer, which leads to the agent of the user's own
 * session; that has his readers and cards. Every wait ends: by its answer, its signal or its time.
 */
export { connect, Cardbroker } from "./client.js";
export type { ConnectOptions, ReaderFilter, VerifyPinOptions, Watcher } from "./client.js";
export { CardbrokerError } from "./error.js";
export type { Reason } from "./error.js";
export { permission } from "./permission.js";
export type { Permission } from "./permission.js";
export { CardSession } from "./session.js";
export type { CardResponse } from "./session.js";
export { Token } from "./token.js";
export type { Certificate, CertificateUse, Input, Module, PinOptions, SignOptions, TokenInfo } from "./token.js";
export { bytes, hex } from "./bytes.js";
export type { Bytes } from "./bytes.js";
export type { CallOptions } from "./http.js";
export type { Store } from "./consents.js";
export type { CardReader, Lease, Offered, ReaderEvent, Slot } from "./api.js";
