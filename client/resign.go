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
	"github.com/cardbroker/cardbroker/api"
)

// resignTimeout bounds the question: whoever has the port may be anybody.
const resignTimeout = 2 * time.Second

// AskToResign asks an elected leader to leave the well-known port to a service, which it does soon after if we may run one.
// Errors: CallerRefused: we may not; Unavailable: nobody answers; Unsupported: whoever listens there is no elected leader.
func AskToResign(ctx context.Context, port cardbroker.Port) error {
	ctx, cancel := context.WithTimeout(ctx, resignTimeout)
	defer cancel()
	_, err := askStranger[struct{}](ctx, "POST", port, "/local/v1/resign")
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
	_, err := askStranger[struct{}](ctx, "GET", port, "/healthz")
	return err
}

// AskInfo asks whoever holds the well-known port what he is. Nobody vouches for the answer. Errors: as AskHealth.
func AskInfo(ctx context.Context, port cardbroker.Port) (api.Info, error) {
	return askStranger[api.Info](ctx, "GET", port, "/info")
}

// askStranger makes a request without a body of whoever holds the port.
func askStranger[T any](ctx context.Context, method string, port cardbroker.Port, path string) (T, error) {
	var dialer net.Dialer
	dialer.SetMultipathTCP(false)
	h := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, DialContext: dialer.DialContext},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return do[T](ctx, h, method, "http://"+loopbackAddress(port)+path, nil)
}

func loopbackAddress(port cardbroker.Port) string {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port)).String()
}
