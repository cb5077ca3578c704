// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package confine

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_X86_64

// x32 marks the numbers of another set of system calls, of the same architecture.
const x32 = 0x40000000

func foreignNumbers() []unix.SockFilter { return when(unix.BPF_JGE, x32, fail(unix.EPERM)) }

// refusedHere are the calls that arm64 does not have.
func refusedHere() []uint32 { return []uint32{unix.SYS_FORK, unix.SYS_VFORK} }
