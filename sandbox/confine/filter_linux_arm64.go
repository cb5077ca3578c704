// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package confine

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_AARCH64

func foreignNumbers() []unix.SockFilter { return nil }

func refusedHere() []uint32 { return nil }
