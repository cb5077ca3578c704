// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/test/stage"
	"github.com/cardbroker/cardbroker/virtualreader"
	"github.com/cardbroker/cardbroker/virtualreader/rendezvous"
)

// closedHost is a host that lets no back end in, and calls the rendezvous of two tenants.
type closedHost struct {
	*host
	issuer, rival string // host:port, where nobody listens until a test does
}

func newClosedHost(t *testing.T) *closedHost {
	t.Helper()
	h := &closedHost{host: newHost(t)}
	h.issuer, h.rival, h.noDoor = h.reserve(), h.reserve(), true
	entry := func(address, tenant string) string {
		return fmt.Sprintf("    - {url: 'wss://%s', tenant: %s, ca: %s, token_file: %s}\n", address, tenant, h.Path("door.pem"), h.Path("token"))
	}
	h.config = "host: vda7\nbackend:\n  connect:\n" + entry(h.issuer, "issuer") + entry(h.rival, "rival")
	return h
}

// at is the flags of a rendezvous.
func (h *closedHost) at(address string) []string {
	return []string{"--listen", address, "--cert", h.Path("door.pem"), "--key", h.Path("door.key"), "--token-file", h.Path("token")}
}

// reader runs a command of a back end at a rendezvous.
func (h *closedHost) reader(status int, address string, answer any, args ...string) {
	h.t.Helper()
	h.run(nil, status, answer, append(append([]string{"reader"}, args...), h.at(address)...)...)
}

// TestDialOut is a back end's work at a host that lets nobody in: list, drive by ticket and for good, serve; across kills of
// the broker and restarts of the rendezvous.
func TestDialOut(t *testing.T) {
	h := newClosedHost(t)
	h.tenantPolicy("standing: ['cardbroker *']")
	rival := h.listenHere(h.rival)
	h.start()
	if h.ready.Backend != "" {
		t.Errorf("the broker says that back ends come to %s, want no door", h.ready.Backend)
	}
	alice := &h.Users[0]
	h.logon(alice)
	h.listensOnLoopbackOnly()

	var list api.RemoteReaders
	h.reader(0, h.issuer, &list, "list") // the host is there sooner than its agent's readers, perhaps
	h.until("the standing offer", func() bool {
		h.reader(0, h.issuer, &list, "list")
		return len(list.Readers) == 1
	})
	if got := list.Readers[0]; got.Host != "vda7" {
		t.Errorf("the reader's host is %q, want vda7", got.Host)
	}
	reader := string(list.Readers[0].ID)
	h.reader(0, h.issuer, nil, "apdu", reader, "80EE0000020102", "80EE0000020304")

	offered := h.offer(alice)
	if want := "wss://" + h.issuer; offered.URL != want {
		t.Errorf("the ticket is for %s, want %s", offered.URL, want)
	}
	h.reader(0, h.issuer, nil, "apdu", "-", "80EE0000020102", "--ticket", offered.Ticket)

	var refused api.ErrorBody
	h.run(alice, 4, &refused, "agent", "offer", h.host.reader(alice), "nobody", "--socket", h.socket, "--state", alice.Home+"/state")
	if !strings.Contains(refused.Description, "calls no rendezvous of tenant nobody") {
		t.Errorf("an offer to a tenant whom nobody calls: %+v", refused)
	}

	// Another tenant's rendezvous learns of nothing, and gets nothing by a ticket that is not its own.
	stolen := h.offer(alice)
	if readers, err := rival.List(t.Context()); err != nil || len(readers) > 0 {
		t.Errorf("the other tenant sees %+v, %v, want nothing", readers, err)
	}
	for what, wish := range map[string][2]string{"a stolen ticket": {"-", stolen.Ticket}, "another's reader": {reader, ""}, "no ticket": {"-", ""}} {
		_, err := rival.Open(t.Context(), wish[0], wish[1], virtualreader.Options{Broker: "vda7"})
		if cardbroker.RuleOf(err) != cardbroker.RuleTicket {
			t.Errorf("%s: %v, want no such ticket", what, err)
		}
	}
	h.reader(0, h.issuer, nil, "apdu", "-", "80EE0000020102", "--ticket", stolen.Ticket)

	serve := h.serveAt("serve", reader)
	h.doctorSays(h.issuer, "ok")
	h.until("the lease", func() bool {
		var leases api.Leases
		h.run(nil, 0, &leases, "host", "leases", "--socket", h.socket)
		if len(leases.Leases) == 1 && (leases.Leases[0].Method != "rendezvous" || leases.Leases[0].Backend != h.issuer) {
			t.Fatalf("the lease is %+v, want method rendezvous and its address", leases.Leases[0])
		}
		return len(leases.Leases) == 1
	})
	if err := serve.Stop(); err != nil {
		t.Error(err)
	}
	h.doctorSays(h.issuer, "fail")
	h.reader(0, h.issuer, nil, "apdu", reader, "80EE0000020102")
	h.auditTells(`"method":"rendezvous"`)
}

// TestDialOutBrokerKilled: a watch and a tunnel outlive the broker that they go through.
func TestDialOutBrokerKilled(t *testing.T) {
	h := newClosedHost(t)
	h.tenantPolicy("standing: ['cardbroker *']")
	h.start()
	h.logon(&h.Users[0])
	issuer := h.listenHere(h.issuer)
	events := make(chan virtualreader.Event, 16)
	watching := run.New(t.Context())
	watching.Go("watch", func(ctx context.Context) error {
		return issuer.Watch(ctx, func(e virtualreader.Event) error { events <- e; return nil })
	})
	defer watching.Stop()
	next := func(want string) cardbroker.ReaderID {
		t.Helper()
		for {
			select {
			case e := <-events:
				if e.Event == want && e.Broker == "vda7" {
					return e.Reader
				}
			case <-h.Context().Done():
				t.Fatalf("no event %s", want)
			}
		}
	}
	reader := next(api.EventReaderAdded)
	tunnel, err := issuer.Open(h.Context(), string(reader), "", virtualreader.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer tunnel.Close()
	transmit := func() {
		t.Helper()
		answer, err := tunnel.Transmit(h.Context(), []byte{0x80, 0xEE, 0, 0, 2, 1, 2})
		if err != nil || len(answer.Response) < 2 {
			t.Fatalf("Transmit = %x, %v", answer.Response, err)
		}
	}
	for range 2 {
		transmit()
		h.broker.Kill()
		next(api.EventReaderRemoved)
		h.start()
		transmit()
		next(api.EventReaderAdded)
	}
}

// listenHere returns a client at a rendezvous of this process, which knows hosts by the token.
func (h *closedHost) listenHere(address string) *virtualreader.Client {
	h.t.Helper()
	pair, err := tls.LoadX509KeyPair(h.Path("door.pem"), h.Path("door.key"))
	if err != nil {
		h.t.Fatal(err)
	}
	token := cardbroker.NewSecret([]byte(h.read("token")))
	called, err := rendezvous.Listen(h.t.Context(), rendezvous.Config{
		Addr:        address,
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &pair, nil },
		Token:       func() (cardbroker.Secret, error) { return token, nil },
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { called.Close() })
	c, err := virtualreader.New(virtualreader.Config{Rendezvous: called})
	if err != nil {
		h.t.Fatal(err)
	}
	return c
}

// serveAt starts `reader serve` at the issuer's rendezvous.
func (h *closedHost) serveAt(name, reader string) *stage.Service {
	h.t.Helper()
	args := append([]string{"reader", "serve", "--socket", h.Path("serve.sock"), reader}, h.at(h.issuer)...)
	service, line, err := h.Start(nil, name, args...)
	if err != nil {
		h.t.Fatal(err)
	}
	if len(line.Readers) != 1 || !slices.Equal(line.Listen, []string{h.issuer}) {
		h.t.Errorf("ready = %+v, want one reader and where it listens", line)
	}
	return service
}

// doctorSays waits until the doctor says this of a rendezvous.
func (h *closedHost) doctorSays(address, status string) {
	h.t.Helper()
	h.until("a doctor who says "+status+" of "+address, func() bool {
		out, err := h.Run(nil, "cardbroker", "host", "doctor", "--socket", h.socket, "--json")
		if err != nil {
			h.t.Fatal(err)
		}
		for _, line := range strings.Split(string(out.Stdout), "},{") {
			if strings.Contains(line, address) && strings.Contains(line, `"status":"`+status+`"`) {
				return true
			}
		}
		return false
	})
}

// listensOnLoopbackOnly checks that no socket of the broker waits for other machines.
func (h *closedHost) listensOnLoopbackOnly() {
	h.t.Helper()
	own := map[string]bool{}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", h.ready.PID))
	if err != nil {
		h.t.Fatal(err)
	}
	for _, file := range files {
		link, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", h.ready.PID, file.Name()))
		if inode, ok := strings.CutPrefix(link, "socket:["); ok {
			own[strings.TrimSuffix(inode, "]")] = true
		}
	}
	listening := 0
	for _, table := range []string{"tcp", "tcp6"} {
		file, err := os.Open(fmt.Sprintf("/proc/%d/net/%s", h.ready.PID, table))
		if err != nil {
			continue // no IPv6
		}
		defer file.Close()
		for lines := bufio.NewScanner(file); lines.Scan(); {
			fields := strings.Fields(lines.Text())
			if len(fields) < 10 || fields[3] != "0A" || !own[fields[9]] {
				continue
			}
			listening++
			if address, _, _ := strings.Cut(fields[1], ":"); !loopback(address) {
				h.t.Errorf("the broker listens at %s", fields[1])
			}
		}
	}
	if listening == 0 {
		h.t.Error("no socket of the broker was found")
	}
}

// loopback says whether an address of /proc/net/tcp is one of loopback.
func loopback(text string) bool {
	raw, err := hex.DecodeString(text)
	if err != nil {
		return false
	}
	for i := 0; i < len(raw); i += 4 { // words in the order of the machine, which is little-endian here
		slices.Reverse(raw[i : i+4])
	}
	return net.IP(raw).IsLoopback()
}
