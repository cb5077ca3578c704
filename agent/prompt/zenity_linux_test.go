// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package prompt_test

import (
	"bufio"
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/prompt"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
)

var discard = slog.New(slog.DiscardHandler)

// TestPINDialogs: what the dialogs of desktops are told, and what their answers mean. Here they are scripts.
func TestPINDialogs(t *testing.T) {
	testenv.Root(t)
	t.Setenv("DISPLAY", ":99")
	told := filepath.Join(t.TempDir(), "told")
	tells := `for a; do printf '<%s>\n' "$a"; done >>` + told + "\n"
	page := cardend.Question{Action: cardend.ActionVerify, Origin: "https://shop.example", Reader: "R <b>\\n_&\n 00", Which: "PIN 80",
		Ask: []cardend.Part{cardend.PartPIN}, Min: 4, Max: 8, Digits: true, Problem: cardend.ProblemWrong, Tries: 2}
	unblock := cardend.Question{Action: cardend.ActionUnblock, Tenant: "issuer", Reader: "R",
		Ask: []cardend.Part{cardend.PartPUK, cardend.PartNew, cardend.PartRepeat}, Min: 4, Max: 8, Problem: cardend.ProblemDifferent}
	for _, test := range []struct {
		name, script string
		program      int
		q            cardend.Question
		want         []string
		reason       cardbroker.Reason
		told         []string
	}{
		{"zenity", "echo 4711", 0, page, []string{"4711"}, "", []string{"https://shop.example", "R bn__ 00>", "PIN 80", "Tries left: 2", "<--hide-text>", "\n\nPIN>"}},
		{"zenity, three", "printf '1\\n2\\n2\\n'", 0, unblock, []string{"1", "2", "2"}, "", []string{"issuer", "different", "<--add-password=PUK>", "<--add-password=New PIN again>"}},
		{"zenity, cancelled", "echo 4711; exit 1", 0, page, nil, cardbroker.PINCanceled, nil},
		{"zenity, a field too few", "echo 4711", 0, unblock, nil, cardbroker.Unavailable, nil},
		{"zenity, hangs", "sleep 60", 0, page, nil, cardbroker.Timeout, nil},
		{"kdialog", "echo 4711", 1, page, []string{"4711"}, "", []string{"<--password>", "https://shop.example", "\n\nPIN>"}},
		{"kdialog, three", "echo 4711", 1, unblock, []string{"4711", "4711", "4711"}, "", []string{"\n\nPUK>", "\n\nNew PIN>", "\n\nNew PIN again>"}},
		{"kdialog, cancelled at the second", `case "$*" in *PUK) echo 4711;; *) exit 1;; esac`, 1, unblock, nil, cardbroker.PINCanceled, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			os.Remove(told)
			limit := 20 * time.Second
			if test.reason == cardbroker.Timeout {
				limit = 300 * time.Millisecond
			}
			p := prompt.PromptOf(test.program, script(t, "dialog", tells+test.script), prompt.Config{Timeout: limit, Log: discard})
			pins, err := p.AskPIN(t.Context(), test.q)
			if got := reveal(pins); !slices.Equal(got, test.want) || cardbroker.ReasonOf(err) != test.reason {
				t.Errorf("AskPIN = %q, %v, want %q, %q", got, err, test.want, test.reason)
			}
			text, _ := os.ReadFile(told)
			for _, word := range test.told {
				if !strings.Contains(strings.ReplaceAll(string(text), "R bn__ 00\n", "R bn__ 00>\n"), word) {
					t.Errorf("the dialog was not told %q: %s", word, text)
				}
			}
			if strings.ContainsAny(strings.ReplaceAll(string(text), "<-", ""), "\\&") {
				t.Errorf("the dialog was told what means something to it: %s", text)
			}
		})
	}
}

// display starts an X server and has the test's environment name it.
func display(t *testing.T) {
	t.Helper()
	server := testenv.Tool(t, "Xvfb")
	says, number, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer says.Close()
	cmd := exec.Command(server, "-displayfd", "3", "-screen", "0", "800x600x24", "-nolisten", "tcp")
	cmd.ExtraFiles = []*os.File{number}
	err = cmd.Start()
	number.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	says.SetReadDeadline(time.Now().Add(20 * time.Second))
	line, err := bufio.NewReader(says).ReadString('\n')
	if err != nil {
		t.Fatalf("Xvfb named no display: %v", err)
	}
	t.Setenv("DISPLAY", ":"+strings.TrimSpace(line))
	t.Setenv("WAYLAND_DISPLAY", "")
}

// press has the user do something in the dialog when it is there.
func press(ctx context.Context, t *testing.T, keys ...string) {
	t.Helper()
	args := append([]string{"search", "--sync", "--onlyvisible", "--name", "^Smart card$", "windowfocus", "--sync"}, keys...)
	exec.CommandContext(ctx, testenv.Tool(t, "xdotool"), args...).Run() // it minds that the dialog closes
}

// TestZenity: a real dialog on a real display. Entered, cancelled, closed and left alone are what they are.
func TestZenity(t *testing.T) {
	zenity := testenv.Tool(t, "zenity")
	display(t)
	for _, test := range []struct {
		name   string
		q      cardend.Question
		keys   []string
		want   []string
		reason cardbroker.Reason
	}{
		{"entered", verify, []string{"type", "--args", "1", "4711", "key", "Return"}, []string{"4711"}, ""},
		{"three entered", modify, []string{"type", "--args", "1", "1234\t5678\t5679", "key", "Tab", "key", "Tab", "key", "Return"}, []string{"1234", "5678", "5679"}, ""},
		{"cancelled", verify, []string{"type", "--args", "1", "4711", "key", "Escape"}, nil, cardbroker.PINCanceled},
		{"left alone", verify, []string{"type", "4711"}, nil, cardbroker.Timeout},
	} {
		t.Run(test.name, func(t *testing.T) {
			limit := time.Minute // for a program of the desktop, on a busy machine
			if test.reason == cardbroker.Timeout {
				limit = time.Second
			}
			p := prompt.PromptOf(0, zenity, prompt.Config{Timeout: limit, Log: discard})
			done := make(chan struct{})
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			go func() { defer close(done); press(ctx, t, test.keys...) }()
			pins, err := p.AskPIN(ctx, test.q)
			if got := reveal(pins); !slices.Equal(got, test.want) || cardbroker.ReasonOf(err) != test.reason {
				t.Errorf("AskPIN = %q, %v, want %q, %q", got, err, test.want, test.reason)
			}
			<-done
		})
	}
}
