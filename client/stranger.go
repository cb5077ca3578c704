// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"net"
	"net/http"
	"net/netip"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
)

// AskHealth asks whoever holds the well-known port whether he works. Errors: what he says; Unavailable: nobody answers; Timeout.
func AskHealth(ctx context.Context, port cardbroker.Port) error {
	_, err := askStranger[struct{}](ctx, "GET", port, "/healthz", nil)
	return err
}

// AskInfo asks whoever holds the well-known port what he is. Nobody vouches for the answer. Errors: as AskHealth.
func AskInfo(ctx context.Context, port cardbroker.Port) (api.Info, error) {
	return askStranger[api.Info](ctx, "GET", port, "/info", nil)
}

// askStranger makes a request of whoever holds the port; body nil: none.
func askStranger[T any](ctx context.Context, method string, port cardbroker.Port, path string, body any) (T, error) {
	var dialer net.Dialer
	dialer.SetMultipathTCP(false)
	h := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, DialContext: dialer.DialContext},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return do[T](ctx, h, method, "http://"+loopbackAddress(port)+path, body)
}

func loopbackAddress(port cardbroker.Port) string {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port)).String()
}
