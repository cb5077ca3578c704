// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !cgo

package confine

// libraries are none: without cgo the program is static and loads nothing.
func libraries() []string { return nil }

func interpreters() []string { return nil }
