// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package chromium

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"
)

type object map[string]any

// message is one of the DevTools protocol: a call, its answer or an event.
type message struct {
	ID      int             `json:"id,omitempty"`
	Session string          `json:"sessionId,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  any             `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`

	event json.RawMessage // the params of one that was read
}

// decode reads an answer.
func (m message) decode(method string, answer any) error {
	if m.Error != nil {
		return fmt.Errorf("%s: %s", method, m.Error.Message)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(m.Result, answer)
}

// pipe is a browser's end: messages of JSON, each ended by a zero byte, on its descriptors 3 and 4.
type pipe struct {
	in    *os.File // it reads
	out   *os.File // it writes
	lines *bufio.Reader
	last  int
}

// start starts a command with the pipes.
func (p *pipe) start(cmd *exec.Cmd) error {
	itsIn, in, err := os.Pipe()
	if err != nil {
		return err
	}
	defer itsIn.Close()
	out, itsOut, err := os.Pipe()
	if err != nil {
		return errors.Join(err, in.Close())
	}
	defer itsOut.Close()
	p.in, p.out, p.lines = in, out, bufio.NewReader(out)
	cmd.ExtraFiles = []*os.File{itsIn, itsOut}
	if err := cmd.Start(); err != nil {
		p.close()
		return err
	}
	return nil
}

func (p *pipe) close() {
	p.in.Close()
	p.out.Close()
}

// ask sends a call and returns its number.
func (p *pipe) ask(session, method string, params any) (int, error) {
	p.last++
	return p.last, p.send(message{ID: p.last, Session: session, Method: method, Params: params})
}

func (p *pipe) send(m message) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	p.in.SetWriteDeadline(time.Now().Add(callTimeout))
	_, err = p.in.Write(append(text, 0))
	return err
}

// receive reads the next message.
func (p *pipe) receive(deadline time.Time) (message, error) {
	p.out.SetReadDeadline(deadline)
	text, err := p.lines.ReadBytes(0)
	if err != nil {
		return message{}, err
	}
	var params struct {
		Params json.RawMessage `json:"params"`
	}
	var m message
	if err := json.Unmarshal(text[:len(text)-1], &m); err != nil {
		return m, err
	}
	err = json.Unmarshal(text[:len(text)-1], &params)
	m.event = params.Params
	return m, err
}
