// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"encoding/hex"
	"fmt"
	"slices"
	"testing"

	"github.com/cardbroker/cardbroker/test/stage"
)

// serve starts `cardbroker reader serve` for the tenant "issuer" on a socket of that name.
func (h *host) serve(name string, args ...string) (*stage.Service, stage.Ready) {
	h.t.Helper()
	service, line, err := h.Start(nil, name, append([]string{"reader", "serve", "--socket", h.Path(name + ".sock"), "--log-level", h.level(),
		"--broker", h.ready.Backend, "--ca", h.Path("door.pem"), "--token-file", h.Path("token")}, args...)...)
	if err != nil {
		h.t.Fatal(err)
	}
	return service, line
}

// ends is what a PC/SC program may hear of the end of its service.
var ends = []string{"SCARD_F_COMM_ERROR", "SCARD_E_NO_SERVICE", "SCARD_E_SERVICE_STOPPED", "SCARD_E_SYSTEM_CANCELLED", "SCARD_E_READER_UNAVAILABLE",
	"SCARD_E_UNKNOWN_READER", "SCARD_W_SECURITY_VIOLATION"} // the last is the library's word for a connection that is cut off

// TestServeEnds ends `reader serve` in each way while PC/SC programs wait for an event, for another's transaction and for
// the card: they are all told, at once, and it ends in time.
func TestServeEnds(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*chain, *stage.Service) error{
		"told to": func(_ *chain, serve *stage.Service) error { return serve.Stop() },
		"killed": func(c *chain, serve *stage.Service) error {
			serve.Kill()
			c.endLeases() // which waits for a back end that may come back
			return nil
		},
		"its lease is ended": func(c *chain, serve *stage.Service) error {
			c.endLeases()
			if status := serve.Wait(); status != 3 {
				return fmt.Errorf("it ended with status %d, want 3", status)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newChain(t)
			serve, line := h.serve("serve", "--ticket", h.offered())
			reader := line.Readers[0]
			program := func(calls ...[]string) *python {
				p := newPython(h.host, line.Socket)
				for _, words := range calls {
					if code := within(t, words[0], func() string { code, _ := p.call(words...); return code }); code != "ok" {
						t.Fatalf("%s = %s", words[0], code)
					}
				}
				return p
			}
			watcher := program([]string{"ready", reader})
			holder := program([]string{"ready", reader}, []string{"connect", reader}, []string{"begin"})
			other := program([]string{"ready", reader})
			waits := map[string]<-chan string{
				"the event":       begin(func() string { code, _ := watcher.call("empty", reader); return code }),
				"the card":        begin(func() string { code, _ := holder.call("transmit", hex.EncodeToString(delay)); return code }),
				"the transaction": begin(func() string { code, _ := other.call("connect", reader); return code }),
			}
			h.awaitCommand()
			if err := end(h, serve); err != nil {
				t.Errorf("reader serve = %v", err)
			}
			for what, ended := range waits {
				got := await(t, "the wait for "+what, ended)
				if !slices.Contains(ends, got) {
					t.Errorf("the wait for %s = %s, want one of %q", what, got, ends)
				}
			}
			h.free()
			h.works(newTunnelCaller(h))
		})
	}
}
