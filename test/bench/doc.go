// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Command bench measures what the product promises: how fast a thousand agents register, what a tunnel costs beside the
// bare relay, what leases, journals, distance and cuts add to that, what an idle session takes of memory and time, what a PC/SC
// call takes with and without us. It runs the real
// programs, built anew, compares with a limit in the same run and in turns with it wherever there is one, prints a table
// and writes build/bench.json. It ends with 0 only if every goal is met.
//
//	bench [--rows REGEXP] [--quick]
//
// --rows measures only what bears a name that fits; --quick measures less of everything, for a first look. A session that
// is idle for ten minutes stays so while the other rows are measured; with --quick it is one minute. It is no test of
// correctness: where a program answers wrongly it stops.
package main
