// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/test/pcscbed"
	"github.com/cardbroker/cardbroker/test/stage"
	"github.com/cardbroker/cardbroker/virtualreader"
)

// open lets every user of the host reach a bed, as the system's pcscd is reached.
func (h *host) open(bed *pcscbed.Bed) {
	h.t.Helper()
	dir := filepath.Dir(bed.Socket())
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			h.t.Fatal(err)
		}
	}
}

// insert puts a card into reader n of a bed.
func (h *host) insert(bed *pcscbed.Bed, n int) {
	h.t.Helper()
	if err := bed.Insert(h.Context(), n, pcscbed.Card{}); err != nil {
		h.t.Fatal(err)
	}
}

// cards returns the names of the readers of a user's agent that have a card.
func (h *host) cards(p *stage.Person) (names []string) {
	h.t.Helper()
	var list struct{ Readers []api.CardReader }
	h.run(p, 0, &list, "agent", "readers", "--socket", h.socket, "--state", p.Home+"/state")
	for _, r := range list.Readers {
		if r.Card != nil {
			names = append(names, r.Name)
		}
	}
	return names
}

// offerCard has a user offer the reader with a card to the tenant "issuer".
func (h *host) offerCard(p *stage.Person) (offered api.Offered) {
	h.t.Helper()
	agent := []string{"--socket", h.socket, "--state", p.Home + "/state"}
	var list struct{ Readers []api.CardReader }
	h.run(p, 0, &list, append([]string{"agent", "readers"}, agent...)...)
	for _, r := range list.Readers {
		if r.Card != nil {
			h.run(p, 0, &offered, append([]string{"agent", "offer", string(r.ID), "issuer"}, agent...)...)
		}
	}
	return offered
}

// closed waits until a user's agent refuses its readers because others reach them, and checks how it does.
func (h *host) closed(p *stage.Person, line stage.Ready) {
	h.t.Helper()
	h.until(p.Name+"'s readers closed", func() bool {
		out, err := h.Run(p, "cardbroker", "agent", "readers", "--socket", h.socket, "--state", p.Home+"/state")
		return err == nil && out.Status == 3
	})
	var body api.ErrorBody
	h.run(p, 3, &body, "agent", "readers", "--socket", h.socket, "--state", p.Home+"/state")
	if body.Reason != cardbroker.ReaderSharedHost {
		h.t.Errorf("%s's readers are refused with %s, want %s", p.Name, body.Reason, cardbroker.ReaderSharedHost)
	}
	at := fmt.Sprintf("127.0.0.1:%d", line.Port)
	for _, r := range []string{
		request("GET", at, "/v3/readers", ""), request("GET", at, "/v3/readers/0123456789abcdef", ""), request("GET", at, "/cb/v1/events", ""),
		request("POST", at, "/cb/v1/offers", `{"reader":"0123456789abcdef","tenant":"issuer"}`, "Content-Type: application/json"),
	} {
		if got := h.ask(p, "tcp4", at, r); got.Status != 403 || got.reason() != string(cardbroker.ReaderSharedHost) {
			h.t.Errorf("%s is answered %d %s to %.40q, want 403 %s", p.Name, got.Status, got.Body, r, cardbroker.ReaderSharedHost)
		}
	}
}

// tunnelTo opens a tunnel to the card of a user.
func (h *host) tunnelTo(p *stage.Person) *virtualreader.Tunnel {
	h.t.Helper()
	tunnel, err := h.backEndClient().Open(h.Context(), virtualreader.TicketReader, h.offerCard(p).Ticket, virtualreader.Options{})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { tunnel.Close() })
	return tunnel
}

// transmit sends an echo.
func transmit(h *host, tunnel *virtualreader.Tunnel) error {
	h.t.Helper()
	return within(h.t, "Transmit", func() error {
		_, err := tunnel.Transmit(h.Context(), echo)
		return err
	})
}

// TestSharedService has alice and bob on a host whose PC/SC service both reach: it is good for one of them alone. In her
// private directory alice has a link to it, which makes no difference.
func TestSharedService(t *testing.T) {
	for _, linked := range []bool{false, true} {
		t.Run(fmt.Sprintf("linked: %v", linked), func(t *testing.T) {
			h, alice, bob := newAttack(t)
			bed := h.newBed(alice, "bed")
			h.open(bed)
			h.insert(bed, 0)
			h.start()
			socket := bed.Socket()
			if linked {
				socket = alice.Home + "/pcscd"
				if err := os.Symlink(bed.Socket(), socket); err != nil {
					t.Fatal(err)
				}
			}
			_, hers := h.enrol(alice, socket)
			alone := func() {
				t.Helper()
				h.until("alice's card", func() bool {
					out, err := h.Run(alice, "cardbroker", "agent", "readers", "--socket", h.socket, "--state", alice.Home+"/state")
					return err == nil && out.Status == 0
				})
				h.apdu(0, h.offerCard(alice).Ticket, "80EE0000020102")
			}
			alone()
			tunnel := h.tunnelTo(alice)
			if err := transmit(h, tunnel); err != nil {
				t.Fatal(err)
			}

			agent, his := h.enrol(bob, bed.Socket())
			h.closed(alice, hers)
			h.closed(bob, his)
			refused := []cardbroker.Reason{cardbroker.ReaderSharedHost, cardbroker.CardReset, cardbroker.CardRemoved}
			for range 2 {
				if err := transmit(h, tunnel); !slices.Contains(refused, cardbroker.ReasonOf(err)) {
					t.Errorf("a command on alice's tunnel = %v, want one of %q", err, refused)
				}
			}
			_, err := tunnel.Connect(h.Context(), cardbroker.ShareShared)
			if reason := cardbroker.ReasonOf(err); reason != cardbroker.ReaderSharedHost {
				t.Errorf("Connect on alice's tunnel = %v, want %s", err, cardbroker.ReaderSharedHost)
			}

			if err := agent.Stop(); err != nil {
				t.Errorf("bob's agent: %v", err)
			}
			h.until("the tunnel works again", func() bool {
				_, err := tunnel.Connect(h.Context(), cardbroker.ShareShared)
				return err == nil
			})
			if err := transmit(h, tunnel); err != nil {
				t.Errorf("a command on alice's tunnel = %v, after bob has left", err)
			}
			tunnel.Close()
			alone()
		})
	}
}

// TestSharedDuringTransmit has bob come while alice's card is at work: the command does not hang, and nobody is told that it
// did not run.
func TestSharedDuringTransmit(t *testing.T) {
	h, alice, bob := newAttack(t)
	bed := h.newBed(alice, "bed")
	h.open(bed)
	h.insert(bed, 0)
	h.start()
	_, hers := h.enrol(alice, bed.Socket())
	tunnel := h.tunnelTo(alice)
	if err := transmit(h, tunnel); err != nil {
		t.Fatal(err)
	}
	long := []byte{0x80, 0xEF, 0xFF, 0xFF} // 65 s
	ended := begin(func() error {
		_, err := tunnel.Transmit(h.Context(), long)
		return err
	})
	h.enrol(bob, bed.Socket())
	if err := await(t, "Transmit", ended); cardbroker.ReasonOf(err) != cardbroker.Indeterminate {
		t.Errorf("Transmit = %v, want %s", err, cardbroker.Indeterminate)
	}
	h.closed(alice, hers)
}

// TestServiceOfOnesOwn gives alice and bob a PC/SC service each: both work, at the same time, and neither gets at the other's.
func TestServiceOfOnesOwn(t *testing.T) {
	h, alice, bob := newAttack(t)
	hers, his := h.newBed(alice, "hers"), h.newBed(bob, "his")
	h.insert(hers, 0)
	h.insert(his, 1)
	h.start()
	_, line := h.enrol(alice, hers.Socket())
	agent, _ := h.enrol(bob, his.Socket())
	for p, want := range map[*stage.Person]string{alice: hers.Readers()[0], bob: his.Readers()[1]} {
		if got := h.cards(p); !slices.Equal(got, []string{want}) {
			t.Errorf("%s's cards are in %q, want %q", p.Name, got, want)
		}
	}
	one, two := h.tunnelTo(alice), h.tunnelTo(bob)
	for _, tunnel := range []*virtualreader.Tunnel{one, two, one} {
		if err := transmit(h, tunnel); err != nil {
			t.Errorf("Transmit = %v", err)
		}
	}
	one.Close()
	two.Close()

	if _, err := h.dial(bob, "unix", "", hers.Socket()); !errors.Is(err, syscall.EACCES) {
		t.Errorf("bob's dial of alice's PC/SC service = %v, want %v", err, syscall.EACCES)
	}
	out, err := h.Run(bob, "cardsandbox", "pcsc")
	if err != nil || out.Status == 0 {
		t.Errorf("bob's sandbox without an agent = %+v, %v", out, err)
	}
	at := fmt.Sprintf("127.0.0.1:%d", line.Port)
	if got := h.ask(bob, "tcp4", at, request("GET", at, "/v3/readers", "")); got.Status != 403 {
		t.Errorf("bob is answered %d %s by alice's agent", got.Status, got.Body)
	}
	// Through the broker: her reader's id with his ticket, and her ticket with another tenant's token.
	offered, other := h.offerCard(alice), h.offerCard(bob)
	for name, args := range map[string][]string{
		"alice's reader with bob's ticket":  {string(offered.Reader), "--ticket", other.Ticket, "--token-file", h.Path("token")},
		"alice's ticket of another tenant":  {"-", "--ticket", offered.Ticket, "--token-file", h.Path("rival.token")},
		"alice's reader without any ticket": {string(offered.Reader), "--token-file", h.Path("token")},
	} {
		out, err := h.Run(nil, "cardbroker", append([]string{"reader", "apdu", args[0], "80EE0000020102", "--broker", h.ready.Backend, "--ca", h.Path("door.pem"),
			"--json"}, args[1:]...)...)
		if err != nil || out.Status != 3 && out.Status != 4 || len(out.Stdout) > 0 {
			t.Errorf("%s = status %d %s%s, %v, want a refusal", name, out.Status, out.Stdout, out.Stderr, err)
		}
	}
	h.apdu(0, offered.Ticket, "80EE0000020102")

	// His agent, pointed to her service.
	if err := agent.Stop(); err != nil {
		t.Fatal(err)
	}
	_, line = h.enrol(bob, hers.Socket())
	h.closed(bob, line)
	if got := h.cards(alice); !slices.Equal(got, hers.Readers()[:1]) {
		t.Errorf("alice's cards are in %q meanwhile, want %q", got, hers.Readers()[:1])
	}
}

// TestSharedByPolicy has the administrator allow what TestSharedService refuses: then every user has every reader.
func TestSharedByPolicy(t *testing.T) {
	h, alice, bob := newAttack(t)
	bed := h.newBed(alice, "bed")
	h.open(bed)
	h.insert(bed, 0)
	h.policy = h.Path("policy.d")
	if err := errors.Join(os.Mkdir(h.policy, 0o755), os.WriteFile(h.policy+"/shared.yaml", []byte("pcsc: {shared: allow}\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	h.start()
	h.enrol(alice, bed.Socket())
	h.enrol(bob, bed.Socket())
	for _, p := range []*stage.Person{alice, bob} {
		if got, want := h.cards(p), bed.Readers()[:1]; !slices.Equal(got, want) {
			t.Errorf("%s's cards are in %q, want %q", p.Name, got, want)
		}
	}
}
