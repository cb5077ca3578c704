// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package loginbed

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/cardbroker/cardbroker/internal/testenv"
)

// daemon is where Debian has logind.
const daemon = "/usr/lib/systemd/systemd-logind"

const (
	login1   = "org.freedesktop.login1"
	manager  = login1 + ".Manager"
	systemd1 = "org.freedesktop.systemd1"
)

// busConfig lets everybody talk and listen, as the system's bus does for signals.
const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=SOCKET</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow send_type="method_call"/><allow send_type="signal"/>
<allow send_requested_reply="true" send_type="method_return"/><allow send_requested_reply="true" send_type="error"/>
<allow receive_type="method_call"/><allow receive_type="method_return"/><allow receive_type="error"/>
<allow receive_type="signal"/></policy>
<policy user="root"><allow own="*"/></policy></busconfig>
`

// Bed is a bus with a logind on it.
type Bed struct {
	Address string // of the bus

	t      testing.TB
	dir    string
	conn   *dbus.Conn // root's
	bus    *exec.Cmd
	logind *exec.Cmd
}

// New starts a bus and a logind, which end with the test.
func New(t testing.TB) *Bed {
	t.Helper()
	testenv.Root(t)
	testenv.Tool(t, "dbus-daemon")
	testenv.Tool(t, daemon)
	dir, err := os.MkdirTemp("", "cardbroker-bus-") // short: it is a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	b := &Bed{t: t, dir: dir, Address: "unix:path=" + filepath.Join(dir, "bus")}
	config := filepath.Join(dir, "bus.conf")
	if err := os.WriteFile(config, []byte(strings.Replace(busConfig, "SOCKET", filepath.Join(dir, "bus"), 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	b.bus = exec.Command("dbus-daemon", "--config-file="+config, "--nofork", "--nopidfile")
	b.start(b.bus)
	b.until("the bus", func() bool { b.conn, err = dbus.Connect(b.Address); return err == nil })
	t.Cleanup(func() { b.conn.Close() })
	b.serveSystemd()
	b.StartLogind()
	return b
}

// start starts a program that ends with the test.
func (b *Bed) start(cmd *exec.Cmd) {
	b.t.Helper()
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { end(cmd) })
}

func end(cmd *exec.Cmd) {
	cmd.Process.Kill()
	cmd.Wait()
}

// StartLogind starts logind, on a host without consoles, and waits until it is on the bus. It forgets the sessions of an
// earlier one.
func (b *Bed) StartLogind() {
	b.t.Helper()
	const script = "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system /run/udev && mount -t tmpfs tmpfs /sys/class/tty && exec " + daemon
	b.logind = exec.Command("sh", "-c", script)
	b.logind.Env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS="+b.Address)
	b.logind.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Unshareflags: syscall.CLONE_NEWNS}
	b.start(b.logind)
	b.until("logind", func() bool {
		var owner string
		return b.conn.BusObject().Call("org.freedesktop.DBus.GetNameOwner", 0, login1).Store(&owner) == nil
	})
}

// StopLogind ends logind, as for an update of it.
func (b *Bed) StopLogind() { end(b.logind) }

// StopBus ends the bus.
func (b *Bed) StopBus() { end(b.bus) }

// Names returns the unique names of all who are on the bus.
func (b *Bed) Names() (unique []string) {
	b.t.Helper()
	var names []string
	if err := b.conn.BusObject().Call("org.freedesktop.DBus.ListNames", 0).Store(&names); err != nil {
		b.t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasPrefix(name, ":") {
			unique = append(unique, name)
		}
	}
	return unique
}

// until asks until something is there.
func (b *Bed) until(what string, there func() bool) {
	b.t.Helper()
	late := time.NewTimer(20 * time.Second)
	defer late.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !there() {
		select {
		case <-tick.C:
		case <-late.C:
			b.t.Fatalf("%s did not come", what)
		}
	}
}

// Login is a session of logind.
type Login struct {
	ID   string
	Path dbus.ObjectPath

	bed  *Bed
	fifo *os.File
}

// Login opens a session, as pam_systemd does for the leader's process; seat is "seat0" or, for remote users, empty.
func (b *Bed) Login(uid, leader int, seat string) *Login {
	b.t.Helper()
	var runtime, gotSeat string
	var fifo dbus.UnixFD
	var owner, vt uint32
	var existing bool
	l := &Login{bed: b}
	type property struct {
		Name  string
		Value dbus.Variant
	}
	err := b.manager().Call(manager+".CreateSession", 0, uint32(uid), uint32(leader), "login", "x11", "user", "", seat, uint32(0), "", "",
		seat == "", "", "", []property{}).Store(&l.ID, &l.Path, &runtime, &fifo, &owner, &gotSeat, &vt, &existing)
	if err != nil {
		b.t.Fatalf("no session for user %d: %v", uid, err)
	}
	l.fifo = os.NewFile(uintptr(fifo), "session")
	b.t.Cleanup(func() { l.fifo.Close() })
	return l
}

func (b *Bed) manager() dbus.BusObject { return b.conn.Object(login1, "/org/freedesktop/login1") }

// Call calls a method of logind's manager with the session's id, LockSession for one.
func (l *Login) Call(method string) {
	l.bed.t.Helper()
	if err := l.bed.manager().Call(manager+"."+method, 0, l.ID).Err; err != nil {
		l.bed.t.Fatalf("%s(%s): %v", method, l.ID, err)
	}
}

// SetLockedHint says, as a screen locker does, that the screen is locked or not.
func (l *Login) SetLockedHint(locked bool) {
	l.bed.t.Helper()
	if err := l.bed.conn.Object(login1, l.Path).Call(login1+".Session.SetLockedHint", 0, locked).Err; err != nil {
		l.bed.t.Fatalf("SetLockedHint(%s): %v", l.ID, err)
	}
}
