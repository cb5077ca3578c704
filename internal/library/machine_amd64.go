// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package library

import "debug/elf"

const machine = elf.EM_X86_64
