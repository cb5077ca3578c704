// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package hostsession

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/loop"
	"github.com/cardbroker/cardbroker/internal/run"
)

// The interface of systemd-logind and elogind, org.freedesktop.login1(5).
const (
	login1  = "org.freedesktop.login1"
	manager = login1 + ".Manager"
	session = login1 + ".Session"
	busName = "org.freedesktop.DBus"
)

// busTimeout is how long logind may take for an answer.
const busTimeout = 10 * time.Second

// logind watches one of its sessions. Signals only wake it, and it asks how the session stands: on the system bus any user
// may send signals that look like logind's, also to us alone, past every match rule.
type logind struct {
	conn  *dbus.Conn
	path  dbus.ObjectPath
	owner atomic.Pointer[string] // unique name of logind on the bus, as the bus itself says
	asked atomic.Bool            // logind has asked for the screen to be locked
	wake  chan struct{}          // capacity 1
}

// DeliverSignal implements [dbus.SignalHandler]. It is called by the goroutine that reads from the bus: it takes a note and
// returns, and takes none of who is not logind. Only the bus says who sent a signal.
func (l *logind) DeliverSignal(iface, name string, s *dbus.Signal) {
	switch owner := l.owner.Load(); {
	case s.Sender == busName: // logind comes or goes
	case owner == nil || *owner == "" || s.Sender != *owner:
		return
	case iface == session && name == "Lock" && s.Path == l.path:
		l.asked.Store(true)
	}
	loop.Signal(l.wake)
}

// watchLogind is Watch over the bus. It is Unsupported where no logind knows the session.
func (s Session) watchLogind(ctx context.Context, tell func(Event)) error {
	group := run.New(ctx)
	defer group.Stop()
	l := &logind{wake: make(chan struct{}, 1)}
	leader, err := l.connect(group.Context(), s)
	if err != nil {
		return err
	}
	defer l.conn.Close()
	over := make(chan struct{})
	if leader.pid > 0 { // a session whose leader has ended lives on for logind while something runs in it: we do
		group.Go("leader", func(ctx context.Context) error {
			if leader.await(ctx) == nil {
				close(over)
			}
			return nil
		})
	}
	var told state
	for first := true; ; first = false {
		now, err := l.read(ctx, told)
		if err != nil {
			return err
		}
		if first {
			tell(Watched)
		}
		if l.asked.Swap(false) {
			tell(LockAsked)
		}
		told.tell(now, tell)
		if told = now; now.ended {
			return nil
		}
		select {
		case <-l.wake:
		case <-over:
			tell(Ended)
			return nil
		case <-l.conn.Context().Done():
			return cardbroker.Errorf(cardbroker.Unavailable, "the system bus is gone")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// connect finds the session on the bus, and the process that logged its user in.
func (l *logind) connect(ctx context.Context, s Session) (leader process, err error) {
	address := s.bus
	if address == "" {
		address = os.Getenv("DBUS_SYSTEM_BUS_ADDRESS") // as all clients of the bus
	}
	if address == "" {
		address = "unix:path=/run/dbus/system_bus_socket"
	}
	conn, err := dbus.Connect(address, dbus.WithSignalHandler(l), dbus.WithContext(ctx))
	if err != nil {
		return process{}, cardbroker.Wrapf(err, cardbroker.Unsupported, "no system bus answers")
	}
	if err := l.find(ctx, conn, string(s.ID)); err != nil {
		conn.Close()
		return process{}, err
	}
	l.conn = conn
	var pid uint32
	if value, err := l.session().GetProperty(session + ".Leader"); err == nil && value.Store(&pid) == nil {
		if found, err := readStat(int(pid)); err == nil {
			leader = found.process
		}
	}
	return leader, nil
}

// find subscribes to what logind says, and asks it for the session. A session of another user is none of ours.
func (l *logind) find(ctx context.Context, conn *dbus.Conn, id string) error {
	ctx, cancel := context.WithTimeout(ctx, busTimeout)
	defer cancel()
	manage := conn.Object(login1, "/org/freedesktop/login1")
	if err := manage.CallWithContext(ctx, manager+".GetSession", 0, id).Store(&l.path); err != nil {
		return cardbroker.Wrapf(err, cardbroker.Unsupported, "logind does not know the session")
	}
	for _, rule := range [][]dbus.MatchOption{
		{dbus.WithMatchSender(login1), dbus.WithMatchObjectPath(l.path)},
		{dbus.WithMatchSender(login1), dbus.WithMatchInterface(manager), dbus.WithMatchMember("SessionRemoved")},
		{dbus.WithMatchSender(busName), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, login1)},
	} {
		if err := conn.AddMatchSignalContext(ctx, rule...); err != nil {
			return cardbroker.Wrapf(err, cardbroker.Unavailable, "cannot subscribe to logind")
		}
	}
	return nil
}

func (l *logind) session() dbus.BusObject { return l.conn.Object(login1, l.path) }

// read asks how the session stands. While no logind is there, as when it is being restarted, it stands as before.
func (l *logind) read(ctx context.Context, before state) (state, error) {
	ctx, cancel := context.WithTimeout(ctx, busTimeout)
	defer cancel()
	var owner string
	err := l.conn.BusObject().CallWithContext(ctx, busName+".GetNameOwner", 0, login1).Store(&owner)
	l.owner.Store(&owner)
	if isError(err, busName+".Error.NameHasNoOwner") {
		return before, nil
	}
	var found struct {
		Active, LockedHint bool
		State              string
		User               struct {
			UID  uint32
			Path dbus.ObjectPath
		}
	}
	properties := map[string]dbus.Variant{}
	if err == nil {
		err = l.session().CallWithContext(ctx, busName+".Properties.GetAll", 0, session).Store(&properties)
	}
	if isError(err, login1+".NoSuchSession", busName+".Error.UnknownObject") {
		before.ended = true
		return before, nil
	}
	for name, to := range map[string]any{"Active": &found.Active, "State": &found.State, "User": &found.User} {
		if err == nil {
			err = properties[name].Store(to)
		}
	}
	if hint, ok := properties["LockedHint"]; ok && err == nil { // since systemd 230
		err = hint.Store(&found.LockedHint)
	}
	if err != nil {
		return before, cardbroker.Wrapf(err, cardbroker.Unavailable, "logind does not say how the session stands")
	}
	if found.User.UID != uint32(os.Geteuid()) {
		return before, cardbroker.Errorf(cardbroker.Unsupported, "logind's session of that name is another user's")
	}
	return state{locked: found.LockedHint, away: !found.Active, ended: found.State == "closing"}, nil
}

// isError says whether err is one of these errors of D-Bus.
func isError(err error, names ...string) bool {
	e, ok := errors.AsType[dbus.Error](err)
	for _, name := range names {
		if ok && e.Name == name {
			return true
		}
	}
	return false
}
