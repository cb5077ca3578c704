// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package hostsession_test

import (
	"context"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/hostsession"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/test/loginbed"
)

// leader starts a process that a session can begin with, and returns what ends it.
func leader(t *testing.T) (pid int, end func()) {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = func() { cmd.Process.Kill(); cmd.Wait() }
	t.Cleanup(end)
	return cmd.Process.Pid, end
}

// watched is a session of logind that is watched.
type watched struct {
	*loginbed.Login
	t      *testing.T
	events chan hostsession.Event
	done   chan error
	stop   func()
}

func watch(t *testing.T, bed *loginbed.Bed, login *loginbed.Login) *watched {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &watched{Login: login, t: t, events: make(chan hostsession.Event, 64), done: make(chan error, 1), stop: cancel}
	s := hostsession.OnBus(hostsession.Session{ID: cardbroker.SessionID(login.ID), Kind: hostsession.Logind}, bed.Address)
	go func() { w.done <- s.Watch(ctx, func(e hostsession.Event) { w.events <- e }) }()
	t.Cleanup(cancel)
	w.want(hostsession.Watched)
	return w
}

// want waits for these events, and no others.
func (w *watched) want(events ...hostsession.Event) {
	w.t.Helper()
	for _, want := range events {
		select {
		case got := <-w.events:
			if got != want {
				w.t.Fatalf("the session tells %q, want %q", got, want)
			}
		case <-time.After(20 * time.Second):
			w.t.Fatalf("the session never tells %q", want)
		}
	}
}

// TestLogind has a real logind tell of a session's life.
func TestLogind(t *testing.T) {
	bed := loginbed.New(t)
	first, endFirst := leader(t)
	second, _ := leader(t)
	login := bed.Login(os.Getuid(), first, "seat0")
	other := bed.Login(os.Getuid(), second, "seat0")
	login.Call("ActivateSession")
	w := watch(t, bed, login)
	login.Call("LockSession")
	w.want(hostsession.LockAsked)
	login.SetLockedHint(true)
	w.want(hostsession.Locked)
	other.Call("ActivateSession")
	w.want(hostsession.Away)
	again := watch(t, bed, login) // who comes later hears how it stands
	again.want(hostsession.Locked, hostsession.Away)
	login.Call("ActivateSession")
	w.want(hostsession.Back)
	login.SetLockedHint(false)
	w.want(hostsession.Unlocked)
	again.want(hostsession.Back, hostsession.Unlocked)
	endFirst() // logind itself keeps the session for as long as something runs in it
	w.want(hostsession.Ended)
	if err := <-w.done; err != nil {
		t.Errorf("Watch of a session that has ended = %v", err)
	}
}

// TestLogindIsGone takes away, one after the other, logind and the bus.
func TestLogindIsGone(t *testing.T) {
	bed := loginbed.New(t)
	pid, _ := leader(t)
	login := bed.Login(os.Getuid(), pid, "")
	login.SetLockedHint(true)
	w := watch(t, bed, login)
	w.want(hostsession.Locked)
	stopped := watch(t, bed, login)
	stopped.want(hostsession.Locked)
	stopped.stop()
	if err := <-stopped.done; err != context.Canceled {
		t.Errorf("Watch of one who has left = %v, want canceled", err)
	}

	bed.StopLogind()  // the session stands as it stood
	bed.StartLogind() // which, in this bed, knows nothing of it any more
	w.want(hostsession.Ended)

	next := bed.Login(os.Getuid(), pid, "")
	if next.ID != login.ID {
		t.Logf("the next session is %s", next.ID)
	}
	next.SetLockedHint(true)
	w = watch(t, bed, next)
	w.want(hostsession.Locked)
	bed.StopBus()
	if err := <-w.done; cardbroker.ReasonOf(err) != cardbroker.Unavailable {
		t.Errorf("Watch without a bus = %v, want unavailable", err)
	}
}

// TestForeignSession asks for sessions that are none of ours: nothing is told of them.
func TestForeignSession(t *testing.T) {
	bed := loginbed.New(t)
	pid, _ := leader(t)
	theirs := bed.Login(65534, pid, "")
	for name, s := range map[string]hostsession.Session{
		"of another user": hostsession.OnBus(hostsession.Session{ID: cardbroker.SessionID(theirs.ID), Kind: hostsession.Logind}, bed.Address),
		"unknown":         hostsession.OnBus(hostsession.Session{ID: "404", Kind: hostsession.Logind}, bed.Address),
		"without a bus":   hostsession.OnBus(hostsession.Session{ID: "1", Kind: hostsession.Logind}, "unix:path=/nonexistent/bus"),
		"of nobody":       {ID: "uid:0", Kind: hostsession.None},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		err := s.Watch(ctx, func(e hostsession.Event) { t.Errorf("a session %s tells %q", name, e) })
		if cardbroker.ReasonOf(err) != cardbroker.Unsupported {
			t.Errorf("Watch of a session %s = %v, want unsupported", name, err)
		}
	}
}

// naive believes every signal that reaches it. It asked the bus for logind's only.
func naive(t *testing.T, address string, login *loginbed.Login) (name string, signals chan *dbus.Signal) {
	t.Helper()
	conn, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	err = conn.AddMatchSignal(dbus.WithMatchSender("org.freedesktop.login1"), dbus.WithMatchObjectPath(login.Path))
	if err != nil {
		t.Fatal(err)
	}
	signals = make(chan *dbus.Signal, 64)
	conn.Signal(signals)
	return conn.Names()[0], signals
}

// TestForgedSignals has another user of the bus send what looks like logind's signals, to one watcher alone: match rules do
// not hold off what is sent to somebody by name.
func TestForgedSignals(t *testing.T) {
	dbusSend := testenv.Tool(t, "dbus-send")
	bed := loginbed.New(t)
	pid, _ := leader(t)
	login := bed.Login(os.Getuid(), pid, "")
	login.SetLockedHint(true)
	ours := watch(t, bed, login)
	ours.want(hostsession.Locked)
	trusting, signals := naive(t, bed.Address, login)

	path, session := string(login.Path), "org.freedesktop.login1.Session"
	for _, forged := range [][]string{
		{path, session + ".Lock"},
		{path, session + ".Unlock"},
		{path, "org.freedesktop.DBus.Properties.PropertiesChanged", "string:" + session, "dict:string:variant:", "array:string:LockedHint"},
		{"/org/freedesktop/login1", "org.freedesktop.login1.Manager.SessionRemoved", "string:" + login.ID, "objpath:" + path},
		{"/org/freedesktop/DBus", "org.freedesktop.DBus.NameOwnerChanged", "string:org.freedesktop.login1", "string:", "string:" + trusting},
	} {
		t.Run(forged[1], func(t *testing.T) {
			fooled := false
			for _, to := range bed.Names() {
				if forged[1] == "org.freedesktop.DBus.Properties.PropertiesChanged" { // dbus-send makes no empty dictionary
					forged = forged[:3]
				}
				args := append([]string{"--bus=" + bed.Address, "--type=signal", "--dest=" + to}, forged...)
				cmd := exec.Command(dbusSend, args...)
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("dbus-send: %s", out)
				}
				fooled = fooled || to == trusting
			}
			if !fooled {
				t.Fatal("the naive watcher is not on the bus")
			}
			select {
			case s := <-signals:
				if s.Name != forged[1] {
					t.Errorf("the naive watcher got %s", s.Name)
				}
			case <-time.After(10 * time.Second):
				t.Error("the naive watcher was not fooled: the attack does not work")
			}
		})
	}
	login.SetLockedHint(false)
	ours.want(hostsession.Unlocked) // and nothing before
}
