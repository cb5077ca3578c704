// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader"
	"github.com/cardbroker/cardbroker/virtualreader/pcscd"
	"github.com/cardbroker/cardbroker/virtualreader/remote"
)

// serving is how `cardbroker reader serve` serves.
type serving struct {
	socket string
	listen []string // where brokers call; none: they are called
	lease  time.Duration
	fd     int
}

func (p *program) readerServe(flags *readerFlags) *cobra.Command {
	var s serving
	c := &cobra.Command{Use: "serve --socket PATH [READER…]", Short: "Serve offered readers to PC/SC programs, as a PC/SC service of its own",
		Long: "Open tunnels to readers and serve them on a Unix socket as a PC/SC service: any PC/SC program of this user that runs with\n" +
			"PCSCLITE_CSOCK_NAME=PATH uses them as if they were plugged in here. Each --ticket is for one reader; READER names the readers of\n" +
			"the tickets in their order (- or nothing: the ticket's own) and, without tickets, such as are offered for good (nothing: all).\n" +
			"The leases are renewed for as long as this runs. It ends with status 0 when it is told to, and when the last tunnel has\n" +
			"ended, with the status of the reason.",
		RunE: func(c *cobra.Command, args []string) error {
			out, err := p.openReady(s.fd)
			if err != nil {
				return err
			}
			log, err := p.logger()
			if err != nil {
				return err
			}
			if s.socket == "" {
				return cardbroker.Errorf(cardbroker.Invalid, "name the socket to serve on with --socket PATH")
			}
			asked, err := flags.client()
			if err != nil {
				return err
			}
			if flags.called != nil {
				s.listen = []string{flags.called.Addr().String()}
			}
			ctx, stop := p.service(c.Context())
			defer stop()
			return p.serveReaders(ctx, out, log, s, func() ([]*virtualreader.Tunnel, error) {
				return flags.openAll(ctx, asked, args, virtualreader.Options{Lease: s.lease})
			})
		}}
	c.Flags().StringVar(&s.socket, "socket", "", "path of the socket to make; nobody but this user reaches it")
	c.Flags().DurationVar(&s.lease, "lease", 0, "length of the leases, which are renewed (default: the holder's, five minutes)")
	c.Flags().IntVar(&s.fd, "ready-fd", 0, "descriptor for the ready line (default: standard output)")
	return c
}

// serveReaders makes the socket, which costs no ticket if it fails, opens the tunnels and serves them.
func (p *program) serveReaders(ctx context.Context, out io.Writer, log *slog.Logger, s serving, open func() ([]*virtualreader.Tunnel, error)) error {
	listener, err := pcscd.Listen(s.socket)
	if err != nil {
		return err
	}
	defer listener.Close()
	tunnels, err := open()
	if err != nil {
		return err
	}
	defer closeTunnels(tunnels)
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var source *remote.Readers
	source = remote.New(tunnels, func() {
		if err := p.writeReady(out, ready{Listen: s.listen, Socket: s.socket, Readers: source.Names()}); err != nil {
			fail(err)
		}
	}, log)
	err = pcscd.New(pcscd.Config{Source: source, Log: log}).Serve(ctx, listener)
	if cause := context.Cause(ctx); cause != nil && cardbroker.ReasonOf(cause) != cardbroker.Canceled {
		return cause
	}
	return err
}

// openAll opens a tunnel for each ticket, or without tickets for each reader that is named, or for all that are offered. It
// opens all or none; the tickets that were used until one failed are burnt.
func (f *readerFlags) openAll(ctx context.Context, asked *virtualreader.Client, readers []string, o virtualreader.Options) (_ []*virtualreader.Tunnel, err error) {
	if len(f.tickets) > 0 {
		if len(readers) > len(f.tickets) {
			return nil, cardbroker.Errorf(cardbroker.Invalid, "%d readers are named, and there are %d tickets", len(readers), len(f.tickets))
		}
		readers = slices.Concat(readers, slices.Repeat([]string{virtualreader.TicketReader}, len(f.tickets)-len(readers)))
	} else if len(readers) == 0 {
		if readers, err = f.offered(ctx, asked); err != nil {
			return nil, err
		}
	}
	var tunnels []*virtualreader.Tunnel
	defer func() {
		if err != nil {
			closeTunnels(tunnels)
		}
	}()
	for i, reader := range readers {
		ticket := ""
		if i < len(f.tickets) {
			ticket = f.tickets[i]
		}
		tunnel, err := f.open(ctx, asked, reader, ticket, o)
		if err != nil {
			return tunnels, fmt.Errorf("reader %s: %w", reader, err)
		}
		tunnels = append(tunnels, tunnel)
	}
	return tunnels, nil
}

// open opens one tunnel within the time of a request.
func (f *readerFlags) open(ctx context.Context, asked *virtualreader.Client, reader, ticket string, o virtualreader.Options) (*virtualreader.Tunnel, error) {
	ctx, cancel := f.within(ctx)
	defer cancel()
	tunnel, err := asked.Open(ctx, reader, ticket, o)
	if e, ok := errors.AsType[*cardbroker.Error](err); ok && e.Rule == cardbroker.RuleTicket {
		if ticket == "" {
			return nil, cardbroker.Refusef(e.Reason, e.Rule, "no ticket is given (--ticket), and without one only standing offers can be opened")
		}
		return nil, cardbroker.Refusef(e.Reason, e.Rule, "%s; it counts once, for a few minutes, for one tenant: ask the user for another", e.Message)
	}
	return tunnel, err
}

// offered returns the ids of the readers that are offered now.
func (f *readerFlags) offered(ctx context.Context, asked *virtualreader.Client) ([]string, error) {
	ctx, cancel := f.within(ctx)
	defer cancel()
	list, err := asked.List(ctx)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, cardbroker.Errorf(cardbroker.ReaderUnknown, "no reader is offered to this tenant; name a ticket with --ticket")
	}
	ids := make([]string, len(list))
	for i, r := range list {
		ids[i] = string(r.ID)
	}
	return ids, nil
}

func closeTunnels(tunnels []*virtualreader.Tunnel) {
	for _, tunnel := range tunnels {
		tunnel.Close()
	}
}
