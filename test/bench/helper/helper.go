// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package helper starts processes that the benchmarks need beside themselves. They say in JSON what they have to say, and one that
// ends too early is heard of with its last words.
package helper

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// Process is a helper, for one goroutine.
type Process struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	said  *json.Decoder
	last  lastLine
}

// Start starts a helper and waits until it says that it is ready. What it says is decoded into where, unless that is nil. Whoever
// gets it ends it.
func Start(cmd *exec.Cmd, where any) (*Process, error) {
	p := &Process{cmd: cmd}
	cmd.Stderr = io.MultiWriter(os.Stderr, &p.last)
	var err error
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start it: %w", err)
	}
	p.said = json.NewDecoder(stdout)
	if where == nil {
		where = new(any)
	}
	if err := p.hear(where); err != nil {
		p.End()
		return nil, fmt.Errorf("it was not ready: %w", err)
	}
	return p, nil
}

// Ask asks a helper that answers.
func (p *Process) Ask(question, answer any) error {
	if err := json.NewEncoder(p.stdin).Encode(question); err != nil {
		return errors.Join(err, p.hear(answer)) // its end has a reason
	}
	return p.hear(answer)
}

// hear waits for what the helper says. Where it says nothing more, the error is how it ended, and its last words.
func (p *Process) hear(what any) error {
	err := p.said.Decode(what)
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	p.End()
	if p.last.text == "" {
		return fmt.Errorf("it ended without a word (%v)", p.cmd.ProcessState)
	}
	return fmt.Errorf("it ended (%v): %s", p.cmd.ProcessState, p.last.text)
}

// PID returns the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// End ends the helper and waits for it. A second End does nothing.
func (p *Process) End() {
	p.stdin.Close()
	p.cmd.Wait() // its error says nothing about what was measured
}

// lastLine keeps the last line that was written to it.
type lastLine struct{ text string }

// Write implements io.Writer. It never fails.
func (l *lastLine) Write(text []byte) (int, error) {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if line := lines[len(lines)-1]; line != "" {
		l.text = line
	}
	return len(text), nil
}
