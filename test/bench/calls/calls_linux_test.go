// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package calls_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/test/bench/calls"
)

// TestCalls makes each call, on the software card behind our own server and the counter.
func TestCalls(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	group := run.New(ctx)
	defer group.Stop()
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("calls-%d", os.Getpid())) // one for the process: the library keeps the path
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	reader, err := calls.ServeSoftCard(group, filepath.Join(dir, "server"))
	if err != nil {
		t.Fatal(err)
	}
	counter, err := calls.Count(group, filepath.Join(dir, "counter"), filepath.Join(dir, "server"))
	if err != nil {
		t.Fatal(err)
	}
	questions, ask := io.Pipe()
	answer, answers := io.Pipe()
	context.AfterFunc(group.Context(), func() {
		ask.Close()
		answers.Close()
	})
	group.Go("client", func(context.Context) error {
		return answers.CloseWithError(calls.Run(filepath.Join(dir, "counter"), reader, questions, answers))
	})
	said := json.NewDecoder(answer)
	var ready any
	if err := said.Decode(&ready); err != nil {
		t.Fatal(err)
	}
	asking := json.NewEncoder(ask)
	for _, call := range append(calls.All(), "SCardNothing") {
		before := counter.Asked()
		var took calls.Took
		if err := asking.Encode(calls.Block{Call: call, Warm: 2, Count: 3}); err != nil {
			t.Fatal(err)
		}
		if err := said.Decode(&took); err != nil {
			t.Fatal(err)
		}
		switch asked := counter.Asked() - before; {
		case call == "SCardNothing":
			if took.Err == "" || asked != 0 {
				t.Errorf("%s = %+v after %d questions, want an error and none", call, took, asked)
			}
		case took.Err != "" || len(took.Samples) != 3 || asked < 5:
			t.Errorf("%s = %+v after %d questions, want 3 samples and 5 questions or more", call, took, asked)
		}
	}
}
