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

// Ask asks the registry as a local program of the user, and decodes the answer. header is the epoch that every answer carries.
func Ask(ctx context.Context, uid uint32, host, path string, answer any) (header uint64, err error) {
	conn, err := DialAs(ctx, uid, host)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(askTimeout))
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, conn.RemoteAddr()); err != nil {
		return 0, err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
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
func DialAs(ctx context.Context, uid uint32, host string) (conn net.Conn, err error) {
	var dialer net.Dialer
	dialer.SetMultipathTCP(false)
	dialer.Timeout = askTimeout
	refused := stage.As(uid, func() {
		conn, err = dialer.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(Port)))
	})
	if refused != nil {
		return nil, refused
	}
	return conn, err
}

// ListOf returns the user's own agents.
func ListOf(ctx context.Context, uid uint32) (list List, err error) {
	header, err := Ask(ctx, uid, "127.0.0.1", "/local/v1/agents", &list)
	if err == nil && header != list.Epoch {
		err = fmt.Errorf("the header's epoch is %d, that of the list %d", header, list.Epoch)
	}
	return list, err
}
