// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"fmt"
	"slices"

	"github.com/cardbroker/cardbroker"
)

// CheckInvariants returns what must never be true of the table, asked in its loop.
func CheckInvariants(ctx context.Context, r *Registry) error {
	_, err := ask(ctx, r, func(t *tx) (struct{}, error) { return struct{}{}, t.invariants() })
	return err
}

func (t *table) invariants() error {
	held := make(map[cardbroker.AgentKey]cardbroker.Port)
	users := make(map[cardbroker.UserID]holdings)
	for port, s := range t.slots {
		a := s.agent
		count := users[a.Key.User]
		if s.held() {
			count.held++
		} else {
			count.quarantined++
		}
		users[a.Key.User] = count
		other, twice := held[a.Key]
		_, inRange := slices.BinarySearch(t.cfg.Ports, port)
		switch {
		case a.Port != port:
			return fmt.Errorf("slot %d is of port %d", port, a.Port)
		case !inRange:
			return fmt.Errorf("port %d is out of range", port)
		case s.held() && twice:
			return fmt.Errorf("agent %v has ports %d and %d", a.Key, other, port)
		case s.held() && t.ports[a.Key] != port:
			return fmt.Errorf("agent %v has port %d, the index says %d", a.Key, port, t.ports[a.Key])
		case (a.State == cardbroker.Registered) != s.deadline.IsZero():
			return fmt.Errorf("agent %v is %q with deadline %v", a.Key, a.State, s.deadline)
		case (a.State == cardbroker.Registered || a.State == cardbroker.Stale) != (a.Route != ""):
			return fmt.Errorf("agent %v is %q with route %q", a.Key, a.State, a.Route)
		}
		if s.held() {
			held[a.Key] = port
		}
	}
	if len(held) != len(t.ports) {
		return fmt.Errorf("%d agents, the index has %d", len(held), len(t.ports))
	}
	for user, h := range t.users {
		if users[user] != h || h.held > t.cfg.PerUser || h.quarantined > t.cfg.PerUser {
			return fmt.Errorf("user %s has %+v, counted %+v", user, users[user], h)
		}
	}
	return nil
}
