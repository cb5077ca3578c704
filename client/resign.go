// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/cardbroker/cardbroker"
)

// resignTimeout bounds the question: whoever has the port may be anybody.
const resignTimeout = 2 * time.Second

// AskToResign asks an elected leader to leave the well-known port to a service, which it does soon after if we may run one.
// Errors: CallerRefused: we may not; Unavailable: nobody answers; Unsupported: whoever listens there is no elected leader.
func AskToResign(ctx context.Context, port cardbroker.Port) error {
	ctx, cancel := context.WithTimeout(ctx, resignTimeout)
	defer cancel()
	err := askStranger(ctx, "POST", port, "/local/v1/resign")
	switch cardbroker.ReasonOf(err) {
	case "", cardbroker.CallerRefused, cardbroker.Canceled:
		return err
	case cardbroker.Unavailable:
		return err
	}
	return cardbroker.Wrapf(err, cardbroker.Unsupported, "whoever listens on port %d is no elected leader", port)
}

// AskHealth asks whoever holds the well-known port whether he works. Errors: what he says; Unavailable: nobody answers; Timeout.
func AskHealth(ctx context.Context, port cardbroker.Port) error {
	return askStranger(ctx, "GET", port, "/healthz")
}

// askStranger makes a request without a body of whoever holds the port.
func askStranger(ctx context.Context, method string, port cardbroker.Port, path string) error {
	var dialer net.Dialer
	dialer.SetMultipathTCP(false)
	h := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, DialContext: dialer.DialContext},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	_, err := do[struct{}](ctx, h, method, "http://"+loopbackAddress(port)+path, nil)
	return err
}

func loopbackAddress(port cardbroker.Port) string {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port)).String()
}
