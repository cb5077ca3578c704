// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package script drives the real programs by the scripts in testdata, as administrators, users and back ends do. The
// scripts are the specification of the command line: go test ./test/script -update writes the texts in them anew.
package script
