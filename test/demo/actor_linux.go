// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/client"
	"github.com/cardbroker/cardbroker/internal/peer"
	"github.com/cardbroker/cardbroker/internal/run"
)

// What a user of the demo does himself, in a process of his own: the kernel must see him, not the demo.
//
//	get URL              asks, keeps the connection open until standard input ends
//	page ORIGIN METHOD URL BODY asks as a page of that origin does in his browser; without an origin, as a program of his
//	reserve SOCKET CLAIM reserves a port for a session "guest" with that claim
//	register SOCKET CLAIM registers that session
//	depose PID URL       kills an elected leader, and says when another one answers at /info
const guestSession = "guest"

// actTimeout is how long an act may take.
const actTimeout = 60 * time.Second

// actor runs one of these and prints its answer as JSON.
func actor(args []string) int {
	ctx, cancel := context.WithTimeout(context.Background(), actTimeout)
	defer cancel()
	var answer any
	var err error
	switch {
	case len(args) == 2 && args[0] == "get":
		err = get(ctx, args[1])
	case len(args) == 5 && args[0] == "page":
		answer, err = page(ctx, args[1], args[2], args[3], args[4])
	case len(args) == 3 && args[0] == "reserve":
		answer, err = broker(args[1]).Reserve(ctx, api.Claim{Session: guestSession, Claim: args[2]})
	case len(args) == 3 && args[0] == "register":
		answer, err = register(ctx, broker(args[1]), args[2])
	case len(args) == 3 && args[0] == "depose":
		answer, err = depose(ctx, args[1], args[2])
	default:
		err = fmt.Errorf("unknown act %q", args)
	}
	if err != nil {
		answer = api.Describe(err)
	}
	if answer != nil {
		json.NewEncoder(os.Stdout).Encode(answer)
	}
	if err != nil {
		return 1
	}
	return 0
}

func broker(socket string) *client.Broker {
	return client.NewBroker(client.BrokerConfig{Socket: socket, Accounts: []cardbroker.UserID{peer.Self()}})
}

// got is what a get prints.
type got struct {
	Client string          `json:"client"` // our end of the connection
	Status int             `json:"status"`
	Body   json.RawMessage `json:"body"`
}

// text is the answer in a line.
func (g got) text() string { return fmt.Sprintf("%d %s", g.Status, strings.TrimSpace(string(g.Body))) }

// get asks as a local program would, prints the answer and holds the connection, so that it can be explained.
func get(ctx context.Context, address string) error {
	var answer got
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		var dialer net.Dialer
		dialer.SetMultipathTCP(false)
		conn, err := dialer.DialContext(ctx, network, address)
		if err == nil {
			answer.Client = conn.LocalAddr().String()
		}
		return conn, err
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer.Status = response.StatusCode
	answer.Body, err = io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
		return err
	}
	io.Copy(io.Discard, os.Stdin)
	return nil
}

// page asks with the headers that a browser gives to a request of a web page; with none of them if there is no origin.
func page(ctx context.Context, origin, method, address, body string) (got, error) {
	request, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return got{}, err
	}
	if origin != program {
		request.Header.Set("Origin", origin)
		request.Header.Set("Sec-Fetch-Site", "cross-site")
		request.Header.Set("Sec-Fetch-Mode", "cors")
		request.Header.Set("X-CSRF-Token", "demo")
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	var dialer net.Dialer
	dialer.SetMultipathTCP(false)
	transport := &http.Transport{DialContext: dialer.DialContext}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return got{}, err
	}
	defer response.Body.Close()
	answer := got{Status: response.StatusCode}
	answer.Body, err = io.ReadAll(response.Body)
	return answer, err
}

// register tries to become the agent of the session "guest" by a claim.
func register(ctx context.Context, broker *client.Broker, claim string) (*api.Registered, error) {
	link, err := broker.Link(ctx)
	if err != nil {
		return nil, err
	}
	defer link.Close()
	hello, err := json.Marshal(api.FromAgent{Register: &api.Register{Claim: api.Claim{Session: guestSession, Claim: claim}}})
	if err != nil {
		return nil, err
	}
	if err := link.Write(hello); err != nil {
		return nil, err
	}
	text, err := link.Next()
	if err != nil {
		return nil, err
	}
	var answer api.FromBroker
	if err := json.NewDecoder(strings.NewReader(string(text))).Decode(&answer); err != nil {
		return nil, err
	}
	if answer.Failed != nil {
		return nil, answer.Failed.Error()
	}
	return answer.Registered, nil
}

// succession is what a depose prints.
type succession struct {
	MS    float64 `json:"ms"` // from the kill to the answer
	Epoch uint64  `json:"epoch"`
}

// depose kills the process and asks, each millisecond, until an elected leader answers.
func depose(ctx context.Context, pid, address string) (next succession, err error) {
	leader, err := strconv.Atoi(pid)
	if err != nil {
		return next, err
	}
	begun := time.Now()
	if err := syscall.Kill(leader, syscall.SIGKILL); err != nil {
		return next, err
	}
	for {
		said, err := page(ctx, program, http.MethodGet, address, "")
		var info api.Info
		if err == nil && said.Status == http.StatusOK && json.Unmarshal(said.Body, &info) == nil {
			return succession{MS: float64(time.Since(begun).Microseconds()) / 1000, Epoch: info.Cardbroker.Epoch}, nil
		}
		if !run.Pause(ctx, time.Millisecond) {
			return next, errors.Join(ctx.Err(), err)
		}
	}
}
