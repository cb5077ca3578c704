// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package bed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker/test/election/actor"
)

// Crowd is many sessions of many users that hold a link each, in a few processes.
type Crowd struct {
	parts []*json.Decoder
	ends  []func()
	last  []actor.CrowdSays

	first       uint32
	users, each int
}

// StartCrowd starts as many processes as parts says, which play as many users each, from the first on, with so many sessions each.
func (b *Bed) StartCrowd(parts int, first uint32, users, each int) (*Crowd, error) {
	c := &Crowd{first: first, users: parts * users, each: each, last: make([]actor.CrowdSays, parts)}
	for i := range parts {
		said, end, err := b.PlayAs(nil, fmt.Sprint("crowd", i), "crowd", fmt.Sprint(Port), fmt.Sprint(int(first)+i*users), fmt.Sprint(users), fmt.Sprint(each))
		if err != nil {
			return nil, err
		}
		c.parts, c.ends = append(c.parts, json.NewDecoder(said)), append(c.ends, end)
	}
	return c, nil
}

// Await waits until all have a registry of at least that epoch, and returns when the last one had.
func (c *Crowd) Await(ctx context.Context, epoch uint64, limit time.Duration) (last time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for i, part := range c.parts {
		stop := context.AfterFunc(ctx, c.ends[i])
		for c.last[i].Epoch < epoch {
			if err := part.Decode(&c.last[i]); err != nil {
				return last, errors.Join(fmt.Errorf("a part of the crowd is not attached to epoch %d: %w", epoch, err), ctx.Err())
			}
		}
		stop()
		if c.last[i].At.After(last) {
			last = c.last[i].At
		}
	}
	return last, nil
}

// CheckCrowd asks as each of the users: all that he holds is there, and nothing else.
func (b *Bed) CheckCrowd(ctx context.Context, c *Crowd) error {
	lists := make(map[uint32]List)
	for i := range c.users {
		uid := c.first + uint32(i)
		list, err := ListOf(ctx, uid)
		if err != nil {
			return err
		}
		there := 0
		for _, row := range list.Sessions {
			if row.State == registered && row.ListenerOK {
				there++
			}
		}
		if there != c.each {
			return fmt.Errorf("user %d has %d sessions, want %d: %+v", uid, there, c.each, list)
		}
		lists[uid] = list
	}
	return Check(lists)
}

// Roles returns the processes of the agents that gossip, and of those that neither do nor lead.
func (b *Bed) Roles() (voters, watchers []int, err error) {
	leader, err := b.Leader()
	if err != nil {
		return nil, nil, err
	}
	gossip, err := b.Voters()
	if err != nil {
		return nil, nil, err
	}
	is := make(map[*Agent]bool)
	for _, a := range gossip {
		voters = append(voters, a.PID())
		is[a] = true
	}
	for _, a := range b.Agents {
		if a.PID() != 0 && a != leader && !is[a] {
			watchers = append(watchers, a.PID())
		}
	}
	return voters, watchers, nil
}

// Busy returns how long a process has kept a processor, in ns: the first number of schedstat, of all its threads.
func Busy(pid int) (int, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("process %d has no threads: %w", pid, err)
	}
	sum := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return 0, err
		}
		word, _, _ := strings.Cut(string(text), " ")
		n, err := strconv.Atoi(word)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// AllBusy returns how long all agents but one have kept a processor.
func (b *Bed) AllBusy(but *Agent) (sum time.Duration) {
	for _, a := range b.Agents {
		if a == but || a.PID() == 0 {
			continue
		}
		busy, _ := Busy(a.PID()) // of who ends meanwhile it does not matter
		sum += time.Duration(busy)
	}
	return sum
}
