// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package loginbed

import (
	"fmt"
	"sync/atomic"

	"github.com/godbus/dbus/v5"
)

// systemd is what logind needs of the service manager: units that are started and stopped, in words only.
type systemd struct {
	conn *dbus.Conn
	jobs atomic.Uint32
}

type unitProperty struct {
	Name  string
	Value dbus.Variant
}

type unitAux struct {
	Name       string
	Properties []unitProperty
}

// serveSystemd takes systemd's name on the bus.
func (b *Bed) serveSystemd() {
	b.t.Helper()
	conn, err := dbus.Connect(b.Address)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	s := &systemd{conn: conn}
	if err := conn.Export(s, "/org/freedesktop/systemd1", systemd1+".Manager"); err != nil {
		b.t.Fatal(err)
	}
	if err := conn.ExportSubtree(scope{}, "/org/freedesktop/systemd1/unit", systemd1+".Scope"); err != nil {
		b.t.Fatal(err)
	}
	if reply, err := conn.RequestName(systemd1, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		b.t.Fatalf("systemd's name: %v, %v", reply, err)
	}
}

// scope lets itself be abandoned.
type scope struct{}

// Abandon does nothing.
func (scope) Abandon() *dbus.Error { return nil }

// Subscribe does nothing: everybody is told.
func (s *systemd) Subscribe() *dbus.Error { return nil }

// StartTransientUnit says that it has.
func (s *systemd) StartTransientUnit(name, _ string, _ []unitProperty, _ []unitAux) (dbus.ObjectPath, *dbus.Error) {
	return s.job(name), nil
}

// StartUnit says that it has.
func (s *systemd) StartUnit(name, _ string) (dbus.ObjectPath, *dbus.Error) { return s.job(name), nil }

// StopUnit says that it has.
func (s *systemd) StopUnit(name, _ string) (dbus.ObjectPath, *dbus.Error) { return s.job(name), nil }

// KillUnit kills nothing.
func (s *systemd) KillUnit(string, string, int32) *dbus.Error { return nil }

// job makes a job that is done by the time that its asker looks.
func (s *systemd) job(unit string) dbus.ObjectPath {
	n := s.jobs.Add(1)
	path := dbus.ObjectPath(fmt.Sprintf("/org/freedesktop/systemd1/job/%d", n))
	go s.conn.Emit("/org/freedesktop/systemd1", systemd1+".Manager.JobRemoved", n, path, unit, "done")
	return path
}
