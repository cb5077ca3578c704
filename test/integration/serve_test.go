// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
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
