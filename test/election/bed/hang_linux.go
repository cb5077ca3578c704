// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package bed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cardbroker/cardbroker/test/stage"
)

// Still looks on for a while: the well-known port stays with the agent, and with nobody else.
func (b *Bed) Still(ctx context.Context, leader *Agent, d time.Duration) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); {
		now, err := b.Leader()
		if err != nil {
			return err
		}
		if now != leader {
			return fmt.Errorf("agent %s was stopped, and %+v holds the port", leader.Session, now)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Accused asks the doctors of the leader's user and of another: the registry hangs, by the word of both. Its own user is told which
// process that is; others, who may not see it, are told whose.
func (b *Bed) Accused(leader *Agent) error {
	var failed [2]error
	var all sync.WaitGroup
	owner := slices.IndexFunc(b.users, func(p stage.Person) bool { return p.Cred.Uid == leader.UID() })
	for i, want := range []int{leader.PID(), int(leader.UID())} {
		user := b.users[(owner+i)%len(b.users)]
		all.Go(func() { failed[i] = b.accuses(user, want) })
	}
	all.Wait()
	return errors.Join(failed[:]...)
}

// accuses asks the doctor of a user, who is to name a process or a user.
func (b *Bed) accuses(user stage.Person, want int) error {
	out, err := b.Run(&user, "cardbroker", "agent", "doctor", "--json", "--config", b.Path("agent.yaml"), "--policy", b.Path("policy.d"),
		"--state", user.Home+"/state", "--socket", b.socket())
	if err != nil {
		return err
	}
	var said struct {
		Checks []struct{ ID, Status, Detail, Fix string }
	}
	if err := json.Unmarshal(out.Stdout, &said); err != nil {
		return fmt.Errorf("doctor of %s says %s%s: %w", user.Name, out.Stdout, out.Stderr, err)
	}
	for _, check := range said.Checks {
		if check.Status == "fail" && strings.Contains(check.Detail, "hang") && strings.Contains(check.Detail, fmt.Sprint(want)) {
			return nil
		}
	}
	return fmt.Errorf("doctor of %s does not say that the registry of %d hangs: %s", user.Name, want, out.Stdout)
}
