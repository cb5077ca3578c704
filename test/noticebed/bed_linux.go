// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package noticebed

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/cardbroker/cardbroker/internal/testenv"
)

const (
	service = "org.freedesktop.Notifications"
	object  = "/org/freedesktop/Notifications"
)

// busConfig is a bus as a session has it, but open to all users: it is root who tests them.
const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path=SOCKET</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>
`

// Shown is what the desktop was asked to show, or, without a summary, to take away.
type Shown struct {
	Number        uint32
	Summary, Body string
	Actions       []string
	Expire        int32
}

// Desktop is a notification service of the test's own, on a bus of its own.
type Desktop struct {
	t       testing.TB
	Address string // of the bus
	daemon  *exec.Cmd
	conn    *dbus.Conn
	can     []string
	last    atomic.Uint32
	Notices chan Shown
}

// NewBus starts a bus without a service, which ends with the test.
func NewBus(t testing.TB) *Desktop {
	t.Helper()
	program := testenv.Tool(t, "dbus-daemon")
	dir, err := os.MkdirTemp("", "cardbroker-bus-") // short: it is a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path, config := filepath.Join(dir, "bus"), filepath.Join(dir, "bus.conf")
	if err := os.WriteFile(config, []byte(strings.Replace(busConfig, "SOCKET", path, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	d := &Desktop{t: t, Address: "unix:path=" + path, Notices: make(chan Shown, 64)}
	d.daemon = exec.Command(program, "--config-file="+config, "--nofork", "--nopidfile", "--print-address")
	out, err := d.daemon.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.StopBus)
	if _, err := io.ReadFull(out, make([]byte, 1)); err != nil { // it listens
		t.Fatal(err)
	}
	return d
}

// StopBus ends the bus.
func (d *Desktop) StopBus() {
	d.daemon.Process.Kill()
	d.daemon.Wait()
}

// New starts a bus with a service that has the capabilities; it ends with the test.
func New(t testing.TB, can ...string) *Desktop {
	t.Helper()
	d := NewBus(t)
	d.can = can
	d.conn = d.Join()
	if err := d.conn.Export(d, object, service); err != nil {
		t.Fatal(err)
	}
	if reply, err := d.conn.RequestName(service, 0); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatalf("RequestName = %v, %v", reply, err)
	}
	return d
}

// Join connects another program to the bus, for the time of the test.
func (d *Desktop) Join() *dbus.Conn {
	d.t.Helper()
	conn, err := dbus.Connect(d.Address)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { conn.Close() })
	return conn
}

// GetCapabilities is a method of the service.
func (d *Desktop) GetCapabilities() ([]string, *dbus.Error) { return d.can, nil }

// Notify is a method of the service.
func (d *Desktop) Notify(app string, replaces uint32, _, summary, body string, actions []string, _ map[string]dbus.Variant, expire int32) (uint32, *dbus.Error) {
	if app != "cardbroker" {
		d.t.Errorf("the application is %q", app)
	}
	if replaces == 0 {
		replaces = d.last.Add(1)
	}
	d.Notices <- Shown{replaces, summary, body, actions, expire}
	return replaces, nil
}

// CloseNotification is a method of the service.
func (d *Desktop) CloseNotification(number uint32) *dbus.Error {
	d.Notices <- Shown{Number: number}
	return nil
}

// Next returns what was shown next.
func (d *Desktop) Next() Shown {
	d.t.Helper()
	select {
	case s := <-d.Notices:
		return s
	case <-time.After(10 * time.Second):
		d.t.Fatal("nothing was shown")
		return Shown{}
	}
}

// Press has who is on the bus say that the button of a notice was pressed; nil: the service itself.
func (d *Desktop) Press(conn *dbus.Conn, number uint32) {
	d.t.Helper()
	if conn == nil {
		conn = d.conn
	}
	if err := conn.Emit(object, service+".ActionInvoked", number, "end"); err != nil {
		d.t.Fatal(err)
	}
}
