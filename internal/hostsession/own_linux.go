// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package hostsession

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"github.com/cardbroker/cardbroker"
)

// Own returns the session of this process: the one of logind, else of the kernel's audit, else of xrdp; else "uid:" and the
// user's number, where the system has none.
func Own() Session {
	chain := ancestors(os.Getpid())
	if id, ok := scopeOf("self"); ok {
		return Session{ID: id, Kind: Logind, leader: leaderOf(id, chain)}
	}
	if id, ok := auditOf("self"); ok {
		return Session{ID: id, Kind: Audit, leader: leaderOf(id, chain)}
	}
	if leader, ok := xrdpLeader(chain); ok {
		return Session{ID: xrdpID(os.Getenv("DISPLAY"), leader), Kind: XRDP, leader: leader}
	}
	return Session{ID: cardbroker.SessionID("uid:" + strconv.Itoa(os.Geteuid())), Kind: None}
}

// leaderOf returns the uppermost process of the chain that is in the session: the one that logged the user in. The session
// ends with it. It is zero where nothing above us is in the session, as for a program that was left behind.
func leaderOf(id cardbroker.SessionID, chain []stat) (leader process) {
	for _, s := range chain[min(1, len(chain)):] {
		if of, ok := ofProcess(strconv.Itoa(s.pid)); !ok || of != id {
			break
		}
		leader = s.process
	}
	return leader
}

// xrdpLeader returns the process of the chain that xrdp's session manager, root's, has started for the user: his window
// manager, or the script that starts it. The session ends with it.
func xrdpLeader(chain []stat) (process, bool) {
	for i := range max(len(chain), 1) - 1 {
		manager := chain[i+1]
		if manager.name == "xrdp-sesman" || manager.name == "xrdp-sesexec" { // since 0.10 each session has one of its own
			uid, ok := userOf(manager.pid)
			return chain[i].process, ok && uid == 0
		}
	}
	return process{}, false
}

// xrdpID names a session of xrdp. Displays are numbered anew at once, so the number alone would name the next session, too.
func xrdpID(display string, leader process) cardbroker.SessionID {
	number := displayName(display)
	if number == "" {
		number = ":"
	}
	return cardbroker.SessionID(fmt.Sprintf("xrdp%s-%d", number, leader.start))
}

// Watch tells what happens to the session, beginning with what is not as in a session that is used, until it has ended:
// then it has told Ended and returns nil. tell must not block. Errors: that of ctx, Unsupported if nothing can be known of
// this session, Unavailable if it cannot be watched (any more).
func (s Session) Watch(ctx context.Context, tell func(Event)) error {
	if s.Kind == Logind || s.Kind == Audit {
		err := s.watchLogind(ctx, tell)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if cardbroker.ReasonOf(err) != cardbroker.Unsupported {
			return err
		}
	}
	if s.leader == (process{}) {
		return cardbroker.Errorf(cardbroker.Unsupported, "nothing tells of a session of kind %s", s.Kind)
	}
	if err := s.leader.await(ctx); err != nil {
		return err
	}
	tell(Ended)
	return nil
}
