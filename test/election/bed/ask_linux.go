// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package bed

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/cardbroker/cardbroker/test/stage"
)

const askTimeout = 3 * time.Second

// Row is an agent as the registry lists it for its user.
type Row struct {
	Session    string
	UID        uint32
	Port       int
	State      string
	ListenerOK bool `json:"listener_ok"`
}

// List is what the registry says to a user.
type List struct {
	Sessions []Row
	Epoch    uint64
}

// Info is what the registry says of itself to anybody.
type Info struct {
	Cardbroker struct {
		Mode  string
		Epoch uint64
	}
}

// Settled waits until agents have nothing to do any more that they begin with: each makes a key, which keeps a processor for a while.
func (b *Bed) Settled(ctx context.Context, agents ...*Agent) error {
	for i, a := range agents {
		if err := a.settled(ctx); err != nil {
			return fmt.Errorf("%d of %d agents have come to rest, and then: %w", i, len(agents), err)
		}
	}
	return nil
}

// settled waits for the key of one agent, as long as it runs.
func (a *Agent) settled(ctx context.Context) error {
	began := time.Now()
	var last error // of what it has said in time
	for asked := 0; a.PID() != 0; asked++ {
		status, err := a.status(ctx, "/device-key")
		switch {
		case err == nil && status == http.StatusOK:
			return nil
		case err == nil:
			last = fmt.Errorf("it answers, with status %d", status)
		case ctx.Err() == nil || last == nil:
			last = err
		}
		select {
		case <-time.After(settlePoll):
		case <-ctx.Done():
			return fmt.Errorf("agent %s, process %d, at port %d, has no key: asked %d times in %v, at last: %w; %s",
				a.Session, a.PID(), a.Port, asked+1, time.Since(began), last, a.answers())
		}
	}
	return nil
}

// answers says whether an agent answers at all: it has others wait for its key.
func (a *Agent) answers() string {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	began := time.Now()
	status, err := a.status(ctx, "/info")
	if err != nil {
		return fmt.Sprintf("and nobody answers GET /info: %v", err)
	}
	return fmt.Sprintf("it answers GET /info with status %d after %v", status, time.Since(began))
}

const settlePoll = 20 * time.Millisecond

// status asks an agent as its user, and returns the answer's status.
func (a *Agent) status(ctx context.Context, path string) (int, error) {
	response, _, err := a.get(ctx, path)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, nil
}

// get asks an agent as its user.
func (a *Agent) get(ctx context.Context, path string) (*http.Response, []byte, error) {
	conn, err := dialAs(ctx, a.UID(), "127.0.0.1", a.Port)
	if err != nil {
		return nil, nil, err
	}
	defer conn.Close()
	return get(conn, conn.RemoteAddr().String(), path)
}

// get makes one request, whose answer ends the connection.
func get(conn net.Conn, host, path string) (*http.Response, []byte, error) {
	conn.SetDeadline(time.Now().Add(askTimeout))
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, host); err != nil {
		return nil, nil, err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response, body, err
}

// Ask asks the registry as a local program of the user, and decodes the answer. header is the epoch that every answer carries.
func Ask(ctx context.Context, uid uint32, host, path string, answer any) (header uint64, err error) {
	conn, err := DialAs(ctx, uid, host)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	response, body, err := get(conn, conn.RemoteAddr().String(), path)
	if err != nil {
		return 0, err
	}
	if response.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("user %d is answered %d %s", uid, response.StatusCode, body)
	}
	header, err = strconv.ParseUint(response.Header.Get("Cardbroker-Epoch"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("an answer without epoch: %w", err)
	}
	return header, json.Unmarshal(body, answer)
}

// DialAs connects to the well-known port of 127.0.0.1 or ::1 as the user.
func DialAs(ctx context.Context, uid uint32, host string) (net.Conn, error) {
	return dialAs(ctx, uid, host, Port)
}

func dialAs(ctx context.Context, uid uint32, host string, port int) (conn net.Conn, err error) {
	var dialer net.Dialer
	dialer.SetMultipathTCP(false)
	dialer.Timeout = askTimeout
	refused := stage.As(uid, func() {
		conn, err = dialer.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	})
	if refused != nil {
		return nil, refused
	}
	return conn, err
}

// Source says what a registry tells a user of his own agents.
type Source func(ctx context.Context, uid uint32) (List, error)

// ListOf is what whoever was elected says.
func ListOf(ctx context.Context, uid uint32) (list List, err error) {
	header, err := Ask(ctx, uid, "127.0.0.1", "/local/v1/agents", &list)
	if err == nil && header != list.Epoch {
		err = fmt.Errorf("the header's epoch is %d, that of the list %d", header, list.Epoch)
	}
	return list, err
}
