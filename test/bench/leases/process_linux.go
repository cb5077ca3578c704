// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package leases

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/test/bench/agents"
	"github.com/cardbroker/cardbroker/virtualreader"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/journal"
)

// Pipe leads to the benchmarks from one end of many leases, which is in a process of its own. They ask how many leases it is to
// have, and are answered by "" or by what failed.
type Pipe struct {
	In  io.Reader
	Out io.Writer
}

// answer says where, and then answers until In ends. have makes as many leases. Before each answer the process gives back what it does
// not need.
func (p Pipe) answer(where any, have func(count int) error) error {
	out, in := json.NewEncoder(p.Out), json.NewDecoder(p.In)
	if err := out.Encode(where); err != nil {
		return err
	}
	for {
		var count int
		if err := in.Decode(&count); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		answer := ""
		if err := have(count); err != nil {
			answer = err.Error()
		}
		debug.FreeOSMemory()
		if err := out.Encode(answer); err != nil {
			return err
		}
	}
}

// Hold is the agent's end, with journals in the folder. Where it is, is a ticket for as many readers as are asked for.
func Hold(ctx context.Context, p Pipe, cfg agents.EchoConfig, folder string) (err error) {
	group := run.New(ctx)
	defer group.Stop()
	if cfg.Journals, err = journal.OpenFolder(folder); err != nil {
		return err
	}
	holder, err := agents.NewEcho(group, cfg)
	if err != nil {
		return err
	}
	return p.answer(holder.Ticket(), func(int) error { return group.Context().Err() }) // the other end opens them
}

// BackEnd says what the back end's end opens its leases with. Each has one command.
type BackEnd struct {
	Door, Certificate, Token, Ticket string
	Command                          []byte
}

// openEvery is the time between two tunnels: one user may make a hundred requests a second, and each has a leg.
const openEvery = 12 * time.Millisecond

// Use is the back end's end.
func Use(ctx context.Context, p Pipe, b BackEnd) error {
	client, err := Client(b.Door, b.Certificate, b.Token)
	if err != nil {
		return err
	}
	var open []*virtualreader.Tunnel
	defer func() {
		for _, tunnel := range open {
			tunnel.Close()
		}
	}()
	return p.answer(nil, func(count int) error {
		ticker := time.NewTicker(openEvery)
		defer ticker.Stop()
		for len(open) < count {
			tunnel, err := client.Open(ctx, virtualreader.TicketReader, b.Ticket, virtualreader.Options{})
			if err != nil {
				return fmt.Errorf("cannot open another lease after %d: %w", len(open), err)
			}
			open = append(open, tunnel)
			if _, err := tunnel.Transmit(ctx, b.Command); err != nil {
				return fmt.Errorf("cannot use lease %d: %w", len(open), err)
			}
			<-ticker.C
		}
		return nil
	})
}

// Client is a back end at the door, which has the certificate in a file.
func Client(door, certificate, token string) (*virtualreader.Client, error) {
	pem, err := os.ReadFile(certificate)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return virtualreader.New(virtualreader.Config{
		Brokers: []string{door},
		TLS:     &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots},
		Token:   cardbroker.NewSecret([]byte(token)),
	})
}
