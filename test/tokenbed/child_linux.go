// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package tokenbed

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cardbroker/cardbroker/internal/token"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// Child is a running cardsandbox, and our ends of its streams.
type Child struct {
	PID     int
	Said    bytes.Buffer // on standard error; read after the end only
	Printed bytes.Buffer // on standard output, likewise

	cmd     *exec.Cmd
	streams [wire.Streams]*stream
	ended   chan error // capacity 1: its end, for whoever waits
}

// stream is one stream, which has one question under way.
type stream struct {
	*wire.Stream
	turn chan struct{} // capacity 1
	seq  uint64
}

const (
	askLimit = 20 * time.Second
	endLimit = 5 * time.Second
)

// Start starts the program with a library and no other environment. It is to be stopped.
func Start(program, library string, env ...string) (_ *Child, err error) {
	c := &Child{cmd: exec.Command(program, "pkcs11", library), ended: make(chan error, 1)}
	c.cmd.Env = append([]string{}, env...)
	c.cmd.Stderr, c.cmd.Stdout = &c.Said, &c.Printed
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.cmd.WaitDelay = time.Second
	defer func() {
		for _, theirs := range c.cmd.ExtraFiles {
			theirs.Close()
		}
		if err != nil {
			c.close()
		}
	}()
	for n := range c.streams {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
		c.cmd.ExtraFiles = append(c.cmd.ExtraFiles, theirs)
		conn, err := net.FileConn(ours)
		ours.Close()
		if err != nil {
			return nil, err
		}
		c.streams[n] = &stream{Stream: wire.NewStream(conn), turn: make(chan struct{}, 1)}
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	c.PID = c.cmd.Process.Pid
	go func() { c.ended <- c.cmd.Wait() }()
	return c, nil
}

func (c *Child) close() {
	for _, s := range c.streams {
		if s != nil {
			s.Close()
		}
	}
}

// Stop ends the child as an agent does, and returns how it ended.
func (c *Child) Stop() error {
	c.close()
	return c.Wait()
}

// Wait waits for the child's end, which it brings about after five seconds, and returns how it ended.
func (c *Child) Wait() error {
	kill := time.AfterFunc(endLimit, func() { c.cmd.Process.Kill() })
	defer kill.Stop()
	err := <-c.ended
	c.ended <- err
	return err
}

// Ask asks a question on a stream, which may have secrets. Several goroutines may ask.
func (c *Child) Ask(n uint8, q token.Question, secrets ...string) (answer token.Answer, err error) {
	s := c.streams[n]
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	s.seq++
	if err := s.Conn().SetDeadline(time.Now().Add(askLimit)); err != nil {
		return answer, err
	}
	for _, secret := range secrets {
		if err := s.Send(wire.Header{Type: wire.TypeSecret, Seq: s.seq}, []byte(secret)); err != nil {
			return answer, err
		}
	}
	text, err := json.Marshal(q)
	if err != nil {
		return answer, err
	}
	if err := wire.SendFrames(s, wire.Header{Type: wire.TypeCall, Seq: s.seq}, text); err != nil {
		return answer, err
	}
	gathering := wire.Gathering{Max: token.MaxJSON}
	for whole := false; !whole; {
		h, payload, err := s.Receive()
		if err != nil {
			return answer, err
		}
		if h, payload, whole, err = gathering.Gather(h, payload); err != nil {
			return answer, err
		}
		switch {
		case h.Seq != s.seq:
			return answer, fmt.Errorf("an answer to %d, want %d", h.Seq, s.seq)
		case h.Type == wire.TypeError:
			e, err := wire.ParseError(payload)
			return answer, errors.Join(err, e)
		case whole:
			return answer, json.Unmarshal(payload, &answer)
		}
	}
	return answer, nil
}

// Slot returns the slot whose token's label begins so.
func (c *Child) Slot(label string) (token.Slot, error) {
	answer, err := c.Ask(0, token.Question{Call: token.CallSlots, Present: true})
	if err != nil {
		return token.Slot{}, err
	}
	for _, slot := range answer.Slots {
		if slot.Token != nil && strings.HasPrefix(slot.Token.Label, label) {
			return slot, nil
		}
	}
	return token.Slot{}, fmt.Errorf("no token is called %q", label)
}
