// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Command gotest runs go test with the arguments it is given and reports: a line for each package as it ends, what failed
// with its output, the totals, and at the very end what was skipped and why. It ends with status 0 only if all passed;
// with CARDBROKER_REQUIRE=all a skipped test counts as failed.
package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run returns the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = stderr
	events, err := cmd.StdoutPipe()
	if err != nil {
		fmt.Fprintln(stderr, "gotest: cannot make a pipe:", err)
		return 1
	}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(stderr, "gotest: cannot start go:", err)
		return 1
	}
	r := newReport(stdout)
	readErr := r.read(events)
	runErr := cmd.Wait()
	r.totals()
	switch {
	case readErr != nil:
		fmt.Fprintln(stderr, "gotest: cannot read the events:", readErr)
	case runErr != nil && r.failed == 0:
		fmt.Fprintln(stderr, "gotest: go test:", runErr)
	case len(r.skipped) > 0 && os.Getenv("CARDBROKER_REQUIRE") == "all":
		fmt.Fprintln(stderr, "gotest: nothing may be skipped where CARDBROKER_REQUIRE is all")
	case runErr == nil:
		return 0
	}
	return 1
}
