// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package confine

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cardbroker/cardbroker/sandbox"
)

// marker is set in the environment of the second pass. It saves the first pass and proves nothing: whoever sets it is
// held against what the kernel refuses.
const marker = "CARDSANDBOX_CONFINED"

// Enter confines this process to what it needs and says what is in force. It is called once, first thing in main.
//
// Landlock binds the thread that asks for it and the threads it starts, and a Go program has several from the start. So
// Enter runs twice: the first time it has Landlock bind one thread and starts the program anew from there, by exec, with
// the same arguments, environment and descriptors; it returns only if that fails. The second time it does the rest and
// returns. On an error the process must end.
func Enter(needs Needs) (State, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_, second := os.LookupEnv(marker)
	os.Unsetenv(marker)
	version, err := landlockVersion()
	switch {
	case err != nil:
		return State{}, err
	case version > 0 && !second:
		return State{}, startAnew(version, needs)
	case version > 0 && !holds():
		return State{}, errors.New("the confinement of files does not hold")
	}
	if err := sandbox.Harden(); err != nil {
		return State{}, err
	}
	if err := filterCalls(len(needs.Sockets) > 0); err != nil { // last: from here on there is no exec
		return State{}, err
	}
	return State{Landlock: version, Seccomp: true}, nil
}

// startAnew binds this thread and executes this program again. It returns only on an error.
func startAnew(version int, needs Needs) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot tell where this program is: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot forbid new privileges: %w", err)
	}
	if err := restrict(version, rulesOf(version, program, needs)); err != nil {
		return err
	}
	err = syscall.Exec(program, os.Args, append(os.Environ(), marker+"=1"))
	return fmt.Errorf("cannot start the confined program: %w", err)
}

// holds says whether the kernel refuses what every unconfined process may do: to read the root directory, and what /proc
// says of the process itself. One refusal is enough, one success too many: either may be out of reach for another reason.
func holds() bool {
	refused := false
	for _, path := range []string{"/", "/proc/self/status"} {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			unix.Close(fd)
			return false
		}
		refused = refused || err == unix.EACCES
	}
	return refused
}
