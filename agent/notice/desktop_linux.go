// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package notice

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/godbus/dbus/v5"

	"github.com/cardbroker/cardbroker"
)

// The notification service, Desktop Notifications Specification 1.2.
const (
	service = "org.freedesktop.Notifications"
	object  = dbus.ObjectPath("/org/freedesktop/Notifications")

	appName   = "cardbroker"
	actionEnd = "end"

	expireNever   = int32(0)
	expireDefault = int32(-1)
)

// bus is a desktop that is reached over the message bus.
type bus struct {
	conn    *dbus.Conn
	end     context.CancelFunc
	owner   atomic.Pointer[string] // unique name of the service, as the bus itself says
	clicks  chan uint32            // bounded: who presses faster presses again
	actions bool
}

// maxClicks is how many presses may wait.
const maxClicks = 16

// dial connects to the bus, and asks the service what it can; the bus starts it if need be. It is Unavailable where there is none.
func dial(ctx context.Context, address string) (desktop, error) {
	if address == "" {
		address = sessionBus()
	}
	if !strings.HasPrefix(address, "unix:path=") && !strings.HasPrefix(address, "unix:abstract=") { // others would start a program
		return nil, cardbroker.Errorf(cardbroker.Unavailable, "the session has no message bus")
	}
	b := &bus{clicks: make(chan uint32, maxClicks)}
	var life context.Context
	life, b.end = context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, b.end) // a bus that hangs while we meet
	defer stop()
	conn, err := dbus.Connect(address, dbus.WithSignalHandler(b), dbus.WithContext(life))
	if err != nil {
		b.end()
		return nil, cardbroker.Wrapf(err, cardbroker.Unavailable, "no session bus answers")
	}
	b.conn = conn
	if err := b.meet(ctx); err != nil {
		b.close(nil)
		return nil, cardbroker.Wrapf(err, cardbroker.Unavailable, "no notification service answers")
	}
	return b, nil
}

// sessionBus returns the address of the session's bus, as all its clients find it.
func sessionBus() string {
	if address := os.Getenv("DBUS_SESSION_BUS_ADDRESS"); address != "" {
		return address
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return "unix:path=" + filepath.Join(dir, "bus")
	}
	return ""
}

// meet asks for the service's presses and its name.
func (b *bus) meet(ctx context.Context) error {
	err := b.conn.AddMatchSignalContext(ctx, dbus.WithMatchSender(service), dbus.WithMatchObjectPath(object), dbus.WithMatchMember("ActionInvoked"))
	if err != nil {
		return err
	}
	var can []string
	if err := b.call(ctx, "GetCapabilities").Store(&can); err != nil {
		return err
	}
	b.actions = slices.Contains(can, "actions")
	return b.ask(ctx)
}

// ask asks the bus who the service is: another one, that has taken its place, would know nothing of our notices.
func (b *bus) ask(ctx context.Context) error {
	var owner string
	if err := b.conn.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.GetNameOwner", 0, service).Store(&owner); err != nil {
		return err
	}
	b.owner.Store(&owner)
	return nil
}

func (b *bus) call(ctx context.Context, method string, args ...any) *dbus.Call {
	return b.conn.Object(service, object).CallWithContext(ctx, service+"."+method, 0, args...)
}

// DeliverSignal implements [dbus.SignalHandler]. It is called by the goroutine that reads from the bus: it takes a note and
// returns, and takes none of who is not the service: any program of the user may send what looks like a press.
func (b *bus) DeliverSignal(_, name string, s *dbus.Signal) {
	var number uint32
	var action string
	owner := b.owner.Load()
	if name != "ActionInvoked" || owner == nil || s.Sender != *owner || dbus.Store(s.Body, &number, &action) != nil || action != actionEnd {
		return
	}
	select {
	case b.clicks <- number:
	default:
	}
}

func (b *bus) show(ctx context.Context, number uint32, t text) (uint32, error) {
	if t == (text{}) {
		return 0, b.call(ctx, "CloseNotification", number).Err
	}
	actions, expire := []string{}, expireDefault
	switch {
	case t.ends != "" && b.actions:
		actions, expire = []string{actionEnd, "End"}, expireNever
	case t.ends != "":
		t.body += " The command: cardbroker agent leases revoke " + t.ends
	}
	hints := map[string]dbus.Variant{"category": dbus.MakeVariant("device"), "urgency": dbus.MakeVariant(byte(1))}
	err := b.call(ctx, "Notify", appName, number, "", t.summary, t.body, actions, hints, expire).Store(&number)
	if err != nil {
		return 0, err
	}
	return number, b.ask(ctx)
}

func (b *bus) pressed() <-chan uint32 { return b.clicks }
func (b *bus) lost() <-chan struct{}  { return b.conn.Context().Done() }

func (b *bus) close(numbers []uint32) {
	ctx, cancel := context.WithTimeout(context.Background(), busLimit)
	defer cancel()
	for _, number := range numbers {
		b.call(ctx, "CloseNotification", number) // as far as the service is there
	}
	b.conn.Close()
	b.end()
}
