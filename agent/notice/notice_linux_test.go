// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package notice_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker/agent/notice"
	"github.com/cardbroker/cardbroker/test/noticebed"
)

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
	d := noticebed.New(t, "actions", "body")
	a := newAgent(t, d.Address)
	a.hold(lease("one"))
	begun := d.Next()
	if begun.Summary != "A service uses your card reader" || !strings.HasPrefix(begun.Body, "issuer, at 192.0.2.1:443, holds Reader 0 since 14:05.") {
		t.Errorf("the notice says %q %q", begun.Summary, begun.Body)
	}
	if len(begun.Actions) != 2 || begun.Actions[0] != "end" || begun.Expire != 0 {
		t.Errorf("the notice has the actions %q and expires after %d, want End and never", begun.Actions, begun.Expire)
	}
	a.hold(lease("one"), lease("two"))
	second := d.Next()
	d.Press(d.Join(), begun.Number) // any program of the user's may say so
	d.Press(nil, 4711)
	d.Press(nil, second.Number)
	if got := <-a.ended; got != "two" {
		t.Errorf("the lease %q was ended, want the one whose button was pressed on the desktop", got)
	}
	a.hold(lease("one"))
	if over := d.Next(); over.Number != second.Number || over.Summary != "Your card reader is free again" || len(over.Actions) != 0 || over.Expire != -1 {
		t.Errorf("at the end of a lease the desktop shows %+v", over)
	}
	a.stop()
	if gone := d.Next(); gone.Number != begun.Number || gone.Summary != "" {
		t.Errorf("at the end of the agent the desktop shows %+v, want the notice gone", gone)
	}
	if len(a.ended) > 0 {
		t.Errorf("the lease %q was ended, too", <-a.ended)
	}
}

// TestWords has names that a desktop could take for markup, and a desktop without buttons.
func TestWords(t *testing.T) {
	d := noticebed.New(t, "body", "body-markup")
	a := newAgent(t, d.Address)
	l := lease("0123")
	l.Tenant, l.Reader = "<b>bank</b>&amp;\n<a href=\"http://evil.example\">", strings.Repeat("R", 500)
	a.hold(l)
	got := d.Next()
	if strings.ContainsAny(got.Body, "<>&\"'\n") || len(got.Body) > 500 {
		t.Errorf("the notice says %q", got.Body)
	}
	if len(got.Actions) != 0 || !strings.HasSuffix(got.Body, "cardbroker agent leases revoke 0123") {
		t.Errorf("without buttons the notice says %q and has the actions %q", got.Body, got.Actions)
	}
}

// TestCrowd has a tenant begin many leases: the desktop is not filled with them.
func TestCrowd(t *testing.T) {
	d := noticebed.New(t, "actions", "body")
	a := newAgent(t, d.Address)
	var leases []notice.Lease
	for n := range 40 {
		leases = append(leases, lease(fmt.Sprint(n)))
	}
	a.hold(leases...)
	for range 6 {
		d.Next()
	}
	a.hold(leases[0])
	for range 5 {
		if s := d.Next(); s.Summary != "Your card reader is free again" {
			t.Errorf("the desktop shows %+v", s)
		}
	}
	a.stop()
	d.Next() // the one that is left goes
	if n := len(d.Notices); n != 0 {
		t.Errorf("the desktop was asked %d times more", n)
	}
}

// TestNoDesktop: without a bus, or a service on it, nothing is said and nothing breaks.
func TestNoDesktop(t *testing.T) {
	for name, address := range map[string]string{
		"no bus":            "unix:path=/nowhere/bus",
		"no service":        noticebed.NewBus(t).Address,
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
	d := noticebed.New(t, "actions", "body")
	a := newAgent(t, d.Address)
	a.hold(lease("one"))
	d.Next()
	d.StopBus()
	a.hold(lease("one"), lease("two"))
	a.hold()
	a.stop()
}

// TestEntry: a PIN that is to be entered at a reader is on the desktop for as long as the reader waits.
func TestEntry(t *testing.T) {
	d := noticebed.New(t, "actions", "body")
	entries := notice.NewEntries()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- notice.New(notice.Config{
			Bus: d.Address, Leases: func() []notice.Lease { return nil }, Entries: entries, Log: slog.New(slog.DiscardHandler),
		}).Run(ctx)
	}()
	defer func() { cancel(); <-ended }()
	over := entries.Begin(notice.Entry{Origin: "https://shop.example", Reader: "Reader <b>0", Which: "PIN 80"})
	shown := d.Next()
	if shown.Summary != "Enter your PIN at the card reader" || shown.Body != "https://shop.example asks for it. Reader: Reader b0. PIN 80" || len(shown.Actions) != 0 {
		t.Errorf("the notice says %q %q with %q", shown.Summary, shown.Body, shown.Actions)
	}
	over()
	if gone := d.Next(); gone.Number != shown.Number || gone.Summary != "" || gone.Expire != 0 {
		t.Errorf("then %+v is shown, want notice %d to be taken away", gone, shown.Number)
	}
}
