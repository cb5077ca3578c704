// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package prompt_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/prompt"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
)

// asks returns a prompt whose program is a shell script; $D is a directory of the test's. What it logs goes to log.
func asks(t *testing.T, timeout time.Duration, script string) (p *prompt.Prompt, dir string, log *bytes.Buffer) {
	t.Helper()
	dir, log = t.TempDir(), new(bytes.Buffer)
	path := filepath.Join(dir, "ask")
	if err := os.WriteFile(path, []byte("D="+dir+"\n"+script), 0o600); err != nil {
		t.Fatal(err)
	}
	return prompt.New(prompt.Config{
		Command: []string{"/bin/sh", path}, Timeout: timeout, Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}), dir, log
}

var verify = cardend.Question{Action: cardend.ActionVerify, Tenant: "issuer", Reader: `A "Reader" 00 00`, Ask: []cardend.Part{cardend.PartPIN}, Min: 4, Max: 8, Digits: true}

var modify = cardend.Question{Action: cardend.ActionModify, Tenant: "issuer", Reader: "R", Ask: []cardend.Part{cardend.PartPIN, cardend.PartNew, cardend.PartRepeat}, Min: 4, Max: 8}

func reveal(pins []cardbroker.Secret) (text []string) {
	for _, pin := range pins {
		text = append(text, string(pin.Reveal()))
	}
	return text
}

func TestAnswers(t *testing.T) {
	for _, test := range []struct {
		name, script string
		q            cardend.Question
		want         []string
		reason       cardbroker.Reason
	}{
		{"a PIN", "echo 123456", verify, []string{"123456"}, ""},
		{"without an end of line", "printf 123456", verify, []string{"123456"}, ""},
		{"nothing", "echo", verify, []string{""}, ""},
		{"silence", ":", verify, []string{""}, ""},
		{"three", "printf '1234\\n5678\\n5678\\n'", modify, []string{"1234", "5678", "5678"}, ""},
		{"the longest", "printf %0256d 1", verify, []string{fmt.Sprintf("%0256d", 1)}, ""},
		{"cancelled", "exit 1", verify, nil, cardbroker.PINCanceled},
		{"cancelled with an answer", "echo 123456; exit 1", verify, nil, cardbroker.PINCanceled},
		{"failed", "echo 123456; exit 2", verify, nil, cardbroker.Unavailable},
		{"died", "echo 123456; kill -9 $$", verify, nil, cardbroker.Unavailable},
		{"a line too few", "echo 1234; echo 5678", modify, nil, cardbroker.Unavailable},
		{"a line too many", "echo 1234; echo 5678", verify, nil, cardbroker.Unavailable},
		{"a byte too many", "printf %0257d 1", verify, nil, cardbroker.Unavailable},
		{"a flood", "yes 123456", verify, nil, cardbroker.Unavailable},
		{"a flood from others", "yes 123456 & yes 123456 & wait", verify, nil, cardbroker.Unavailable},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, _, log := asks(t, 20*time.Second, test.script)
			pins, err := p.AskPIN(t.Context(), test.q)
			if got := reveal(pins); !slices.Equal(got, test.want) || cardbroker.ReasonOf(err) != test.reason {
				t.Errorf("AskPIN = %q, %v, want %q, %q", got, err, test.want, test.reason)
			}
			for _, said := range []string{log.String(), fmt.Sprint(err), fmt.Sprintf("%+v %v", pins, pins)} {
				if strings.Contains(said, "123456") || strings.Contains(said, "5678") {
					t.Errorf("a PIN is in %q", said)
				}
			}
		})
	}
}

// TestTold: what the program is told, and what it has of the agent's.
func TestTold(t *testing.T) {
	t.Setenv("DISPLAY", ":7")
	t.Setenv("LD_PRELOAD_CANARY", "x")
	t.Setenv("PATH", "/nowhere")
	p, dir, log := asks(t, 20*time.Second, "cat >$D/told; env >$D/env; pwd >$D/wd; echo canary >&2; echo 123456")
	q := verify
	q.Problem, q.Tries = cardend.ProblemWrong, 0
	if pins, err := p.AskPIN(t.Context(), q); err != nil || string(pins[0].Reveal()) != "123456" {
		t.Fatalf("AskPIN = %v, %v", reveal(pins), err)
	}
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	var told map[string]any
	if err := json.Unmarshal([]byte(read("told")), &told); err != nil {
		t.Fatal(err)
	}
	if left, _ := told["timeout_s"].(float64); left < 18 || left > 20 {
		t.Errorf("timeout_s is %v, want what is left of 20", told["timeout_s"])
	}
	delete(told, "timeout_s")
	want := map[string]any{"kind": "pin", "action": "verify", "tenant": "issuer", "reader": `A "Reader" 00 00`, "ask": []any{"pin"}, "min": 4.0, "max": 8.0, "digits": true, "problem": "wrong", "tries_left": 0.0}
	if !reflect.DeepEqual(told, want) {
		t.Errorf("the program was told %v, want %v", told, want)
	}
	for line := range strings.Lines(read("env")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case "PATH":
			if value != "/usr/bin:/bin" {
				t.Errorf("PATH is %s", value)
			}
		case "DISPLAY", "HOME", "LANG", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "PWD", "OLDPWD", "SHLVL", "_":
		default:
			t.Errorf("the program has %s", line)
		}
	}
	if !strings.Contains(read("env"), "DISPLAY=:7\n") || read("wd") != "/\n" {
		t.Errorf("the program ran in %swith %s", read("wd"), read("env"))
	}
	if strings.Contains(log.String(), "canary") {
		t.Errorf("the log holds what the program said: %s", log)
	}
}

// await waits until a file has so many lines.
func await(t *testing.T, path string, lines int) []string {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(20 * time.Second)
	for {
		text, _ := os.ReadFile(path)
		if fields := strings.Fields(string(text)); len(fields) >= lines {
			return fields
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%s never had %d lines", path, lines)
		}
	}
}

// gone waits until a process has ended; a zombie has.
func gone(t *testing.T, pid string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(20 * time.Second)
	for {
		text, err := os.ReadFile("/proc/" + pid + "/stat")
		if _, rest, _ := strings.Cut(string(text), ") "); err != nil || strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X") {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("process %s still runs: %s", pid, text)
		}
	}
}

const hangs = "echo $$ >>$D/pids; sleep 1000 & echo $! >>$D/pids; echo 123456; wait"

// timesOut asks by a script whose time is up once it has left so many lines in the file pids, which it returns.
func timesOut(t *testing.T, script string, lines int) (pids []string) {
	t.Helper()
	p, dir, _ := asks(t, time.Minute, script)
	ctx, expire := testenv.Leaver(t.Context(), context.DeadlineExceeded)
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		if pins, err := p.AskPIN(ctx, verify); cardbroker.ReasonOf(err) != cardbroker.Timeout || pins != nil {
			t.Errorf("AskPIN = %v, %v, want %s", reveal(pins), err, cardbroker.Timeout)
		}
	}()
	pids = await(t, filepath.Join(dir, "pids"), lines)
	start := time.Now()
	expire()
	<-asked
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("AskPIN ended %v after its time was up", took)
	}
	return pids
}

// TestHangs: a program that does not end in time is killed, with all that it has started.
func TestHangs(t *testing.T) {
	for name, script := range map[string]string{
		"it waits":                        hangs,
		"it says no more":                 "exec >&-; " + hangs,
		"it heeds no signal":              "trap '' TERM INT HUP; " + hangs,
		"it has ended, but another waits": "echo $$ >>$D/pids; sleep 1000 & echo $! >>$D/pids",
	} {
		t.Run(name, func(t *testing.T) {
			for _, pid := range timesOut(t, script, 2) {
				gone(t, pid)
			}
		})
	}
}

// TestLeavesTheGroup: somebody who cannot be found holds the pipe; the question ends nevertheless.
func TestLeavesTheGroup(t *testing.T) {
	pid, err := strconv.Atoi(timesOut(t, "setsid sh -c 'echo $$ >>'$D'/pids; exec sleep 20' & wait", 1)[0])
	if err != nil {
		t.Fatal(err)
	}
	syscall.Kill(pid, syscall.SIGKILL)
	gone(t, strconv.Itoa(pid))
}

// TestAskerLeaves: the prompt is closed as soon as nobody waits for its answer.
func TestAskerLeaves(t *testing.T) {
	p, dir, _ := asks(t, time.Minute, hangs)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := p.AskPIN(ctx, verify); err != context.Canceled {
			t.Errorf("AskPIN = %v, want %v", err, context.Canceled)
		}
	})
	pids := await(t, filepath.Join(dir, "pids"), 2)
	cancel()
	wg.Wait()
	for _, pid := range pids {
		gone(t, pid)
	}
	if _, err := p.AskPIN(ctx, verify); err != context.Canceled {
		t.Errorf("AskPIN of who has left = %v, want %v", err, context.Canceled)
	}
	if pids := await(t, filepath.Join(dir, "pids"), 2); len(pids) != 2 {
		t.Errorf("who has left is asked all the same: %v", pids)
	}
}

// TestOneAtATime: two questions never stand beside each other; who waits too long is told.
func TestOneAtATime(t *testing.T) {
	p, dir, _ := asks(t, time.Minute, "mkdir $D/open || echo x >>$D/twice; echo x >>$D/asked; cat >/dev/null; while [ ! -e $D/go ]; do sleep 0.01; done; rmdir $D/open; echo 1234")
	var wg sync.WaitGroup
	ask := func() {
		if pins, err := p.AskPIN(t.Context(), verify); err != nil || string(pins[0].Reveal()) != "1234" {
			t.Errorf("AskPIN = %v, %v", reveal(pins), err)
		}
	}
	wg.Go(ask)
	await(t, filepath.Join(dir, "asked"), 1)
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := p.AskPIN(short, verify); cardbroker.ReasonOf(err) != cardbroker.ReaderBusy {
		t.Errorf("AskPIN while another is asked = %v, want %s", err, cardbroker.ReaderBusy)
	}
	for range 3 {
		wg.Go(ask)
	}
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if _, err := os.Stat(filepath.Join(dir, "twice")); err == nil {
		t.Error("two questions were open at a time")
	}
}

// TestTooLateToAsk: whose time is over when he comes is told so, not that another question is in the way, which none was; and nobody is asked.
func TestTooLateToAsk(t *testing.T) {
	p, dir, _ := asks(t, time.Minute, "echo x >>$D/asked; echo 1234")
	late, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	for range 50 {
		if _, err := p.AskPIN(late, verify); cardbroker.ReasonOf(err) != cardbroker.Timeout {
			t.Fatalf("AskPIN = %v, want %s", err, cardbroker.Timeout)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "asked")); err == nil {
		t.Error("the user was asked")
	}
}

func TestNoProgram(t *testing.T) {
	p := prompt.New(prompt.Config{Command: []string{"/nowhere/ask"}, Timeout: time.Minute, Log: slog.New(slog.DiscardHandler)})
	if _, err := p.AskPIN(t.Context(), verify); cardbroker.ReasonOf(err) != cardbroker.Unavailable {
		t.Errorf("AskPIN = %v, want %s", err, cardbroker.Unavailable)
	}
}

// TestHostileNames: a card's label cannot add a line to what policy's program is told, nor turn its direction of writing.
func TestHostileNames(t *testing.T) {
	p, dir, _ := asks(t, time.Minute, "cat >$D/told; echo 1234")
	q := verify
	q.Which, q.Reader = "PIN of a\nTries left: 9\u202e\x1b[2J", "R\r\u2066"
	if _, err := p.AskPIN(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	told, err := os.ReadFile(filepath.Join(dir, "told"))
	if err != nil {
		t.Fatal(err)
	}
	if want := `"which":"PIN of aTries left: 9[2J"`; !strings.Contains(string(told), want) || !strings.Contains(string(told), `"reader":"R"`) {
		t.Errorf("it is told %s, want %s", told, want)
	}
}
