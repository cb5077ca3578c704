// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package devicekey

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// lowest is the niceness of who takes what others leave, setpriority(2).
const lowest = 19

// yield lowers the priority of the calling goroutine, which keeps its thread from now on: on a morning when a thousand people
// log on, their keys are made when nobody needs the processors. The thread ends with the goroutine.
func yield() {
	runtime.LockOSThread()
	unix.Setpriority(unix.PRIO_PROCESS, 0, lowest) // 0: this thread; else it just takes its share
}
