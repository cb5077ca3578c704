// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package chromium

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/test/stage"
)

// TestEnd has a browser end in each way that is not Close, in the middle of a call or before it. A test that it was in failed with
// no more than EOF: the error says how the browser has ended, and what it wrote.
func TestEnd(t *testing.T) {
	testenv.Root(t)
	program := testenv.Tool(t, "chromium")
	s, err := stage.New(context.Background(), nil)
	if s != nil {
		t.Cleanup(func() {
			for _, problem := range s.Strike() {
				t.Errorf("left behind: %s", problem)
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	start := func() (*Browser, *Page, context.CancelCauseFunc) {
		ctx, over := context.WithCancelCause(context.Background())
		t.Cleanup(func() { over(nil) })
		b, err := Start(ctx, Config{Program: program, User: s.Users[0]})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		p, err := b.Open("about:blank")
		if err != nil {
			t.Fatal(err)
		}
		return b, p, over
	}
	says := func(what string, err error, want ...string) {
		t.Helper()
		t.Logf("%s: %v", what, err)
		for _, want := range want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: the error is %v, want %q in it", what, err, want)
			}
		}
	}
	const forever = "new Promise(() => {})"

	b, p, _ := start()
	b.pipe.ask(p.session, "Page.crash", nil)
	says("its page crashes", p.Run(forever, nil), "the page's process has ended; the browser has written: ")
	syscall.Kill(b.cmd.Process.Pid, syscall.SIGSTOP)
	says("it hangs", b.call(time.Second, "", "Browser.getVersion", nil, nil),
		"Browser.getVersion: ", "i/o timeout: the browser runs and does not answer; it has written: ")
	syscall.Kill(b.cmd.Process.Pid, syscall.SIGKILL)
	_, err = b.Open("about:blank")
	says("it is killed", err, "Target.createTarget: ", "the browser has ended: signal: killed; it has written: ")

	b, p, _ = start()
	b.pipe.ask("", "Browser.crash", nil)
	says("it crashes", p.Run(forever, nil), "the browser has ended: signal: ", "; it has written: ", ":ERROR:")

	_, p, over := start()
	over(errors.New("a test's limit"))
	says("its time is over", p.Run(forever, nil), "the browser has ended as its time was over (a test's limit): signal: killed")
}
