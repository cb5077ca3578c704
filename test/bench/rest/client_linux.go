// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package rest

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/test/bench/bare"
	"github.com/cardbroker/cardbroker/test/bench/sample"
)

// Client is a program of the user's that keeps one connection to his agent. One goroutine uses it.
type Client struct {
	Origin  cardbroker.Origin // of the page that it is; empty: it is none
	address string
	conn    net.Conn // nil: there is none yet
	answers *bufio.Reader
}

// NewClient returns a client of the agent on a port.
func NewClient(port cardbroker.Port) *Client {
	return &Client{address: net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port)))}
}

// Close ends its connection.
func (c *Client) Close() {
	if c.conn != nil {
		c.conn.Close()
	}
}

// Ask sends a request and decodes the data of its answer. body nil: a GET. Errors are those of the answer.
func (c *Client) Ask(ctx context.Context, path string, body, data any) error {
	if data == nil {
		data = new(any)
	}
	return c.AskPlain(ctx, path, body, &api.Success{Data: data})
}

// AskPlain does that where the answer is not wrapped.
func (c *Client) AskPlain(ctx context.Context, path string, body, answer any) error {
	if c.conn == nil {
		conn, err := bare.Dial(ctx, c.address)
		if err != nil {
			return err
		}
		c.conn, c.answers = conn, bufio.NewReader(conn)
	}
	method, text := "GET", []byte(nil)
	if body != nil {
		method = "POST"
		var err error
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	page := ""
	if c.Origin != "" {
		page = "Origin: " + string(c.Origin) + "\r\nX-CSRF-Token: t1c-js\r\nContent-Type: application/json\r\n"
	}
	request := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\n%sContent-Length: %d\r\n\r\n%s", method, path, c.address, page, len(text), text)
	if _, err := c.conn.Write(request); err != nil {
		return err
	}
	response, err := http.ReadResponse(c.answers, nil)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %w", path, api.ReadError(response))
	}
	defer response.Body.Close()
	if text, err = io.ReadAll(response.Body); err != nil {
		return err
	}
	return json.Unmarshal(text, answer)
}

// Reader returns where the routes of remote loading of the reader of that name are.
func (c *Client) Reader(ctx context.Context, name string) (path string, err error) {
	var readers []api.CardReader
	if err := c.Ask(ctx, "/v3/readers", nil, &readers); err != nil {
		return "", err
	}
	i := slices.IndexFunc(readers, func(r api.CardReader) bool { return r.Name == name })
	if i < 0 {
		return "", fmt.Errorf("the agent has no reader %q", name)
	}
	return "/v3/modules/remoteloading/apps/hsm/readers/" + string(readers[i].ID) + "/", nil
}

// Session is a session at a reader.
type Session struct {
	client *Client
	reader string // path
	id     string
}

// Open opens a session at the reader of that name.
func (c *Client) Open(ctx context.Context, reader string) (*Session, error) {
	path, err := c.Reader(ctx, reader)
	if err != nil {
		return nil, err
	}
	s := &Session{client: c, reader: path}
	timeout := 600
	return s, c.Ask(ctx, path+"open-session", api.OpenRemote{Timeout: &timeout}, &s.id)
}

// pace is how often a command is sent at most: below the rate that one user may ask at.
const pace = 1050 * time.Microsecond

// Trips sends a command that the card answers with its data again and again, and returns how long each but the first took, in µs.
func (s *Session) Trips(ctx context.Context, command []byte) func(warm, count int) ([]float64, error) {
	body := api.RemoteCommand{Command: hex.EncodeToString(command), SessionID: s.id}
	return func(warm, count int) (took []float64, err error) {
		tick := time.NewTicker(pace)
		defer tick.Stop()
		for n := range warm + count {
			var answer api.RemoteAnswer
			<-tick.C
			start := time.Now()
			if err := s.client.Ask(ctx, s.reader+"command", body, &answer); err != nil {
				return nil, err
			}
			if n >= warm {
				took = append(took, sample.Micros(time.Since(start)))
			}
			if answer.SW != "9000" || !strings.EqualFold(answer.RX, body.Command[10:]) {
				return nil, fmt.Errorf("no echo, but %s", answer.SW)
			}
		}
		return took, nil
	}
}

// Close ends the session.
func (s *Session) Close(ctx context.Context) error {
	return s.client.Ask(ctx, s.reader+"close-session", api.RemoteSession{SessionID: s.id}, nil)
}
