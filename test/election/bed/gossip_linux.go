// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package bed

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker/test/election/actor"
	"github.com/cardbroker/cardbroker/test/stage"
)

// Gossip goes between ports that the system chose. So does nothing else: of every other connection one end is the well-known port or an
// agent's.
const chosenPorts = "32768-60999"

// CutGossip has the kernel refuse all datagrams, and all segments between two ports that the system chose.
func (b *Bed) CutGossip() error {
	return rules(
		"add pref 10 table local", "del pref 0", // the table that leads to ourselves comes after ours
		"add pref 5 ipproto udp prohibit",
		"add pref 6 ipproto tcp sport "+chosenPorts+" dport "+chosenPorts+" prohibit",
	)
}

// MendGossip undoes that.
func (b *Bed) MendGossip() error {
	return rules("add pref 0 table local", "del pref 10", "del pref 5", "del pref 6")
}

func rules(changes ...string) error {
	for _, change := range changes {
		if out, err := exec.Command("ip", append([]string{"rule"}, strings.Fields(change)...)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip rule %s: %s", change, out)
		}
	}
	return nil
}

// Stranger is a user without an agent.
func (b *Bed) Stranger() *stage.Person { return &b.users[len(b.users)-1] }

// PlayAs starts an actor that says something, and returns what reads it and what ends the actor.
func (b *Bed) PlayAs(user *stage.Person, name string, args ...string) (said *bufio.Reader, end func(), err error) {
	cmd := b.Command(user, actor.Name, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := b.StartActor(cmd, name); err != nil {
		return nil, nil, err
	}
	return bufio.NewReader(out), func() { cmd.Process.Kill(); cmd.Wait() }, nil
}

// Members are processes that gossip, and know nothing else.
type Members struct {
	bed     *Bed
	members []*member
}

type member struct {
	name, address string
	said          *json.Decoder
	end           func()
}

// StartMembers starts n of them, who know each other then.
func (b *Bed) StartMembers(n int) (*Members, error) {
	m := &Members{bed: b}
	for i := range n {
		if err := m.start(fmt.Sprint("member-", i)); err != nil {
			return nil, err
		}
	}
	<-time.After(settleTime)
	return m, nil
}

// settleTime is how long members take to know all of each other.
const settleTime = 2 * time.Second

func (m *Members) start(name string) error {
	args := []string{"member", name}
	for _, other := range m.members {
		args = append(args, other.address)
	}
	out, end, err := m.bed.PlayAs(nil, name, args...)
	if err != nil {
		return err
	}
	one := &member{name: name, said: json.NewDecoder(out), end: end}
	var first actor.MemberSays
	if err := one.said.Decode(&first); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	one.address = first.Address
	m.members = append(m.members, one)
	return nil
}

// Kill kills the member that is the oldest, waits until all others know, and returns how long that took. Then another takes its place.
func (m *Members) Kill(ctx context.Context, round int) (time.Duration, error) {
	victim, others := m.members[0], m.members[1:]
	began := time.Now()
	victim.end()
	m.members = others
	last := began
	for _, other := range others {
		for {
			said, err := other.next(ctx)
			if err != nil {
				return 0, fmt.Errorf("%s does not know that %s is dead: %w", other.name, victim.name, err)
			}
			if said.Dead == victim.name {
				if said.At.After(last) {
					last = said.At
				}
				break
			}
		}
	}
	err := m.start(fmt.Sprint(victim.name, "-", round))
	<-time.After(settleTime / 4)
	return last.Sub(began), err
}

// next reads the next line, unless ctx ends before.
func (m *member) next(ctx context.Context) (said actor.MemberSays, err error) {
	defer context.AfterFunc(ctx, m.end)()
	err = m.said.Decode(&said)
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return said, err
}
