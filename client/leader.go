// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"slices"
	"syscall"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/peer"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

// answerTimeout is how long whoever is elected may take for his first answer. It is about two users' processes on one host.
const answerTimeout = 5 * time.Second

// dialLeader opens a link to whoever is elected. What is said before his answer is no secret: the kernel is asked who listens before the
// first byte, since he should not even be asked otherwise, and whose the other end is after the answer, since the listener may have
// become another's in between. Errors: Unavailable if nobody is there, CallerRefused if it is nobody to trust, Timeout.
func (e *Elected) dialLeader(ctx context.Context) (*socket.Conn, error) {
	listener, err := e.listener()
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, e.limit)
	defer cancel()
	var below *net.TCPConn
	conn, response, err := e.links.Dial(limited, socket.Dial{
		URL: "ws://" + loopbackAddress(e.cfg.Port) + "/local/v1/link",
		Net: func(ctx context.Context) (net.Conn, error) {
			var dialer net.Dialer
			dialer.SetMultipathTCP(false)
			c, err := dialer.DialContext(ctx, "tcp4", loopbackAddress(e.cfg.Port))
			if err == nil {
				below = c.(*net.TCPConn)
			}
			return c, err
		},
	})
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case limited.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded):
		return nil, e.hangs(listener)
	case response != nil:
		return nil, e.refused(api.ReadError(response))
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, nobody(err, e.cfg.Port)
	default:
		return nil, cardbroker.Wrapf(err, cardbroker.Unavailable, "the registry at port %d has left before it answered", e.cfg.Port)
	}
	if err := e.checkServer(below, listener.User); err != nil {
		conn.Close()
		return nil, err
	}
	e.turn(api.ModeElected, listener.User, nil)
	return conn, nil
}

// listener asks the kernel who would get our connection, and whether he is to be trusted with the registry: our own user, or any if
// machine policy says so.
func (e *Elected) listener() (peer.Listener, error) {
	l, err := e.kernel.Listener(e.cfg.Port)
	switch {
	case cardbroker.RuleOf(err) == cardbroker.RuleListenerMissing:
		return l, nobody(err, e.cfg.Port)
	case cardbroker.RuleOf(err) == cardbroker.RuleListenerForeign:
		return l, cardbroker.Refusef(cardbroker.CallerRefused, cardbroker.RuleListenerForeign, "port %d, where the registry of this host is elected, is not one user's on 127.0.0.1 and [::1]: %s; "+
			"have that program ended, or a service started (cardbroker host run)", e.cfg.Port, api.Describe(err).Description)
	case err != nil:
		return l, err
	case l.User == peer.Self():
		return l, nil
	case l.User == cardbroker.UserID{}, slices.Contains(e.cfg.Service.cfg.Accounts, l.User):
		return l, cardbroker.Errorf(cardbroker.Unavailable, "a service of user %s has port %d, but none answers at %s; have it started again", named(l.User), e.cfg.Port, e.cfg.Service.cfg.Socket)
	case !e.cfg.AnyUser:
		return l, cardbroker.Refusef(cardbroker.CallerRefused, cardbroker.RuleListenerForeign, "port %d, where the registry of this host is elected, is a program's of user %s, "+
			"and agents trust nobody else's (election.scope: same_user); have that program ended, or a service started (cardbroker host run)", e.cfg.Port, named(l.User))
	}
	return l, nil
}

// checkServer checks whose the other end is of a connection that was answered.
func (e *Elected) checkServer(conn *net.TCPConn, leader cardbroker.UserID) error {
	server, err := e.kernel.Lookup(conn.RemoteAddr().(*net.TCPAddr).AddrPort(), conn.LocalAddr().(*net.TCPAddr).AddrPort())
	if err == nil {
		err = peer.Established(conn)
	}
	switch {
	case cardbroker.ReasonOf(err) == cardbroker.CallerRefused: // it is closing
		return cardbroker.Wrapf(err, cardbroker.Unavailable, "the registry at port %d has left", e.cfg.Port)
	case err == nil && server.User != leader:
		return cardbroker.Refusef(cardbroker.CallerRefused, cardbroker.RuleListenerForeign, "user %s has answered at port %d in the place of user %s", named(server.User), e.cfg.Port, named(leader))
	}
	return err
}

// refused is what the registry has answered, if that is no reason to try again at once.
func (e *Elected) refused(err error) error {
	switch cardbroker.ReasonOf(err) {
	case cardbroker.Unavailable, cardbroker.NoLeader, cardbroker.Overloaded: // it is just coming, or going
		return cardbroker.Wrapf(err, cardbroker.Unavailable, "the registry at port %d is not ready", e.cfg.Port)
	case cardbroker.NotFound:
		return cardbroker.Wrapf(err, cardbroker.Unsupported, "what listens at port %d is no registry that agents elect", e.cfg.Port)
	}
	return fmt.Errorf("the registry at port %d refuses this agent: %w", e.cfg.Port, err)
}

// hangs says who does not answer. The kernel keeps his port for him for as long as his process is there.
func (e *Elected) hangs(l peer.Listener) error {
	who := "a process"
	pid, name := 0, ""
	if l.User == peer.Self() {
		pid, name = peer.LockedBy(e.cfg.Store)
	}
	if pid != 0 {
		who = fmt.Sprintf("process %d (%s)", pid, name)
	}
	return cardbroker.Errorf(cardbroker.Timeout, "the registry of this host hangs: %s of user %s has port %d and does not answer within %v; end it",
		who, named(l.User), e.cfg.Port, e.limit)
}

func nobody(err error, port cardbroker.Port) error {
	return cardbroker.Wrapf(err, cardbroker.Unavailable, "no registry is at port %d", port)
}

// named is a user for people: his number, and his name if he has one.
func named(id cardbroker.UserID) string {
	if u, err := user.LookupId(id.String()); err == nil {
		return id.String() + " (" + u.Username + ")"
	}
	return id.String()
}
