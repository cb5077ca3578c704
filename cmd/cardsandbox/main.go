// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Command cardsandbox is the process that reaches the cards. The agent starts it and speaks with it over inherited
// streams; nobody starts it by hand.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/sandbox"
	"github.com/cardbroker/cardbroker/sandbox/confine"
	"github.com/cardbroker/cardbroker/sandbox/pcsc"
	"github.com/cardbroker/cardbroker/sandbox/pkcs11"
	"github.com/cardbroker/cardbroker/sandbox/softcard"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stderr))
}

const usage = `cardsandbox reaches cards on behalf of "cardbroker agent", which starts it. It is not started by hand.

  cardsandbox pcsc             the readers of PC/SC
  cardsandbox pkcs11 LIBRARY   the slots of a PKCS#11 module
  cardsandbox softcard [FILE]  a software reader and card; FILE keeps its state
`

// Exit statuses.
const (
	statusOK       = 0
	statusInternal = 1
	statusUsage    = 2
	statusAbsent   = 4
)

// heapGrowth returns GOGC. APDUs allocate nothing on their way, so that the collector has little to do and may be thrifty. But
// scard allocates 64 KiB for each, and a thrifty collector then runs at every 16th: with 100 instead of 25 an APDU takes some
// 50 µs less at the median and a third at the 99th percentile, for 3 MiB more.
func heapGrowth(args []string) int {
	if args[0] == "pcsc" {
		return 100
	}
	return 25
}

// processors is on how many processors Go runs, at most: as many as it takes so that who answers for one reader and who reads a question
// for another need not wait for each other. For each processor of a large host, Go keeps memory.
const processors = 2

// processorsVariable is how a Go program is told of them when it starts.
const processorsVariable = "GOMAXPROCS"

// run is the program. It needs no command line library: there is little to parse, and every start is waited for.
func run(args []string, stderr io.Writer) int {
	if !known(args) {
		fmt.Fprint(stderr, usage)
		return statusUsage
	}
	os.Setenv(processorsVariable, strconv.Itoa(processors)) // for its second pass: what a start takes for more it does not give back
	state, err := confine.Enter(needs(args))                // before a source is made, and before anything is loaded for it
	if err != nil {
		return status(err, stderr)
	}
	os.Unsetenv(processorsVariable)
	runtime.GOMAXPROCS(processors) // there may have been no second pass
	debug.SetGCPercent(heapGrowth(args))
	streams, err := sandbox.Inherit()
	if cardbroker.ReasonOf(err) == cardbroker.Invalid {
		fmt.Fprint(stderr, usage)
		return statusUsage
	}
	voice := sandbox.Voice{Writer: stderr}
	if err == nil && args[0] == "pkcs11" {
		voice, err = sandbox.OwnVoice(stderr)
	}
	log := slog.New(slog.NewTextHandler(voice, &slog.HandlerOptions{ReplaceAttr: withoutTime}))
	if err == nil {
		state.Log(log)
		err = serve(streams, args, voice, log)
	}
	return status(err, voice)
}

// known says whether the arguments are one of the usage's lines.
func known(args []string) bool {
	switch {
	case len(args) == 0:
		return false
	case args[0] == "pcsc":
		return len(args) == 1
	case args[0] == "pkcs11":
		return len(args) == 2 && filepath.IsAbs(args[1])
	}
	return args[0] == "softcard" && len(args) <= 2
}

// needs says what the source of the cards has to reach.
func needs(args []string) confine.Needs {
	switch args[0] {
	case "pcsc":
		return confine.PCSC(os.Getenv("PCSCLITE_CSOCK_NAME"))
	case "pkcs11":
		return confine.Module(args[1], os.Getenv("CARDSANDBOX_READ"), os.Getenv("CARDSANDBOX_WRITE"), os.Getenv("PCSCLITE_CSOCK_NAME"))
	}
	return confine.SoftCard(strings.Join(args[1:], ""))
}

// serve serves the readers or the module that the arguments name until the agent ends.
func serve(streams []net.Conn, args []string, voice sandbox.Voice, log *slog.Logger) error {
	if args[0] == "pkcs11" {
		return serveModule(streams, args[1], voice, log)
	}
	readers, err := source(args, log)
	if err != nil {
		return err
	}
	return sandbox.Serve(context.Background(), streams, readers, log)
}

// serveModule serves the slots of the library until the agent ends. What the library prints is heard until it has started: then it may
// name a PIN.
func serveModule(streams []net.Conn, library string, voice sandbox.Voice, log *slog.Logger) error {
	module, err := pkcs11.Open(library)
	if err == nil {
		err = voice.Hush()
	}
	if err != nil {
		return err
	}
	return sandbox.ServeTokens(context.Background(), streams, module, log)
}

// source returns the readers that the arguments name: those of PC/SC, or the software card, whose state is in the file.
func source(args []string, log *slog.Logger) (sandbox.Readers, error) {
	if args[0] == "pcsc" {
		return pcsc.New(log), nil
	}
	return softcard.New(strings.Join(args[1:], ""), log)
}

// status says what went wrong and returns the exit status for it.
func status(err error, stderr io.Writer) int {
	if err == nil {
		return statusOK
	}
	fmt.Fprintf(stderr, "cardsandbox: %v\n", err)
	switch cardbroker.ReasonOf(err) {
	case cardbroker.Unavailable, cardbroker.Unsupported:
		return statusAbsent
	}
	return statusInternal
}

// withoutTime leaves the time to the agent, whose log these lines go to.
func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey && len(groups) == 0 {
		return slog.Attr{}
	}
	return a
}
