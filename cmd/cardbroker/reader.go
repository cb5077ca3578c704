// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/apdu"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/virtualreader"
	"github.com/cardbroker/cardbroker/virtualreader/rendezvous"
)

// readerFlags are shared by the commands of back ends.
type readerFlags struct {
	brokers    []string
	listen     string
	hosts      []string
	tokenFile  string
	apiKeyFile string
	certFile   string
	keyFile    string
	caFile     string
	tickets    []string
	timeout    time.Duration

	called *rendezvous.Rendezvous // where brokers call, while a command runs with --listen
}

// readerCommand is what back ends run.
func (p *program) readerCommand() *cobra.Command {
	var flags readerFlags
	c := p.group("reader", "List and drive readers that users have offered (back ends)",
		p.readerList(&flags), p.readerWatch(&flags), p.readerAPDU(&flags), p.readerRun(&flags), p.readerServe(&flags))
	c.PersistentFlags().StringArrayVar(&flags.brokers, "broker", nil, "a broker's door, wss://host:port; may be repeated")
	c.PersistentFlags().StringVar(&flags.listen, "listen", "", "in place of --broker: where brokers call; --cert is its own then, --ca and --token-file are for who calls")
	c.PersistentFlags().StringArrayVar(&flags.hosts, "host", nil, "with --listen and --ca: a host that may call (default: all); may be repeated")
	c.PersistentFlags().StringVar(&flags.tokenFile, "token-file", "", "file with this tenant's token; read again for each request")
	c.PersistentFlags().StringVar(&flags.apiKeyFile, "api-key-file", "", "file with this tenant's API key, mode 0600, which is exchanged for tokens")
	c.PersistentFlags().StringVar(&flags.certFile, "cert", "", "client certificate of this tenant, PEM, in place of a token; needs --key")
	c.PersistentFlags().StringVar(&flags.keyFile, "key", "", "its private key, PEM")
	c.PersistentFlags().StringVar(&flags.caFile, "ca", "", "certificates to trust, PEM (default: the system's)")
	c.PersistentFlags().StringArrayVar(&flags.tickets, "ticket", nil, "ticket of the reader, from the user's offer; serve takes several")
	for _, command := range c.Commands() {
		command.RunE = p.listening(&flags, command.RunE)
	}
	c.PersistentFlags().DurationVar(&flags.timeout, "timeout", 30*time.Second, "for each request and command, 0: none; with --listen 2m unless it is given")
	return c
}

// ticket returns the only ticket, or "" where there is none.
func (f *readerFlags) ticket() (string, error) {
	if len(f.tickets) > 1 {
		return "", cardbroker.Errorf(cardbroker.Invalid, "%d tickets are given; this command takes one", len(f.tickets))
	}
	return strings.Join(f.tickets, ""), nil
}

// within bounds one request.
func (f *readerFlags) within(ctx context.Context) (context.Context, context.CancelFunc) {
	if f.timeout == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, f.timeout)
}

func (p *program) readerList(flags *readerFlags) *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List the readers that are offered to this tenant; burns no ticket", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			asked, err := flags.client()
			if err != nil {
				return err
			}
			ctx, cancel := flags.within(c.Context())
			defer cancel()
			readers, failed := asked.List(ctx) // some brokers' readers may be there though others fail
			if failed != nil && len(readers) == 0 {
				return failed
			}
			answer := api.RemoteReaders{Readers: make([]api.RemoteReader, len(readers))}
			for i, r := range readers {
				answer.Readers[i] = r.RemoteReader
			}
			err = p.write(answer, func(w io.Writer) {
				rows(w, "ID\tREADER\tHOST\tSESSION\tCARD\tHELD BY", answer.Readers, remoteRow)
			})
			return errors.Join(err, failed)
		}}
}

func remoteRow(r api.RemoteReader) string {
	card, lease := "none", "-"
	if r.Card != nil {
		card = r.Card.ATR
	}
	if r.Lease != nil {
		lease = string(r.Lease.Tenant) + " until " + r.Lease.Expires.Local().Format(time.TimeOnly)
	}
	return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s", r.ID, r.Name, r.Host, r.Session, card, lease)
}

func (p *program) readerWatch(flags *readerFlags) *cobra.Command {
	return &cobra.Command{Use: "watch", Short: "Print the offered readers, then every change, one a line", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			asked, err := flags.client()
			if err != nil {
				return err
			}
			ctx, stop := p.service(c.Context())
			defer stop()
			return untilStopped(ctx, asked.Watch(ctx, func(e virtualreader.Event) error { return p.writeEvent(e.ReaderEvent) }))
		}}
}

// apduLine is one command of `cardbroker reader apdu` and its answer.
type apduLine struct {
	Seq      int       `json:"seq"`
	Command  string    `json:"command"`
	Response string    `json:"response"` // data, without the status word
	SW       string    `json:"sw"`
	Micros   apduTimes `json:"us"`
}

// apduTimes are in microseconds.
type apduTimes struct {
	Total   int64 `json:"total"`
	Network int64 `json:"network"`
	Queue   int64 `json:"queue"`
	Card    int64 `json:"card"`
	Agent   int64 `json:"agent"`
}

func (p *program) readerAPDU(flags *readerFlags) *cobra.Command {
	var expect, record string
	c := &cobra.Command{Use: "apdu READER HEX…", Short: "Send command APDUs to the card in a reader",
		Long: "Send command APDUs, in hexadecimal, one after the other to the card in READER (an id of `reader list`, or - for the\n" +
			"reader of the ticket). Each answer is one line. With --expect, the first other status word ends the run with status 5.",
		Args: cobra.MinimumNArgs(2),
		RunE: func(c *cobra.Command, args []string) (err error) {
			commands, err := parseCommands(args[1:])
			if err != nil {
				return err
			}
			if sw, err := hex.DecodeString(expect); expect != "" && (err != nil || len(sw) != 2) {
				return cardbroker.Errorf(cardbroker.Invalid, "--expect %s: want a status word such as 9000", expect)
			}
			asked, err := flags.client()
			if err != nil {
				return err
			}
			ctx, stop := p.service(c.Context())
			defer stop()
			ticket, err := flags.ticket()
			if err != nil {
				return err
			}
			trace, err := newRecorder(record) // before the ticket is burnt
			if err != nil {
				return err
			}
			defer func() { err = trace.close(err) }()
			tunnel, err := flags.open(ctx, asked, args[0], ticket, virtualreader.Options{})
			if err != nil {
				return err
			}
			defer tunnel.Close()
			to := sending{flags: flags, tunnel: tunnel, trace: trace, expect: strings.ToUpper(expect)}
			if err := to.begin(ctx); err != nil {
				return err
			}
			for i, command := range commands {
				if err := p.transmit(ctx, to, i+1, command); err != nil {
					return err
				}
			}
			return nil
		}}
	c.Flags().StringVar(&expect, "expect", "", "status word that each answer must have, 9000 for example")
	c.Flags().StringVar(&record, "record", "", "write a trace to this new file, without PINs and keys; agent run --software-card plays it")
	return c
}

// sending is where commands go.
type sending struct {
	flags  *readerFlags
	tunnel *virtualreader.Tunnel
	trace  recorder
	expect string // the status word that is wanted; "": any
}

func (to sending) begin(ctx context.Context) error {
	ctx, cancel := to.flags.within(ctx)
	defer cancel()
	return to.trace.begin(ctx, to.tunnel)
}

// transmit sends one command and prints its answer.
func (p *program) transmit(ctx context.Context, to sending, seq int, command []byte) error {
	ctx, cancel := to.flags.within(ctx)
	defer cancel()
	sent := time.Now()
	answer, err := to.tunnel.Transmit(ctx, command)
	if failed := to.trace.command(sent, command, answer, err); err == nil {
		err = failed
	}
	if err != nil {
		return err
	}
	response, err := apdu.ParseResponse(answer.Response)
	if err != nil {
		return cardbroker.Wrapf(err, cardbroker.CardMute, "the card's answer to command %d is malformed", seq)
	}
	line := apduLine{
		Seq:      seq,
		Command:  shownCommand(command),
		Response: strings.ToUpper(hex.EncodeToString(response.Data)),
		SW:       response.SW.String(),
		Micros: apduTimes{
			Total:   answer.Total.Microseconds(),
			Network: answer.Network.Microseconds(),
			Queue:   answer.Queue.Microseconds(),
			Card:    answer.Card.Microseconds(),
			Agent:   answer.Agent.Microseconds(),
		},
	}
	err = p.write(line, func(w io.Writer) {
		fmt.Fprintf(w, "> %s\n< %s%s  %s  (%v; card %v, network %v)\n", line.Command, line.Response, line.SW, response.SW.Words(),
			answer.Total.Round(time.Microsecond), answer.Card, answer.Network.Round(time.Microsecond))
	})
	if err == nil && to.expect != "" && line.SW != to.expect {
		return cardbroker.Errorf(cardbroker.CardUnexpected, "command %d was answered %s (%s), want %s", seq, line.SW, response.SW.Words(), to.expect)
	}
	return err
}

func parseCommands(args []string) ([][]byte, error) {
	commands := make([][]byte, len(args))
	for i, text := range args {
		command, err := hex.DecodeString(strings.NewReplacer(" ", "", ":", "").Replace(text))
		if err == nil {
			_, err = apdu.ParseCommand(command)
		}
		if err != nil {
			return nil, cardbroker.Errorf(cardbroker.Invalid, "command %d: %v", i+1, err)
		}
		commands[i] = command
	}
	return commands, nil
}

// shownCommand is a command as it is printed: that of one that carries a PIN, its header only.
func shownCommand(command []byte) string {
	text := strings.ToUpper(hex.EncodeToString(command))
	if apdu.PINCommand(command[1]) != "" && len(text) > 10 {
		return text[:10] + strings.Repeat("*", len(text)-10)
	}
	return text
}
