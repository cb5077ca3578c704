// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package actor plays agents and attackers of an elected registry, each in a process of its own: what an agent does on its
// link and nothing else, so that there can be many. It works on Linux.
package actor
