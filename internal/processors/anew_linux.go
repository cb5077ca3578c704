// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package processors

import (
	"os"
	"runtime"
	"strconv"
	"syscall"
)

// variable is how a Go program is told on how many processors it runs Go.
const variable = "GOMAXPROCS"

// least returns how many processors this process has at rest. Unless the environment says so, the program starts anew with one: what the
// start has taken for each processor of the machine is not given back. Where that fails, it goes on with one.
func least() int {
	if n, err := strconv.Atoi(os.Getenv(variable)); err == nil && n > 0 {
		if n == 1 {
			os.Unsetenv(variable) // no business of the programs that we start
		}
		return n
	}
	os.Unsetenv(variable) // what is no such number would stand before ours, count in its place, and have us start anew for ever
	if program, err := os.Executable(); err == nil && runtime.GOMAXPROCS(0) > 1 {
		syscall.Exec(program, os.Args, append(os.Environ(), variable+"=1"))
	}
	return 1
}
