// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package processors_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

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

// TestAnew: without a number in the environment a program starts anew, once, with one processor, and with what it was given: arguments,
// environment and descriptors.
func TestAnew(t *testing.T) {
	t.Run("none", func(t *testing.T) { anew(t) })
	for _, no := range []string{"", "0", "-1", "many", " 2"} {
		t.Run(no, func(t *testing.T) { anew(t, variable+"="+no) })
	}
}

func anew(t *testing.T, more ...string) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(ctx, self, "agent", "run")
	c.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, variable+"=") }), wordForChild+"=1")
	c.Env = append(c.Env, more...)
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
