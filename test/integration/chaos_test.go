// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/test/pcscbed"
	"github.com/cardbroker/cardbroker/test/stage"
	"github.com/cardbroker/cardbroker/virtualreader"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/journal"
	"github.com/cardbroker/cardbroker/virtualreader/script"
)

// chaosRounds names how often something is killed; 50 times where it is not set.
const chaosRounds = "CARDBROKER_CHAOS"

// phase is how far a command was when something was killed.
type phase string

const (
	phaseIdle      phase = "idle"      // nothing was asked
	phaseSent      phase = "sent"      // asked for, and not begun
	phaseExecuting phase = "executing" // recorded, or seen by the card, and not answered
	phaseStored    phase = "stored"    // the answer is recorded, and has not arrived
	phaseArrived   phase = "arrived"   // it has
)

// chaos is a chain whose parts are killed while a back end drives the card, which counts.
type chaos struct {
	*chain
	service *stage.Service // alice's agent
	tunnel  *virtualreader.Tunnel
	heard   []byte      // of the card's copies, what is not a whole command yet; of Write
	begun   chan uint32 // the numbers of commands, as the card begins them

	next      uint32            // number of the last command
	frames    uint64            // that the back end has sent
	seen      map[uint32]int    // how often the card has begun a command
	judged    map[uint32]string // what became of it
	histogram map[string]int
}

// Write implements [io.Writer] for the card: it gets each command, with its length before it. A command's data is its number.
func (c *chaos) Write(p []byte) (int, error) {
	c.heard = append(c.heard, p...)
	for len(c.heard) >= 2 {
		n := 2 + int(binary.BigEndian.Uint16(c.heard))
		if len(c.heard) < n {
			break
		}
		c.begun <- binary.BigEndian.Uint32(c.heard[n-4 : n])
		c.heard = c.heard[n:]
	}
	return len(p), nil
}

// look counts what the card has begun.
func (c *chaos) look() {
	for {
		select {
		case n := <-c.begun:
			c.seen[n]++
		default:
			return
		}
	}
}

// asked is a command, or a script, that was sent.
type asked struct {
	numbers  []uint32 // of its commands
	commands [][]byte
	answers  [][]byte // as far as there are any, with their status words
	err      error    // why there are no more
	done     chan struct{}
}

// TestChaos kills agent, broker and sandbox at random moments while a back end drives a card that counts. The card must have
// seen each command once that was answered, and no command twice; a killed broker leaves nobody in doubt, a killed agent about
// one command at most, and only about one that its journal says was executing.
func TestChaos(t *testing.T) {
	testenv.Root(t)
	rounds := 50
	if text := os.Getenv(chaosRounds); text != "" {
		var err error
		if rounds, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	c := newChaos(t, time.Duration(rounds)*3*time.Second+limit)
	for round := range rounds {
		if victim := []string{"agent", "agent", "broker", "sandbox"}[round%4]; !c.round(victim) {
			break
		}
	}
	c.agree(rounds)
	for _, victim := range []string{"agent", "broker", "sandbox"} {
		for _, p := range []phase{phaseIdle, phaseSent, phaseExecuting, phaseStored, phaseArrived} {
			n := c.histogram[victim+" "+string(p)]
			if n > 0 {
				c.t.Logf("%-8s %-10s %4d", victim, p, n)
			}
			expected := victim == "agent" && p != phaseArrived || victim != "agent" && (p == phaseIdle || p == phaseSent || p == phaseExecuting)
			if expected && rounds >= 1000 && n < 20 {
				c.t.Errorf("%s was killed in phase %s %d times, want 20 or more", victim, p, n)
			}
		}
	}
}

func newChaos(t *testing.T, limit time.Duration) *chaos {
	h := newHostFor(t, limit)
	c := &chaos{chain: &chain{host: h, alice: &h.Users[0]}, begun: make(chan uint32, 1024),
		seen: map[uint32]int{}, judged: map[uint32]string{}, histogram: map[string]int{}}
	c.bed = h.newBed(c.alice, "bed")
	c.name = c.bed.Readers()[0]
	if err := c.bed.Insert(c.Context(), 0, pcscbed.Card{Copies: c}); err != nil {
		t.Fatal(err)
	}
	h.start()
	c.service, c.chain.agent = h.enrol(c.alice, c.bed.Socket())
	for _, r := range c.readers() {
		if r.Name == c.name {
			c.id = r.ID
		}
	}
	c.open()
	return c
}

func (c *chaos) open() {
	c.t.Helper()
	tunnel, err := c.backEndClient().Open(c.Context(), virtualreader.TicketReader, c.offered(), virtualreader.Options{Lease: time.Hour})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { tunnel.Close() })
	c.tunnel, c.frames = tunnel, 1
}

// command makes the next command: one whose answer is its own, or one that the card takes some milliseconds for.
func (c *chaos) command(a *asked, echo bool) {
	c.next++
	head := []byte{0x80, 0xEF, 0x00, 0x05, 4} // five milliseconds
	if echo {
		head = []byte{0x80, 0xEE, 0, 0, 4}
	}
	a.numbers = append(a.numbers, c.next)
	a.commands = append(a.commands, binary.BigEndian.AppendUint32(head, c.next))
}

// send sends the next command.
func (c *chaos) send(echo bool) *asked {
	c.frames++
	a := &asked{done: make(chan struct{})}
	c.command(a, echo)
	go func() {
		defer close(a.done)
		answer, err := c.tunnel.Transmit(c.Context(), a.commands[0])
		if a.err = err; err == nil {
			a.answers = [][]byte{answer.Response}
		}
	}()
	return a
}

// sendScript sends the next commands in one script.
func (c *chaos) sendScript() *asked {
	c.frames++
	a := &asked{done: make(chan struct{})}
	var s script.Script
	for n := range 6 {
		c.command(a, n%2 == 0)
		s.Steps = append(s.Steps, script.Step{Command: a.commands[n]})
	}
	go func() {
		defer close(a.done)
		result, err := c.tunnel.Run(c.Context(), s, nil)
		if a.err = err; err == nil && result.Outcome != script.OK {
			a.err = result.Why
		}
		for _, step := range result.Steps {
			a.answers = append(a.answers, step.SW.Append(bytes.Clone(step.Data)))
		}
	}()
	return a
}

// round kills something at a moment of a command, and looks at what became of it. It says whether another one makes sense.
func (c *chaos) round(victim string) bool {
	c.look()
	kinds := []phase{phaseIdle, phaseSent, phaseExecuting, phaseStored}
	aim := kinds[rand.IntN(len(kinds))]
	var a *asked
	switch {
	case aim == phaseIdle:
	case rand.IntN(3) == 0:
		a = c.sendScript()
	default:
		a = c.send(aim == phaseStored || rand.IntN(2) == 0)
	}
	switch aim {
	case phaseSent:
		pause(time.Duration(rand.IntN(400)) * time.Microsecond)
	case phaseExecuting:
		select {
		case n := <-c.begun:
			c.seen[n]++
		case <-a.done:
		}
		pause(time.Duration(rand.IntN(700)) * time.Microsecond)
	case phaseStored:
		for c.observed(a) != phaseArrived && c.journaled() != phaseStored {
		}
	}
	p, known := c.kill(victim, a)
	c.histogram[victim+" "+string(p)]++
	if a != nil {
		select {
		case <-a.done:
		case <-c.Context().Done():
			c.t.Fatalf("a command is not answered after the %s was killed %s", victim, p)
		}
		c.judge(a, victim, p, known)
	}
	c.settle(victim, p)
	return !c.t.Failed()
}

// pause waits for so short a time that a timer would be late.
func pause(d time.Duration) {
	for start := time.Now(); time.Since(start) < d; {
	}
}

// kill kills the victim, says how far the command was, and has the victim's successor started. known is false where only the
// card could say.
func (c *chaos) kill(victim string, a *asked) (p phase, known bool) {
	c.t.Helper()
	switch victim {
	case "agent":
		orphan, err := stage.ChildOf(c.chain.agent.PID)
		syscall.Kill(c.chain.agent.PID, syscall.SIGKILL)
		if p = c.observed(a); p != phaseIdle && p != phaseArrived {
			p = c.journaled()
		}
		known = true
		c.service.Kill()
		c.service, c.chain.agent = c.enrol(c.alice, c.bed.Socket())
		if err == nil { // what it had still to do to the card, such as a reset, is this kill's doing, not the next one's
			c.until("the end of the killed agent's sandbox", func() bool { return stage.Ended(orphan) })
		}
		return p, known
	case "broker":
		syscall.Kill(c.host.ready.PID, syscall.SIGKILL)
		p = c.observed(a)
		c.broker.Kill()
		c.start()
		return p, false
	}
	pid, err := stage.ChildOf(c.chain.agent.PID)
	if err != nil {
		return phaseIdle, false // it has not come back from the last time
	}
	syscall.Kill(pid, syscall.SIGKILL)
	return c.observed(a), false
}

// observed says how far a command is by what the card and the back end have seen.
func (c *chaos) observed(a *asked) phase {
	if a == nil {
		return phaseIdle
	}
	select {
	case <-a.done:
		return phaseArrived
	default:
	}
	if c.look(); c.seen[a.numbers[0]] > 0 {
		return phaseExecuting
	}
	return phaseSent
}

// journaled says how far the last command is by the journal.
func (c *chaos) journaled() phase {
	c.t.Helper()
	names, err := filepath.Glob(filepath.Join(c.alice.Home, "state", "leases", "*", "*.journal"))
	if err != nil || len(names) != 1 {
		c.t.Fatalf("journals: %v, %v, want one", names, err)
	}
	j, state, err := journal.Open(names[0]) // which only reads
	if err != nil {
		c.t.Fatal(err)
	}
	j.Close()
	switch {
	case state.Seq < c.frames:
		return phaseSent
	case state.Answer == nil:
		return phaseExecuting
	}
	return phaseStored
}

// judge looks at what became of a command, or of each command of a script: those with an answer have it, the next one may be in
// doubt, and the rest has not been executed.
func (c *chaos) judge(a *asked, victim string, p phase, known bool) {
	c.t.Helper()
	reason := cardbroker.ReasonOf(a.err)
	for i, n := range a.numbers {
		switch {
		case i < len(a.answers):
			want := []byte{0x90, 0x00}
			if a.commands[i][1] == 0xEE {
				want = append(bytes.Clone(a.commands[i][5:]), want...)
			}
			if !bytes.Equal(a.answers[i], want) {
				c.t.Errorf("%s killed %s: the answer is % X, want % X", victim, p, a.answers[i], want)
			}
			c.judged[n] = ""
		case i == len(a.answers):
			c.judged[n] = string(reason)
		default:
			c.judged[n] = string(cardbroker.CardReset)
		}
	}
	switch reason {
	case "", cardbroker.Indeterminate, cardbroker.CardReset, cardbroker.Unavailable:
	default:
		c.t.Errorf("%s killed %s: %v", victim, p, a.err)
	}
	doubt, one := reason == cardbroker.Indeterminate, len(a.numbers) == 1
	switch {
	case victim == "broker" && reason != "":
		c.t.Errorf("broker killed %s: %v, want an answer", p, a.err)
	case known && doubt && p != phaseExecuting, known && one && doubt != (p == phaseExecuting): // a script may have ended between two steps
		c.t.Errorf("agent killed %s: %v", p, a.err)
	case known && (p == phaseStored || p == phaseArrived) && reason != "":
		c.t.Errorf("agent killed %s: %v, want the answer", p, a.err)
	}
}

// settle goes on with the tunnel until the card answers again, and compares what it has seen with what was answered.
func (c *chaos) settle(victim string, p phase) {
	c.t.Helper()
	for tries := 0; ; tries++ {
		a := c.send(true)
		<-a.done
		reason := cardbroker.ReasonOf(a.err)
		c.judge(a, victim, p, false)
		if reason == "" {
			break
		}
		lost := reason == cardbroker.Indeterminate // it went to a sandbox that was dead, as nobody had noticed yet
		if tries == 5 || lost && victim != "sandbox" || c.tunnel.Err() != nil {
			c.t.Fatalf("%s killed %s: the tunnel does not go on: %v, %v", victim, p, a.err, c.tunnel.Err())
		}
		c.frames++
		c.tunnel.Connect(c.Context(), cardbroker.ShareShared) // should it fail, so does the next command
	}
}

// agree compares what the card has begun with what the back end was told: an answer is of a command that ran once, doubt of one that
// ran once or not at all, and any other error of one that did not run.
func (c *chaos) agree(rounds int) {
	c.t.Helper()
	c.until("the last command at the card", func() bool { c.look(); return c.seen[c.next] > 0 })
	counts := map[string]int{}
	for n := uint32(1); n <= c.next; n++ {
		reason, seen := c.judged[n], c.seen[n]
		counts[reason]++
		if reason == "" && seen != 1 || reason == string(cardbroker.Indeterminate) && seen > 1 || reason != "" && reason != string(cardbroker.Indeterminate) && seen != 0 {
			c.t.Errorf("command %d was answered %q, and the card has begun it %d times", n, reason, seen)
		}
	}
	c.t.Logf("%d kills, %d frames, commands by outcome: %v", rounds, c.frames, counts)
}
