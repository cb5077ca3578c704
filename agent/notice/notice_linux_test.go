// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package notice_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/cardbroker/cardbroker/agent/notice"
	"github.com/cardbroker/cardbroker/internal/testenv"
)

const (
	service = "org.freedesktop.Notifications"
	object  = "/org/freedesktop/Notifications"
)

// busConfig is a bus as a session has it.
const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path=SOCKET</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>
`

// shown is what the desktop was asked to show, or, without a summary, to take away.
type shown struct {
	number        uint32
	summary, body string
	actions       []string
	expire        int32
}

// desktop is a notification service of the test's own, on a bus of its own.
type desktop struct {
	t       *testing.T
	address string
	daemon  *exec.Cmd
	conn    *dbus.Conn
	can     []string
	last    atomic.Uint32
	notices chan shown
}

// newBus starts a bus without a service, which ends with the test.
func newBus(t *testing.T) *desktop {
	t.Helper()
	program := testenv.Tool(t, "dbus-daemon")
	dir, err := os.MkdirTemp("", "cardbroker-bus-") // short: it is a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path, config := filepath.Join(dir, "bus"), filepath.Join(dir, "bus.conf")
	if err := os.WriteFile(config, []byte(strings.Replace(busConfig, "SOCKET", path, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	d := &desktop{t: t, address: "unix:path=" + path, notices: make(chan shown, 64)}
	d.daemon = exec.Command(program, "--config-file="+config, "--nofork", "--nopidfile", "--print-address")
	out, err := d.daemon.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.stopBus)
	if _, err := io.ReadFull(out, make([]byte, 1)); err != nil { // it listens
		t.Fatal(err)
	}
	return d
}

// stopBus ends the bus.
func (d *desktop) stopBus() {
	d.daemon.Process.Kill()
	d.daemon.Wait()
}

// newDesktop starts a bus with a service that can do so much.
func newDesktop(t *testing.T, can ...string) *desktop {
	t.Helper()
	d := newBus(t)
	d.can = can
	d.conn = d.join()
	if err := d.conn.Export(d, object, service); err != nil {
		t.Fatal(err)
	}
	if reply, err := d.conn.RequestName(service, 0); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatalf("RequestName = %v, %v", reply, err)
	}
	return d
}

func (d *desktop) join() *dbus.Conn {
	d.t.Helper()
	conn, err := dbus.Connect(d.address)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { conn.Close() })
	return conn
}

// GetCapabilities is a method of the service.
func (d *desktop) GetCapabilities() ([]string, *dbus.Error) { return d.can, nil }

// Notify is a method of the service.
func (d *desktop) Notify(app string, replaces uint32, _, summary, body string, actions []string, _ map[string]dbus.Variant, expire int32) (uint32, *dbus.Error) {
	if app != "cardbroker" {
		d.t.Errorf("the application is %q", app)
	}
	if replaces == 0 {
		replaces = d.last.Add(1)
	}
	d.notices <- shown{replaces, summary, body, actions, expire}
	return replaces, nil
}

// CloseNotification is a method of the service.
func (d *desktop) CloseNotification(number uint32) *dbus.Error {
	d.notices <- shown{number: number}
	return nil
}

// next returns what was shown next.
func (d *desktop) next() shown {
	d.t.Helper()
	select {
	case s := <-d.notices:
		return s
	case <-time.After(10 * time.Second):
		d.t.Fatal("nothing was shown")
		return shown{}
	}
}

// press has somebody say that a button was pressed.
func press(t *testing.T, conn *dbus.Conn, number uint32) {
	t.Helper()
	if err := conn.Emit(object, service+".ActionInvoked", number, "end"); err != nil {
		t.Fatal(err)
	}
}

// agent has leases, and a notifier that runs.
type agent struct {
	leases  atomic.Pointer[[]notice.Lease]
	changed chan struct{}
	ended   chan string
	log     bytes.Buffer // read after stop
	stop    func()
}

func newAgent(t *testing.T, address string) *agent {
	t.Helper()
	a := &agent{changed: make(chan struct{}, 1), ended: make(chan string, 16)}
	a.leases.Store(&[]notice.Lease{})
	n := notice.New(notice.Config{
		Bus: address, Leases: func() []notice.Lease { return *a.leases.Load() }, Changed: a.changed,
		End: func(tunnel string) { a.ended <- tunnel },
		Log: slog.New(slog.NewTextHandler(&a.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	a.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run() = %v", err)
		}
		done <- nil
	}
	t.Cleanup(a.stop)
	return a
}

func (a *agent) hold(leases ...notice.Lease) {
	a.leases.Store(&leases)
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

func lease(tunnel string) notice.Lease {
	return notice.Lease{Tunnel: tunnel, Tenant: "issuer", Address: "192.0.2.1:443", Reader: "Reader 0",
		Since: time.Date(2026, 5, 4, 14, 5, 0, 0, time.Local)}
}

// TestNotices follows a lease on the desktop from its beginning to its end.
func TestNotices(t *testing.T) {
	d := newDesktop(t, "actions", "body")
	a := newAgent(t, d.address)
	a.hold(lease("one"))
	begun := d.next()
	if begun.summary != "A service uses your card reader" || !strings.HasPrefix(begun.body, "issuer, at 192.0.2.1:443, holds Reader 0 since 14:05.") {
		t.Errorf("the notice says %q %q", begun.summary, begun.body)
	}
	if len(begun.actions) != 2 || begun.actions[0] != "end" || begun.expire != 0 {
		t.Errorf("the notice has the actions %q and expires after %d, want End and never", begun.actions, begun.expire)
	}
	a.hold(lease("one"), lease("two"))
	second := d.next()
	press(t, d.join(), begun.number) // any program of the user's may say so
	press(t, d.conn, 4711)
	press(t, d.conn, second.number)
	if got := <-a.ended; got != "two" {
		t.Errorf("the lease %q was ended, want the one whose button was pressed on the desktop", got)
	}
	a.hold(lease("one"))
	if over := d.next(); over.number != second.number || over.summary != "Your card reader is free again" || len(over.actions) != 0 || over.expire != -1 {
		t.Errorf("at the end of a lease the desktop shows %+v", over)
	}
	a.stop()
	if gone := d.next(); gone.number != begun.number || gone.summary != "" {
		t.Errorf("at the end of the agent the desktop shows %+v, want the notice gone", gone)
	}
	if len(a.ended) > 0 {
		t.Errorf("the lease %q was ended, too", <-a.ended)
	}
}

// TestWords has names that a desktop could take for markup, and a desktop without buttons.
func TestWords(t *testing.T) {
	d := newDesktop(t, "body", "body-markup")
	a := newAgent(t, d.address)
	l := lease("0123")
	l.Tenant, l.Reader = "<b>bank</b>&amp;\n<a href=\"http://evil.example\">", strings.Repeat("R", 500)
	a.hold(l)
	got := d.next()
	if strings.ContainsAny(got.body, "<>&\"'\n") || len(got.body) > 500 {
		t.Errorf("the notice says %q", got.body)
	}
	if len(got.actions) != 0 || !strings.HasSuffix(got.body, "cardbroker agent leases revoke 0123") {
		t.Errorf("without buttons the notice says %q and has the actions %q", got.body, got.actions)
	}
}

// TestCrowd has a tenant begin many leases: the desktop is not filled with them.
func TestCrowd(t *testing.T) {
	d := newDesktop(t, "actions", "body")
	a := newAgent(t, d.address)
	var leases []notice.Lease
	for n := range 40 {
		leases = append(leases, lease(fmt.Sprint(n)))
	}
	a.hold(leases...)
	for range 6 {
		d.next()
	}
	a.hold(leases[0])
	for range 5 {
		if s := d.next(); s.summary != "Your card reader is free again" {
			t.Errorf("the desktop shows %+v", s)
		}
	}
	a.stop()
	d.next() // the one that is left goes
	if n := len(d.notices); n != 0 {
		t.Errorf("the desktop was asked %d times more", n)
	}
}

// TestNoDesktop: without a bus, or a service on it, nothing is said and nothing breaks.
func TestNoDesktop(t *testing.T) {
	for name, address := range map[string]string{
		"no bus":            "unix:path=/nowhere/bus",
		"no service":        newBus(t).address,
		"a program's start": "unixexec:path=/bin/true",
	} {
		t.Run(name, func(t *testing.T) {
			a := newAgent(t, address)
			a.hold(lease("one"))
			a.hold(lease("two"))
			a.hold()
			a.stop()
			if n := strings.Count(a.log.String(), "there is no desktop"); n > 1 || strings.Contains(a.log.String(), "level=WARN") {
				t.Errorf("the log says %s", a.log.String())
			}
		})
	}
}

// TestBusEnds: when the bus goes, the leases go on, and so does the notifier.
func TestBusEnds(t *testing.T) {
	d := newDesktop(t, "actions", "body")
	a := newAgent(t, d.address)
	a.hold(lease("one"))
	d.next()
	d.stopBus()
	a.hold(lease("one"), lease("two"))
	a.hold()
	a.stop()
}
