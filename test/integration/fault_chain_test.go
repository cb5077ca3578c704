// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/test/pcscbed"
	"github.com/cardbroker/cardbroker/test/stage"
)

// callLimit is how long a call may take that nothing keeps waiting, on a busy machine.
const callLimit = 40 * time.Second

// The commands of the software card that tests send, and another card's ATR.
var (
	echo  = []byte{0x80, 0xEE, 0, 0, 2, 1, 2}
	delay = []byte{0x80, 0xEF, 0x07, 0xD0} // takes two seconds
)

const otherATR = "3B80800101"

// chain is all that lies between a card and those who use it: a PC/SC service with virtual readers, alice's agent and its
// sandbox, and the broker.
type chain struct {
	*host
	bed    *pcscbed.Bed
	alice  *stage.Person
	agent  stage.Ready
	name   string              // of the reader under test
	id     cardbroker.ReaderID // in alice's session
	begun  *os.File            // where the card tells of each command, before it runs: a byte each
	tell   *os.File            // what it writes to
	events chan api.ReaderEvent

	other   *python // another program that uses the same PC/SC service
	held    bool    // the client has a transaction
	waiting <-chan string
}

// newBed starts a PC/SC service for a user; the directory is its socket's and private to him.
func (h *host) newBed(p *stage.Person, name string) *pcscbed.Bed {
	h.t.Helper()
	if err := pcscbed.Supported(); err != nil {
		testenv.Skip(h.t, err.Error())
	}
	testenv.Tool(h.t, "gcc")
	bed, err := pcscbed.Start(h.Context(), pcscbed.Config{
		Dir: h.Path(name), UID: int(p.Cred.Uid), GID: int(p.Cred.Gid), Readers: 2, Card: filepath.Join(os.Getenv(programs), "vcard"),
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		if err := bed.Stop(); err != nil {
			h.t.Errorf("Stop() = %v", err)
		}
	})
	return bed
}

// enrol starts an agent for the readers of a PC/SC service.
func (h *host) enrol(p *stage.Person, socket string) (*stage.Service, stage.Ready) {
	h.t.Helper()
	return h.runAgent(p, "--pcsc-socket", socket)
}

// newChain makes a chain with a card in its reader.
func newChain(t *testing.T) *chain {
	t.Helper()
	testenv.Root(t)
	h := newHostFor(t, 3*limit)
	c := &chain{host: h, alice: &h.Users[0], events: make(chan api.ReaderEvent, 1000)}
	c.tells()
	c.bed = h.newBed(c.alice, "bed")
	c.name = c.bed.Readers()[0]
	h.start()
	_, c.agent = h.enrol(c.alice, c.bed.Socket())
	for _, r := range c.readers() {
		if r.Name == c.name {
			c.id = r.ID
		}
	}
	c.watch(c.id)
	c.sees(api.EventReaderAdded)
	c.other = newPython(h, c.bed.Socket())
	c.insert(pcscbed.Card{})
	c.sees(api.EventCardIn)
	return c
}

// readers lists the readers as the agent's REST interface has them.
func (c *chain) readers() []api.CardReader {
	c.t.Helper()
	var list struct{ Readers []api.CardReader }
	c.run(c.alice, 0, &list, "agent", "readers", "--socket", c.socket, "--state", c.alice.Home+"/state")
	return list.Readers
}

// watch subscribes to the agent's events of a reader, or of all, until the test ends.
func (c *chain) watch(id cardbroker.ReaderID) {
	c.t.Helper()
	cmd := c.Command(c.alice, "cardbroker", "agent", "readers", "--watch", "--json", "--socket", c.socket, "--state", c.alice.Home+"/state")
	out, err := cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var e api.ReaderEvent
			if json.Unmarshal(lines.Bytes(), &e) == nil && (e.Reader == id || id == "") {
				c.events <- e
			}
		}
	}()
	c.t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		cmd.Wait()
	})
}

// sees fails unless these are the next events of the reader.
func (c *chain) sees(want ...string) {
	c.t.Helper()
	for _, name := range want {
		select {
		case e := <-c.events:
			if e.Event != name {
				c.t.Fatalf("the next event is %+v, want %s", e, name)
			}
		case <-time.After(callLimit):
			c.t.Fatalf("there is no event, want %s", name)
		}
	}
}

// tells makes the pipe on which the card tells of commands. Nobody copies from it in between: what the card has told is there as soon as
// its answer is.
func (c *chain) tells() {
	var err error
	if c.begun, c.tell, err = os.Pipe(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { c.tell.Close(); c.begun.Close() })
}

func (c *chain) insert(card pcscbed.Card) {
	c.t.Helper()
	card.Commands = c.tell
	if err := c.bed.Insert(c.Context(), 0, card); err != nil {
		c.t.Fatal(err)
	}
}

func (c *chain) remove() {
	c.t.Helper()
	if err := c.bed.Remove(c.Context(), 0); err != nil {
		c.t.Fatal(err)
	}
}

// awaitCommand waits until the card begins a command.
func (c *chain) awaitCommand() {
	c.t.Helper()
	c.begun.SetReadDeadline(time.Now().Add(callLimit))
	if _, err := c.begun.Read(make([]byte, 1)); err != nil {
		c.t.Fatalf("the card does not get the command: %v", err)
	}
}

// commands returns how many commands the card has begun since the last time.
func (c *chain) commands() (n int) {
	c.t.Helper()
	raw, err := c.begun.SyscallConn()
	if err != nil {
		c.t.Fatal(err)
	}
	c.begun.SetReadDeadline(time.Time{})
	var told [1 << 10]byte
	err = raw.Read(func(fd uintptr) bool {
		n, _ = syscall.Read(int(fd), told[:]) // EAGAIN: none
		return true
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return max(n, 0)
}

// within returns what a call returns, and fails the test if it does not.
func within[T any](t *testing.T, what string, call func() T) T {
	t.Helper()
	return await(t, what, begin(call))
}

// begin calls in a goroutine.
func begin[T any](call func() T) <-chan T {
	ended := make(chan T, 1)
	go func() { ended <- call() }()
	return ended
}

func await[T any](t *testing.T, what string, ended <-chan T) (result T) {
	t.Helper()
	select {
	case result = <-ended:
	case <-time.After(callLimit):
		t.Fatalf("%s hangs", what)
	}
	return result
}

// newCommand is a program of the system for us, that ends with the test.
func (h *host) newCommand(env []string, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(h.Context(), name, args...)
	cmd.Dir, cmd.Env = h.Path(), append([]string{"PATH=/usr/bin:/bin"}, env...)
	return cmd
}
