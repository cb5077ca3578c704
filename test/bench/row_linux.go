// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
)

// row is a figure that is promised.
type row struct {
	name string
	unit string
	goal goal
}

// measured is what was found for a row.
type measured struct {
	ours   []float64 // samples
	limit  *limit    // what cannot be beaten, measured beside it; nil: the goal is absolute
	ratios []float64 // ours to the limit's, round by round; with a limit only
	skip   string    // why there are no samples
}

// limit is what a row is compared with.
type limit struct {
	Name string  `json:"name"`
	P50  float64 `json:"p50"`
}

// section measures rows that need the same preparation. It returns one measured for each row, in their order; rows at the
// end that nobody wants may be missing.
type section struct {
	rows    []row
	measure func(ctx context.Context) ([]measured, error)
}

const (
	rowBaseline  = "relay baseline: gorilla over two hops against TCP, 300 bytes"
	rowBrokerPSS = "memory of the broker with 1,000 agents, PSS"
	rowBrokerRSS = "memory of the broker with 1,000 agents, RSS"

	rowSwitches       = "context switches a minute of an idle agent"
	rowBrokerSwitches = "context switches a minute of the broker with 1,000 agents"

	rowSilentCalls = "PC/SC calls of a sandbox with a subscriber, in 10 idle minutes"
	rowSilentWakes = "PC/SC wake-ups of a sandbox with a subscriber, in 10 idle minutes"
	rowSilentAgent = "PC/SC wake-ups of its agent, in 10 idle minutes"
)

// chainExcess is what all of our parts between a PC/SC program and a PC/SC service may take, in µs, and so what a part may.
const chainExcess = 350

// sections are all rows, in the order in which they are measured.
func (b *bench) sections() []section {
	return []section{
		{[]row{
			{"registry storm: 1,000 agents reserve and register, durable", "ms", goal{ofP50, 250}},
			{"stall: look-ups while a commit does not return for 3 s", "µs", goal{ofP99, 1000}},
		}, b.registry},
		{[]row{{"caller lookup with 10,000 connections open", "µs", goal{ofP50, 20}}}, b.caller},
		{[]row{
			{rowBaseline, "µs", goal{ofRatio, 1.3}},
			{"tunnel to an echo at the agent, 300 bytes", "µs", goal{ofRatio, 1.25}},
			{"tunnel to an echo at the agent, 300 bytes, p99 of each round", "µs", goal{ofRatio, 1.5}},
			{"tunnel, agent, sandbox and software card, 300 bytes", "µs", goal{ofExcess, 150}},
		}, b.tunnels},
		{leaseRows(), b.leases},
		{farRows(), b.far},
		{resumeRows(), b.resumes},
		{memoryRows(), b.leaseMemory},
		{[]row{
			{"sandbox hop alone, 300 bytes", "µs", goal{ofP50, 100}},
			{"sandbox hop, allocations at the agent", "an APDU", goal{ofMax, 0}},
			{"sandbox hop, allocations in the sandbox", "an APDU", goal{ofMax, 0}},
		}, b.sandboxHop},
		{tokenRows(), b.tokens},
		{certificateRows(), b.certificates},
		{[]row{
			{"PC/SC APDU of 255 bytes through the sandbox", "µs", goal{ofExcess, 100}},
			{"PC/SC APDU of 255 bytes through sandbox and agent, as the agent says", "µs", goal{ofExcess, chainExcess}},
			{"PC/SC APDU of 255 bytes through sandbox, agent and tunnel", "µs", goal{ofExcess, chainExcess}},
			{"PC/SC APDU of 255 bytes through sandbox, agent, tunnel and reader serve", "µs", goal{ofExcess, chainExcess}},
		}, b.chain},
		{apiRows(), b.api},
		{[]row{{"reader list of 15 readers with cards, at the server", "µs", goal{ofP50, 100}}}, b.readerLists},
		{[]row{{"APDU of 255 bytes through REST, in a session", "µs", goal{ofExcess, 500}}}, b.restAPDUs},
		{[]row{{"signature through REST, P-256, login to logout, of a PIN session", "µs", goal{ofExcess, 1000}}}, b.signs},
		{[]row{{"REST calls of 200 clients at once that fail", "of 1,000", goal{ofMax, 0}}, {"/info while 1,000 agents log on", "ms", goal{ofP99, 20}}}, b.crowds},
		{[]row{{"ATR look-up in the installed list", "µs", goal{ofP50, 20}}}, b.atrs},
		{[]row{
			{"PC/SC card put in, from the reader's first ATR to the event at a program of the user", "ms", goal{ofMax, 100}},
			{"PC/SC card put in, from the reader's first ATR to the event at a back end", "ms", goal{ofMax, 100}},
		}, b.inserts},
		{[]row{{"start of an agent, exec to ready", "ms", goal{ofP50, 12}}}, b.starts},
		{[]row{{"sandbox killed: kill -9 to the next good APDU", "ms", goal{ofP50, 15}}}, b.kills},
		{[]row{{"memory of agent and sandbox after 10,000 APDUs, private dirty", "MiB", goal{ofMax, 9}}}, b.burst},
		{[]row{
			{"memory of an idle agent, 20 at once, private dirty", "MiB", goal{ofP50, 2.5}},
			{"memory of an idle agent, 20 at once, PSS", "MiB", goal{ofP50, 2.5}},
			{rowBrokerPSS, "MiB", goal{ofMax, 60}},
			{rowBrokerRSS, "MiB", goal{ofMax, 60}},
			{rowSwitches, "a minute", goal{ofP50, 3}},
			// Windows differ, 6 to 57 were seen; the goal finds a ticker, which would cost hundreds.
			{rowBrokerSwitches, "a minute", goal{ofMax, 120}},
		}, b.idle},
		{failoverRows(), b.failovers},
		{silenceRows(), b.silence},
	}
}
