// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package logs writes to the system's own log what has to outlive ours.
package logs

// Field is a fact of a line, for system logs that have fields. Name is in capital letters, digits and underscores.
type Field struct{ Name, Value string }
