// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/test/stage"
)

// follow starts a program that prints events for ever and returns a function that reads the next one.
func (h *host) follow(cmd *exec.Cmd, decode func(line string) (api.ReaderEvent, bool)) (next func() api.ReaderEvent) {
	h.t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	return func() api.ReaderEvent {
		h.t.Helper()
		for lines.Scan() {
			if event, ok := decode(lines.Text()); ok {
				return event
			}
		}
		h.t.Fatalf("%v: no further event: %v", cmd.Args, lines.Err())
		return api.ReaderEvent{}
	}
}

func jsonLine(line string) (event api.ReaderEvent, ok bool) {
	return event, json.Unmarshal([]byte(line), &event) == nil
}

// sseLine decodes a line of text/event-stream: the data of an event is on one.
func sseLine(line string) (event api.ReaderEvent, ok bool) {
	data, ok := strings.CutPrefix(line, "data: ")
	return event, ok && json.Unmarshal([]byte(data), &event) == nil
}

func wantEvents(t *testing.T, next func() api.ReaderEvent, want ...string) (last api.ReaderEvent) {
	t.Helper()
	for _, name := range want {
		if last = next(); last.Event != name {
			t.Fatalf("event = %+v, want %s", last, name)
		}
	}
	return last
}

// TestEventsOfASession has two subscribers of an agent see the readers, and their loss and return with the sandbox.
func TestEventsOfASession(t *testing.T) {
	curl := testenv.Tool(t, "curl")
	h := newHost(t)
	h.start()
	alice := &h.Users[0]
	_, line := h.logon(alice)
	sse := h.Command(alice, "cardbroker")
	sse.Path, sse.Args = curl, []string{"curl", "-sN", fmt.Sprintf("http://127.0.0.1:%d/cb/v1/events", line.Port)}
	subscribers := map[string]func() api.ReaderEvent{
		"server-sent events": h.follow(sse, sseLine),
		"WebSocket": h.follow(h.Command(alice, "cardbroker", "agent", "readers", "--watch", "--json", "--socket", h.socket,
			"--state", alice.Home+"/state"), jsonLine),
	}
	for name, next := range subscribers {
		t.Run(name, func(t *testing.T) {
			if in := wantEvents(t, next, api.EventReaderAdded, api.EventCardIn); in.ATR == "" || in.Reader == "" {
				t.Errorf("card_in = %+v, want a reader and an ATR", in)
			}
		})
	}
	sandbox, err := stage.ChildOf(line.PID)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(sandbox, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for name, next := range subscribers {
		t.Run(name+" after the sandbox was killed", func(t *testing.T) {
			wantEvents(t, next, api.EventReaderRemoved, api.EventReaderAdded, api.EventCardIn)
		})
	}
}

// TestEventsForABackEnd has a back end watch: it sees what is offered to it, from the offer to the end of its tunnel.
func TestEventsForABackEnd(t *testing.T) {
	h := newHost(t)
	h.start()
	alice := &h.Users[0]
	h.logon(alice)
	next := h.follow(h.Command(nil, "cardbroker", "reader", "watch", "--json", "--broker", h.ready.Backend, "--ca", h.Path("door.pem"),
		"--token-file", h.Path("token")), jsonLine)
	offered := h.offer(alice)
	in := wantEvents(t, next, api.EventReaderAdded, api.EventCardIn)
	if in.Reader != offered.Reader || in.ATR == "" {
		t.Errorf("card_in = %+v, want reader %s and an ATR", in, offered.Reader)
	}
	h.apdu(0, offered.Ticket, "80EE0000020102")
	wantEvents(t, next, api.EventReaderRemoved) // the ticket is burnt and its tunnel has ended
}
