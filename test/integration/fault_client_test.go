// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"bufio"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/virtualreader"
)

// caller uses the card at the far end of a chain. Its calls return what became of them in its own words, "ok" or an error.
type caller interface {
	ready()                             // waits until the client has heard that the card is in
	connect() string                    // to the card
	transmit(commands ...[]byte) string // one after the other, up to the first error
	ender
}

// ender is the rest of a [caller].
type ender interface {
	begin() string // a transaction
	end() string
	leave() // ends the connection
}

// offered has alice offer the reader to the tenant, and returns the ticket.
func (c *chain) offered() string {
	c.t.Helper()
	var offered api.Offered
	c.run(c.alice, 0, &offered, "agent", "offer", string(c.id), "issuer", "--socket", c.socket, "--state", c.alice.Home+"/state")
	return offered.Ticket
}

// backEndClient is of the tenant "issuer".
func (h *host) backEndClient() *virtualreader.Client {
	h.t.Helper()
	client, err := virtualreader.New(virtualreader.Config{
		Brokers: []string{h.ready.Backend}, TLS: h.doorTLS(), Token: cardbroker.NewSecret([]byte(h.token("issuer"))),
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return client
}

// tunnelCaller is a program that uses package virtualreader: it keeps one tunnel for the whole test.
type tunnelCaller struct {
	*chain
	tunnel *virtualreader.Tunnel
}

func newTunnelCaller(c *chain) caller {
	tunnel, err := c.backEndClient().Open(c.Context(), virtualreader.TicketReader, c.offered(), virtualreader.Options{})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		if err := tunnel.Err(); err != nil {
			c.t.Errorf("the tunnel has ended: %v", err)
		}
		tunnel.Close()
	})
	return tunnelCaller{c, tunnel}
}

func outcome(err error) string {
	if err == nil {
		return "ok"
	}
	return string(cardbroker.ReasonOf(err))
}

func (c tunnelCaller) ready() {}
func (c tunnelCaller) connect() string {
	_, err := c.tunnel.Connect(c.Context(), cardbroker.ShareShared)
	return outcome(err)
}
func (c tunnelCaller) transmit(commands ...[]byte) string {
	for _, command := range commands {
		if _, err := c.tunnel.Transmit(c.Context(), command); err != nil {
			return outcome(err)
		}
	}
	return "ok"
}
func (c tunnelCaller) begin() string { return outcome(c.tunnel.Begin(c.Context())) }
func (c tunnelCaller) end() string   { return outcome(c.tunnel.End(c.Context(), cardbroker.LeaveCard)) }
func (c tunnelCaller) leave()        { c.tunnel.Disconnect(c.Context(), cardbroker.LeaveCard) }

// commandCaller is `cardbroker reader apdu`: a tunnel for each run, whose ticket was made while the reader was there.
type commandCaller struct {
	*chain
	ticket string
	flags  []string
}

func newCommandCaller(c *chain) caller { return &commandCaller{chain: c} }

func (c *commandCaller) ready() {
	c.free() // the last run has ended, and its lease does a moment later
	if c.ticket == "" {
		c.ticket = c.offered()
	}
}
func (c *commandCaller) connect() string { return c.transmit(echo) }
func (c *commandCaller) transmit(commands ...[]byte) string {
	args := []string{"reader", "apdu", "-", "--broker", c.chain.host.ready.Backend, "--ca", c.Path("door.pem"), "--token-file", c.Path("token"),
		"--ticket", c.ticket, "--json"}
	args = append(args, c.flags...)
	for _, command := range commands {
		args = append(args, hex.EncodeToString(command))
	}
	c.ticket = ""
	out, err := c.Run(nil, "cardbroker", args...)
	if err != nil {
		return err.Error()
	}
	if out.Status == 0 {
		return "ok"
	}
	var body api.ErrorBody
	json.Unmarshal(out.Stderr, &body)
	return fmt.Sprintf("%d %s", out.Status, body.Reason)
}
func (c *commandCaller) begin() string { return "ok" }
func (c *commandCaller) end() string   { return "ok" }
func (c *commandCaller) leave()        {}

//go:embed testdata/caller.py
var pythonSource string

// python is a program that uses Debian's PC/SC library, as told by us.
type python struct {
	t       *testing.T
	encoder *json.Encoder
	lines   *bufio.Scanner
}

// newPython starts the program for the PC/SC service behind a socket, until the test ends.
func newPython(h *host, socket string) *python {
	h.t.Helper()
	const program = "/usr/bin/python3" // the system's, which has the library
	if err := h.newCommand(nil, program, "-c", "import smartcard.scard").Run(); err != nil {
		testenv.Skip(h.t, "needs python3-pyscard")
	}
	cmd := h.newCommand([]string{"PCSCLITE_CSOCK_NAME=" + socket}, program, "-c", pythonSource)
	in, err := cmd.StdinPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		in.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	return &python{t: h.t, encoder: json.NewEncoder(in), lines: bufio.NewScanner(out)}
}

// call has the program make a call, and returns its result's name and data. It may be called by any goroutine, one at a time.
func (p *python) call(words ...string) (code, data string) {
	if err := p.encoder.Encode(words); err != nil {
		return err.Error(), ""
	}
	if !p.lines.Scan() {
		return "the program has ended", ""
	}
	var answer [2]string
	if err := json.Unmarshal(p.lines.Bytes(), &answer); err != nil {
		return err.Error(), ""
	}
	return answer[0], answer[1]
}

// serveCaller is a PC/SC program of a back end, with the readers that `cardbroker reader serve` gives it.
type serveCaller struct {
	*python
	reader string
}

func newServeCaller(c *chain) caller {
	c.t.Helper()
	_, line := c.serve("serve", "--ticket", c.offered())
	if len(line.Readers) != 1 {
		c.t.Fatalf("reader serve has the readers %q, want one", line.Readers)
	}
	return serveCaller{newPython(c.host, line.Socket), line.Readers[0]}
}

func (c serveCaller) ready() {
	if code, _ := c.call("ready", c.reader); code != "ok" {
		c.t.Errorf("the PC/SC program does not see the card: %s", code)
	}
}
func (c serveCaller) do(words ...string) string {
	code, _ := c.call(words...)
	return strings.TrimPrefix(code, "SCARD_")
}
func (c serveCaller) connect() string { return c.do("connect", c.reader) }
func (c serveCaller) transmit(commands ...[]byte) string {
	for _, command := range commands {
		if code := c.do("transmit", hex.EncodeToString(command)); code != "ok" {
			return code
		}
	}
	return "ok"
}
func (c serveCaller) begin() string { return c.do("begin") }
func (c serveCaller) end() string   { return c.do("end") }
func (c serveCaller) leave()        { c.do("disconnect") }
