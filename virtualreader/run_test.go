// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package virtualreader_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/script"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// steps makes a script of n steps with commands of size bytes of data, each of its own.
func steps(n, size int) (s script.Script) {
	for i := range n {
		command := append([]byte{0, 0xDA, byte(i >> 8), byte(i), 0, byte(size >> 8), byte(size)}, bytes.Repeat([]byte{byte(i)}, size)...)
		s.Steps = append(s.Steps, script.Step{Command: command})
	}
	return s
}

// TestRunScript runs scripts of one frame, of several, and of several parts.
func TestRunScript(t *testing.T) {
	for _, test := range []struct {
		name    string
		n, size int
	}{{"one frame", 3, 5}, {"frames", 4, 60000}, {"parts", 600, 1000}} {
		t.Run(test.name, func(t *testing.T) {
			d := newDoor(t)
			tunnel := d.open(t)
			s := steps(test.n, test.size)
			var told []int
			r, err := tunnel.Run(t.Context(), s, func(done, total int) {
				if total != test.n || done > total {
					t.Errorf("progress %d of %d", done, total)
				}
				told = append(told, done)
			})
			if err != nil || r.Outcome != script.OK || len(r.Steps) != test.n || r.Times.Agent == 0 {
				t.Fatalf("Run = %v, %v, %d steps, want all %d", r.Outcome, err, len(r.Steps), test.n)
			}
			for i, step := range r.Steps {
				if step.Step != i || !bytes.Equal(step.Data, s.Steps[i].Command) { // the card is an echo
					t.Fatalf("step %d was answered as step %d with %d bytes", i, step.Step, len(step.Data))
				}
			}
			if n := d.reader.Executed(); n != test.n {
				t.Errorf("the card executed %d commands, want %d", n, test.n)
			}
			if len(told) == 0 || told[len(told)-1] != test.n || !slices.IsSorted(told) {
				t.Errorf("progress %v, want it to rise to %d", told, test.n)
			}
			if _, err := tunnel.Transmit(t.Context(), selectCommand); err != nil {
				t.Errorf("Transmit after a script = %v", err)
			}
		})
	}
}

func TestRunRefused(t *testing.T) {
	d := newDoor(t)
	tunnel := d.open(t)
	s := steps(300, 0)
	for i := range s.Steps {
		s.Steps[i].Command = selectCommand
	}
	s.Steps[290].Command = []byte{0, 0x20, 0, 0x80, 1, 0x31}
	verdicts, err := tunnel.Judge(t.Context(), s)
	if err != nil || len(verdicts) != 300 || verdicts[290] == nil || verdicts[290].Rule != cardbroker.RuleFirewall || verdicts[289] != nil {
		t.Errorf("Judge = %d verdicts, %v", len(verdicts), err)
	}
	if n := d.reader.Executed(); n != 0 {
		t.Errorf("Judge executed %d commands", n)
	}
	r, err := tunnel.Run(t.Context(), s, nil)
	if err != nil || r.Outcome != script.Refused || r.Step != 290 || len(r.Steps) != script.MaxSteps {
		t.Errorf("Run = %v at %d with %d steps, %v, want a refusal of the second part", r.Outcome, r.Step, len(r.Steps), err)
	}
	if r, err := tunnel.Run(t.Context(), script.Script{}, nil); r.Outcome != script.Failed || cardbroker.ReasonOf(err) != cardbroker.Invalid {
		t.Errorf("Run of nothing = %+v, %v", r, err)
	}
	if _, err := tunnel.Judge(t.Context(), script.Script{}); cardbroker.ReasonOf(err) != cardbroker.Invalid {
		t.Errorf("Judge of nothing = %v", err)
	}
}

// TestRunLeaves: who leaves in the midst of a script does not know what became of it.
func TestRunLeaves(t *testing.T) {
	d := newDoor(t)
	tunnel := d.open(t)
	ctx, cancel := context.WithCancel(t.Context())
	gate := d.reader.Hold()
	ended := make(chan script.Result, 1)
	go func() {
		r, err := tunnel.Run(ctx, steps(3, 1), nil)
		if cardbroker.ReasonOf(err) != cardbroker.Indeterminate {
			t.Errorf("Run = %v, want %s", err, cardbroker.Indeterminate)
		}
		ended <- r
	}()
	release := <-gate
	cancel()
	if r := <-ended; r.Outcome != script.Indeterminate || r.Why == nil || r.Why.Reason != cardbroker.Indeterminate {
		t.Errorf("Run = %+v", r)
	}
	close(release)
	if r, err := tunnel.Run(t.Context(), steps(1, 1), nil); err == nil || r.Outcome != script.Failed {
		t.Errorf("Run in a tunnel that has ended = %+v, %v", r, err)
	}
}

// TestRunHostileHolder has a holder whose answers to a script are none.
func TestRunHostileHolder(t *testing.T) {
	big := make([]byte, wire.MaxPayload)
	for name, send := range map[string]func(c *socket.Conn, seq uint64){
		"malformed": func(c *socket.Conn, seq uint64) {
			c.Send(wire.Header{Type: wire.TypeScriptResult, Seq: seq}, []byte{9})
		},
		"without end": func(c *socket.Conn, seq uint64) {
			for c.Send(wire.Header{Type: wire.TypeScriptResult, Flags: wire.FlagMore, Seq: seq}, big) == nil {
			}
		},
		"mixed": func(c *socket.Conn, seq uint64) {
			c.Send(wire.Header{Type: wire.TypeScriptResult, Flags: wire.FlagMore, Seq: seq}, big)
			c.Send(wire.Header{Type: wire.TypeDone, Seq: seq}, nil)
		},
		"of another frame": func(c *socket.Conn, seq uint64) {
			c.Send(wire.Header{Type: wire.TypeScriptResult, Flags: wire.FlagMore, Seq: seq + 1}, nil)
			c.Send(wire.Header{Type: wire.TypeScriptResult, Seq: seq}, script.Result{}.Append(nil))
		},
		"progress": func(c *socket.Conn, seq uint64) { c.Send(wire.Header{Type: wire.TypeProgress}, []byte{1}) },
	} {
		t.Run(name, func(t *testing.T) {
			d := newDoor(t)
			d.serve = func(_ context.Context, c *socket.Conn) error {
				hello, _, _ := c.Receive()
				c.Send(wire.Header{Type: wire.TypeWelcome, Seq: hello.Seq}, wire.Welcome{Reader: "r"}.Append(nil))
				h, _, err := c.Receive()
				if err == nil {
					send(c, h.Seq)
					c.Receive()
				}
				return err
			}
			tunnel := d.open(t)
			r, err := tunnel.Run(t.Context(), steps(1, 1), func(int, int) {})
			if err == nil || r.Outcome == script.OK {
				t.Errorf("Run = %+v, %v, want an error", r, err)
			}
			if errors.Is(err, context.DeadlineExceeded) {
				t.Error("Run waited")
			}
			for range tunnel.Events() {
			}
			if cardbroker.ReasonOf(tunnel.Err()) != cardbroker.Invalid {
				t.Errorf("Err = %v, want %s", tunnel.Err(), cardbroker.Invalid)
			}
		})
	}
}
