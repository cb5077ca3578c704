// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package bed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/cardbroker/cardbroker/test/stage"
)

// socket is where a service answers, while one runs.
func (b *Bed) socket() string { return b.Path("run", "broker.sock") }

// StartService starts a service, as root, and waits until it is ready. It keeps its state from one time to the next. The name is that of its log.
func (b *Bed) StartService(name string) (*stage.Service, error) {
	service, _, err := b.Stage.Start(nil, name, "host", "run", "--state", b.Path("service"), "--socket", b.socket(),
		"--listen", net.JoinHostPort("127.0.0.1", strconv.Itoa(Port)))
	return service, err
}

// ServiceListOf is what the service says.
func (b *Bed) ServiceListOf(ctx context.Context, uid uint32) (list List, err error) {
	var conn net.Conn
	refused := stage.As(uid, func() {
		dialer := net.Dialer{Timeout: askTimeout}
		conn, err = dialer.DialContext(ctx, "unix", b.socket())
	})
	if refused != nil || err != nil {
		return list, fmt.Errorf("no service: %w, %w", refused, err)
	}
	defer conn.Close()
	response, body, err := get(conn, "cardbroker", "/local/v1/agents")
	if err != nil {
		return list, err
	}
	if response.StatusCode != http.StatusOK {
		return list, fmt.Errorf("the service answers user %d with %d %s", uid, response.StatusCode, body)
	}
	return list, json.Unmarshal(body, &list)
}

// AwaitService waits until the service lists every agent that runs, as [Bed.Await] does with whoever was elected.
func (b *Bed) AwaitService(ctx context.Context) (at Arrival, lists map[uint32]List, err error) {
	return b.awaitAt(ctx, b.ServiceListOf, 0)
}

// Agree waits until every agent that runs says, where it has been all the time, that its registry is of this kind.
func (b *Bed) Agree(ctx context.Context, mode string) error {
	failed := make([]error, len(b.Agents))
	var all sync.WaitGroup
	for i, a := range b.Agents {
		if a.PID() != 0 {
			all.Go(func() { failed[i] = a.agrees(ctx, mode) })
		}
	}
	all.Wait()
	return errors.Join(failed...)
}

func (a *Agent) agrees(ctx context.Context, mode string) error {
	var last error // of what it has said in time
	for {
		var info Info
		response, body, err := a.get(ctx, "/info")
		if err == nil {
			err = json.Unmarshal(body, &info)
		}
		if err == nil && response.StatusCode == http.StatusOK && info.Cardbroker.Mode == mode {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("it answers with status %d and mode %q", response.StatusCode, info.Cardbroker.Mode)
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		select {
		case <-time.After(settlePoll):
		case <-ctx.Done():
			return fmt.Errorf("agent %s, process %d, at port %d, does not say mode %q in time, at last: %w", a.Session, a.PID(), a.Port, mode, last)
		}
	}
}
