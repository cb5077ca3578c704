// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package pkcs11 loads one PKCS#11 library of a vendor and does what is asked of its slots and tokens, in the language of
// internal/token. It is a source for package sandbox, and the only place that speaks to such libraries. References are to
// PKCS#11 v2.40.
//
// Calls are C and cannot be cancelled, and nothing waits for events or polls: each question for slots looks again. Every
// question has a session of its own, and a slot one question at a time, because being logged in belongs to the token and not to
// the session: login, use and logout are one job, and afterwards nobody is logged in. So a token needs to have room for one
// session (ulMaxSessionCount); where other programs have them all, the answer is ReaderBusy.
//
// What the library says of failures becomes a [cardbroker.Reason] here, by one table.
//
// A PIN is handed on from the very bytes that it came in, which who asked overwrites. The copy that the binding makes in C for
// the call is freed and not overwritten, but for what glibc writes into its first 16 bytes; of what the library copies nobody knows.
//
// The process is told by its environment what else the library may reach, beside its own directory and the system's libraries:
//
//	CARDSANDBOX_READ     files and directories that it reads, joined by colons
//	CARDSANDBOX_WRITE    directories that it writes to, likewise
//	PCSCLITE_CSOCK_NAME  the socket of the PC/SC service; absent: the library reaches none
//
// A build without cgo has no libraries: everything is Unavailable.
package pkcs11
