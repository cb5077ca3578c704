// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package virtualreader

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/cardtest"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/journal"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

// TestLeaksNothing opens tunnels to the holder of a card that keeps journals, cuts them, takes their leases up again and closes them.
// In the end there are as many goroutines, descriptors, leases and journals as in the beginning.
func TestLeaksNothing(t *testing.T) {
	reader, leases, folder := cardtest.NewReader(), cardend.NewLeases(), t.TempDir()
	journals, err := journal.OpenFolder(folder)
	if err != nil {
		t.Fatal(err)
	}
	holder := cardend.New(reader, leases)
	holder.Keep(journals)
	group := run.New(t.Context())
	defer group.Stop()
	group.Go("leases", leases.Run)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ticket, err := cardbroker.ParseTicket(r.Header.Get("Cardbroker-Ticket"))
		if err != nil {
			t.Errorf("a ticket of %v", err)
			return
		}
		conn, err := tunnels.Upgrade(w, r)
		if err != nil {
			return
		}
		if !ticket.Resume {
			tunnel := reader.Tunnel("alpha")
			tunnel.Route = ticket.Route
			group.Go("serve", func(ctx context.Context) error { return holder.Serve(ctx, conn, tunnel) })
		} else if taken, err := leases.Take(r.Context(), ticket.Secret, "alpha"); err != nil {
			conn.Close()
		} else {
			taken.Attach(r.Context(), conn)
		}
	}))
	defer server.Close()
	var raw net.Conn
	dial := func(ctx context.Context, to target) (*socket.Conn, error) {
		conn, _, err := tunnels.Dial(ctx, socket.Dial{URL: "ws" + server.URL[4:], Header: http.Header{"Cardbroker-Ticket": {to.ticket}},
			Net: func(ctx context.Context) (c net.Conn, err error) {
				raw, err = new(net.Dialer).DialContext(ctx, "tcp", server.Listener.Addr().String())
				return raw, err
			}})
		return conn, err
	}
	one := func() {
		conn, err := dial(t.Context(), target{ticket: "cbt1.0123456789abcdef." + strings.Repeat("A", 43)})
		if err != nil {
			t.Fatal(err)
		}
		hello, _ := Options{}.hello()
		tunnel, err := newTunnel(t.Context(), conn, hello, dial, []string{"one"})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			tunnel.Close()
			for len(leases.List()) > 0 { // the next one wants the reader
				runtime.Gosched()
			}
		}()
		for range 2 {
			if _, err := tunnel.Transmit(t.Context(), command(1)); err != nil {
				t.Fatal(err)
			}
			raw.Close()
		}
		if _, err := tunnel.Transmit(t.Context(), command(1)); err != nil || tunnel.Resumed() != 2 {
			t.Fatalf("Transmit = %v, taken up again %d times, want 2", err, tunnel.Resumed())
		}
	}
	one()
	settled := testenv.Leaks(t)
	for range 1000 {
		one()
	}
	settled()
	if left, err := os.ReadDir(folder); err != nil || len(left) > 0 || reader.Connections() > 0 {
		t.Errorf("%d journals, %v, and %d connections to the card are left", len(left), err, reader.Connections())
	}
}
