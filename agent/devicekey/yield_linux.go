// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package devicekey

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// lower is the niceness of who leaves most to others, setpriority(2): he has a third of what each of them has. With less it is not he
// alone who waits: the garbage collector stops all goroutines, and for that it waits until each thread that runs one has had a
// processor. At niceness 19 an agent on a busy host did not answer for seconds.
const lower = 5

// yield lowers the priority of the calling goroutine, which keeps its thread from now on: on a morning when a thousand people
// log on, those who come are not to wait for the keys of those who are there. The thread ends with the goroutine.
func yield() {
	runtime.LockOSThread()
	unix.Setpriority(unix.PRIO_PROCESS, 0, lower) // 0: this thread; else it just takes its share
}
