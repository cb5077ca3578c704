// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package cards_test

func hasChild() bool { return false }

func dumpable() bool { return false }

func landlock() int { return 0 }
