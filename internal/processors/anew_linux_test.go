// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package processors_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker/internal/processors"
)

// wordForChild has the test program be the one that starts anew.
const wordForChild = "CARDBROKER_TEST_ANEW"

func TestMain(m *testing.M) {
	if os.Getenv(wordForChild) == "" {
		os.Exit(m.Run())
	}
	started := runtime.GOMAXPROCS(0) // 1 the second time only: the first one does not get beyond New
	processors.New()
	ready := os.NewFile(3, "ready")
	_, there := os.LookupEnv(variable)
	fmt.Fprintf(ready, "%d %d %v %s", started, runtime.GOMAXPROCS(0), there, strings.Join(os.Args[1:], " "))
	ready.Close()
}

// TestAnew: without a number in the environment a program starts anew with one processor, and with what it was given: arguments,
// environment and descriptors.
func TestAnew(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), self, "agent", "run")
	c.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, variable+"=") }), wordForChild+"=1")
	c.ExtraFiles = []*os.File{write}
	err = c.Start()
	write.Close()
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(read)
	if err := errors.Join(err, c.Wait()); err != nil {
		t.Fatal(err)
	}
	if want := "1 1 false agent run"; string(text) != want {
		t.Errorf("processors at its start and then, whether the environment names them, and arguments: %s, want %s", text, want)
	}
}
