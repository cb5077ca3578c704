// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package audit is the broker's audit log: append-only, chained by hashes, the evidence of what happened on a host. It also
// reads and verifies such a log, while a broker writes it or elsewhere. It decides nothing and is waited for by nobody.
//
// # Form
//
// The log is a directory of files, each named for the number of its first record: 20 digits and ".jsonl". A file's first line
// is its header,
//
//	{"cardbroker_audit":1,"first":7,"prev":"<64 hexadecimal digits>"}
//
// each other line one record: a JSON object that begins with seq, time and event, in this order, and ends with hash. Numbers
// begin at 1 and leave none out. A record's hash is the SHA-256 of the hash before it (32 bytes; that of record 0 is all
// zeros) and then of the line's own bytes from its { up to the comma before "hash". Nothing is serialised anew to verify it.
// prev is the hash of the record before the file's first; so each file, and each run of lines under such a header, can be
// verified alone.
//
// # Owners
//
// Two goroutines of [Log.Run] own the state. The desk takes what is recorded, sees to it that no user takes the others'
// room, and never touches a disk. The writer chains a batch, writes it by one write and one fsync, and tells the desk. A third
// tells the system log, which may hang.
package audit
