// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !amd64 && !arm64

package library

import "debug/elf"

const machine = elf.EM_NONE // any
