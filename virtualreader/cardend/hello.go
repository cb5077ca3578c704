// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend

import (
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// hello receives the first frame.
func (e *exchange) hello() (wire.Hello, error) {
	head, payload, err := e.conn.Receive()
	if err != nil {
		return wire.Hello{}, err
	}
	if head.Type != wire.TypeHello || head.Seq != 1 || head.Reader != 0 || head.Ack != 0 {
		return wire.Hello{}, invalid("the first frame is not Hello with seq 1")
	}
	hello, err := wire.ParseHello(payload)
	e.seq, e.share = 1, hello.Share
	e.remember(head.Type, payload)
	return hello, err
}

// welcome answers Hello.
func (e *exchange) welcome(lease time.Duration, resume cardbroker.Secret) error {
	w := wire.Welcome{Tunnel: e.tunnel.ID, Epoch: e.tunnel.Epoch, Lease: lease, Resume: resume, Reader: e.tunnel.Reader}
	if !resume.Empty() {
		w.Grace = Grace
	}
	e.kind, e.payload = wire.TypeWelcome, w.Append(nil)
	return e.send()
}
