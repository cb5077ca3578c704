// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package bed

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// registered is the word for an agent that the registry has.
const registered = "REGISTERED"

// How often a user asks: a registry lets him do so 100 times a second in the long run.
const (
	firstPoll = 5 * time.Millisecond
	lastPoll  = 20 * time.Millisecond
)

// Arrival is when a registry answered.
type Arrival struct{ First, All time.Time }

// Await waits until the registry that was elected lists every agent that runs, to its own user, as registered at its port, and returns
// when that was, when it answered first, and what it said, by user. Only a registry of an epoch above after counts.
func (b *Bed) Await(ctx context.Context, after uint64) (at Arrival, lists map[uint32]List, err error) {
	return b.awaitAt(ctx, ListOf, after)
}

func (b *Bed) awaitAt(ctx context.Context, ask Source, after uint64) (at Arrival, lists map[uint32]List, err error) {
	lists = make(map[uint32]List)
	var missing error
	wait := firstPoll
	for _, uid := range b.Owners() {
		for {
			list, err := ask(ctx, uid)
			if err == nil && list.Epoch > after && at.First.IsZero() {
				at.First = time.Now()
			}
			if err == nil {
				err = b.complete(uid, list, after)
			}
			if err == nil {
				lists[uid] = list
				break
			}
			if ctx.Err() == nil || missing == nil {
				missing = err
			}
			select {
			case <-time.After(wait):
				wait = min(wait+wait/20, lastPoll)
			case <-ctx.Done():
				return at, nil, fmt.Errorf("after epoch %d, the lists of %d users were complete: %w", after, len(lists), missing)
			}
		}
	}
	at.All = time.Now()
	return at, lists, nil
}

// complete says what is missing in what a user is told of his agents.
func (b *Bed) complete(uid uint32, list List, after uint64) error {
	if list.Epoch <= after {
		return fmt.Errorf("epoch %d answers", list.Epoch)
	}
	at := make(map[string]Row)
	for _, row := range list.Sessions {
		at[row.Session] = row
	}
	for _, a := range b.Agents {
		if a.PID() == 0 || a.UID() != uid {
			continue
		}
		if row := at[a.Session]; row.State != registered || row.Port != a.Port {
			return fmt.Errorf("agent %s of user %d at port %d is listed as %+v", a.Session, uid, a.Port, row)
		}
	}
	return nil
}

// Check checks what the registry says to all users at one time: no port is there twice, everything that is registered is of
// who asks, and the kernel says that he listens there.
func Check(lists map[uint32]List) error {
	listeners, err := Listeners()
	if err != nil {
		return err
	}
	owners := make(map[int]map[uint32]bool)
	for _, s := range listeners {
		port := int(s.Address.Port())
		if owners[port] == nil {
			owners[port] = make(map[uint32]bool)
		}
		owners[port][s.UID] = true
	}
	for _, users := range owners {
		delete(users, 0) // a service holds a port whose agent has just left it, as if nobody did
	}
	var wrong []error
	holder := make(map[int]string)
	var epoch uint64
	for uid, list := range lists {
		if epoch != 0 && epoch != list.Epoch {
			return nil // the office has changed hands meanwhile
		}
		epoch = list.Epoch
		for _, row := range list.Sessions {
			if row.State != registered || !row.ListenerOK {
				continue // its link is about to end
			}
			who := fmt.Sprintf("%s of user %d", row.Session, uid)
			if row.UID != uid {
				wrong = append(wrong, fmt.Errorf("user %d is told of %+v", uid, row))
			}
			if other, taken := holder[row.Port]; taken {
				wrong = append(wrong, fmt.Errorf("port %d is that of %s and of %s", row.Port, other, who))
			}
			holder[row.Port] = who
			if by := owners[row.Port]; len(by) > 1 || len(by) == 1 && !by[uid] {
				wrong = append(wrong, fmt.Errorf("port %d is listed as that of %s, and users %v listen there", row.Port, who, by))
			}
		}
	}
	return errors.Join(wrong...)
}

// Kept checks that what writers had been acknowledged before, and have neither given back nor lost since, is listed at the same
// port. It gives them until ctx ends to come back. It returns how many entries it has checked.
func Kept(ctx context.Context, ask Source, writers []Writer) (checked int, err error) {
	for _, w := range writers {
		before, err := w.Read()
		if err != nil {
			return checked, err
		}
		for {
			list, err := ask(ctx, w.UID)
			now, failed := w.Read()
			if failed != nil {
				return checked, failed
			}
			if len(now.Refused) > 0 {
				return checked, fmt.Errorf("acknowledged and lost: %s", now.Refused[0])
			}
			var same int
			if err == nil {
				same, err = now.missing(before, list)
			}
			if err == nil {
				checked += same
				break
			}
			select {
			case <-time.After(5 * time.Millisecond):
			case <-ctx.Done():
				return checked, err
			}
		}
	}
	return checked, nil
}

// missing looks for the entries that are held now and were before.
func (n Notes) missing(before Notes, list List) (same int, err error) {
	at := make(map[string]Row)
	for _, row := range list.Sessions {
		at[row.Session] = row
	}
	for session, port := range n.Held {
		if before.Held[session] != port {
			continue
		}
		same++
		if row := at[session]; row.Port != port || row.State != registered {
			return same, fmt.Errorf("port %d of %s was acknowledged and is listed as %+v", port, session, row)
		}
	}
	return same, nil
}
