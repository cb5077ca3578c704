// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package virtualreader

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cardbroker/cardbroker"
)

// links is a listener whose connections a holder can cut.
type links struct{ net.Listener }

func (l links) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newLink(c), nil
}

// TestOneTimeTokens has a broker that takes each token once: a new one is asked for with each attempt, through TLS and with the
// ticket where it belongs.
func TestOneTimeTokens(t *testing.T) {
	var given atomic.Int32
	var used sync.Map
	h := lost(&holder{})
	h.start(t)
	h.admit = func(number int, r *http.Request) *cardbroker.Error {
		if _, again := used.LoadOrStore(r.Header.Get("Authorization"), true); again {
			return cardbroker.Refusef(cardbroker.Unauthenticated, cardbroker.RuleToken, "the token was used before")
		}
		if want := "/cb/v1/readers/-/tunnel"; r.URL.Path != want {
			t.Errorf("connection %d goes to %s, want %s", number, r.URL.Path, want)
		}
		if number == 2 {
			return cardbroker.Errorf(cardbroker.AgentRestarting, "your agent is starting")
		}
		return nil
	}
	server := httptest.NewUnstartedServer(h)
	server.Listener = links{server.Listener}
	server.StartTLS()
	defer server.Close()
	defer h.running.Wait()
	client, err := New(Config{
		Brokers: []string{"wss" + server.URL[len("https"):]},
		TLS:     server.Client().Transport.(*http.Transport).TLSClientConfig,
		Renew: func(context.Context, string) (cardbroker.Secret, error) {
			return cardbroker.NewSecret(fmt.Append(nil, "token-", given.Add(1))), nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	tunnel, err := client.Open(t.Context(), TicketReader, "cbt1", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer tunnel.Close()
	for n := range 3 {
		if _, err := tunnel.Transmit(t.Context(), command(n)); err != nil {
			t.Fatal(err)
		}
	}
	if given.Load() != 3 || tunnel.Resumed() != 1 {
		t.Errorf("%d tokens were given, and the tunnel was resumed %d times, want 3 and once", given.Load(), tunnel.Resumed())
	}
}
