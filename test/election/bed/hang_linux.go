// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package bed

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
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

// Accused asks the doctor of each user with an agent: the registry hangs, by the word of all. The leader's own user is told which
// process that is; the others, who may not see it, are told whose.
func (b *Bed) Accused(leader *Agent) error {
	for i, uid := range b.Owners() {
		user, want := b.users[i], fmt.Sprint(leader.UID())
		if uid == leader.UID() {
			want = fmt.Sprint(leader.PID())
		}
		out, err := b.Run(&user, "cardbroker", "agent", "doctor", "--json", "--config", b.Path("agent.yaml"), "--policy", b.Path("policy.d"),
			"--state", user.Home+"/state", "--socket", b.Path("no-broker.sock"))
		if err != nil {
			return err
		}
		var said struct {
			Mode   string
			Checks []struct{ ID, Status, Detail, Fix string }
		}
		if err := json.Unmarshal(out.Stdout, &said); err != nil {
			return fmt.Errorf("doctor of user %d says %s%s: %w", uid, out.Stdout, out.Stderr, err)
		}
		found := false
		for _, check := range said.Checks {
			found = found || check.Status == "fail" && strings.Contains(check.Detail+check.Fix, want) && strings.Contains(check.Detail, "hang")
		}
		if !found {
			return fmt.Errorf("doctor of user %d does not say that the registry of %s hangs: %s", uid, want, out.Stdout)
		}
	}
	return nil
}
