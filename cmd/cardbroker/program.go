// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
)

// stopDeadline is how long a service may take to stop; past it, it says where it hangs and ends.
const stopDeadline = 5 * time.Second

// program is what all commands share.
type program struct {
	stdout, stderr io.Writer
	json           bool
	logFormat      string
	logLevel       string
}

// run runs one command line and returns its exit status.
func run(args []string, stdout, stderr io.Writer) int {
	p := &program{stdout: stdout, stderr: stderr}
	root := &cobra.Command{
		Use:           "cardbroker",
		Short:         "Smart cards for everybody on a shared host, each his own",
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.PersistentFlags().BoolVar(&p.json, "json", false, "write JSON, errors too")
	root.PersistentFlags().StringVar(&p.logFormat, "log-format", "text", "text or json")
	root.PersistentFlags().StringVar(&p.logLevel, "log-level", "info", "error, warn, info or debug")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return cardbroker.Errorf(cardbroker.Invalid, "%v", err)
	})
	root.AddCommand(p.hostCommand(), p.agentCommand(), p.readerCommand())
	p.json = slices.Contains(args, "--json") // for errors in what stands before it
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	c, err := root.ExecuteContextC(context.Background())
	if err != nil && cobraError(err) != nil && strings.Contains(err.Error(), "arg(s)") {
		err = cardbroker.Errorf(cardbroker.Invalid, "%v: want %s", err, strings.TrimSuffix(c.UseLine(), " [flags]"))
	}
	return p.exit(err)
}

// group makes a command that only has others below it.
func (p *program) group(use, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		if !p.json {
			fmt.Fprintln(p.stderr, c.UsageString())
		}
		return cardbroker.Errorf(cardbroker.Invalid, "say which of the commands of %q", c.CommandPath())
	}}
	c.AddCommand(commands...)
	return c
}

// exit tells of err and returns the exit status for it.
func (p *program) exit(err error) int {
	if err == nil {
		return 0
	}
	if _, ours := errors.AsType[*cardbroker.Error](err); !ours && cardbroker.ReasonOf(err) == cardbroker.Internal {
		if usage := cobraError(err); usage != nil {
			err = usage
		}
	}
	body := api.Describe(err)
	body.Description = explain(err)
	if p.json {
		json.NewEncoder(p.stderr).Encode(body)
	} else {
		why := string(body.Reason)
		if body.Rule != "" {
			why += ", " + string(body.Rule)
		}
		fmt.Fprintf(p.stderr, "cardbroker: %s (%s)\n", printable(body.Description, '\n'), why)
	}
	return exitStatus(body.Reason)
}

// cobraError recognises what cobra says of an unknown command or wrong arguments: those are the only errors without a
// reason that a command line can cause.
func cobraError(err error) error {
	if err.Error() == "" || errors.Unwrap(err) != nil {
		return nil
	}
	return cardbroker.Errorf(cardbroker.Invalid, "%v", err)
}

// explain is all that we know of an error, for who runs the program: what was being done, what went wrong, and why.
func explain(err error) string {
	switch err { // the words of package context say nothing to people
	case context.Canceled:
		return "interrupted"
	case context.DeadlineExceeded:
		return "the time is up"
	}
	e, ok := errors.AsType[*cardbroker.Error](err)
	if !ok {
		return err.Error()
	}
	doing, innermost := strings.CutSuffix(err.Error(), e.Error())
	if !innermost { // of several errors
		return err.Error()
	}
	what := cmp.Or(e.Message, api.Describe(e).Description)
	if e.Err != nil && !strings.Contains(what, e.Err.Error()) {
		switch why := explain(e.Err); {
		case strings.HasPrefix(why, what): // it says the same, and more
			what = why
		case !strings.Contains(what, why):
			what += ": " + why
		}
	}
	return doing + what
}

// exitStatus maps a reason to the exit status that docs/contract.md promises.
func exitStatus(reason cardbroker.Reason) int {
	switch reason {
	case "":
		return 0
	case cardbroker.Invalid, cardbroker.TooLarge, cardbroker.Unsupported, cardbroker.SessionAmbiguous:
		return 2
	case cardbroker.Unauthenticated, cardbroker.ConsentRequired, cardbroker.Forbidden, cardbroker.OriginDenied,
		cardbroker.TenantDenied, cardbroker.CallerRefused, cardbroker.ReaderSharedHost, cardbroker.PINIncorrect,
		cardbroker.PINBlocked, cardbroker.PINCanceled, cardbroker.PINNotEncrypted:
		return 3
	case cardbroker.NoAgent, cardbroker.NotFound, cardbroker.ReaderUnknown, cardbroker.ObjectUnknown, cardbroker.CardAbsent,
		cardbroker.Unavailable, cardbroker.NoLeader, cardbroker.AgentRestarting, cardbroker.PortsExhausted, cardbroker.SessionUnknown:
		return 4
	case cardbroker.CardRemoved, cardbroker.CardReset, cardbroker.CardMute, cardbroker.CardUnexpected, cardbroker.AuditBroken:
		return 5
	case cardbroker.Indeterminate:
		return 6
	case cardbroker.Conflict, cardbroker.StaleEpoch, cardbroker.ReaderBusy, cardbroker.RateLimited, cardbroker.Overloaded,
		cardbroker.Timeout, cardbroker.Canceled:
		return 7
	}
	return 1
}

// logger writes to standard error.
func (p *program) logger() (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(p.logLevel)); err != nil {
		return nil, cardbroker.Errorf(cardbroker.Invalid, "--log-level: want error, warn, info or debug")
	}
	options := &slog.HandlerOptions{Level: level}
	switch p.logFormat {
	case "json":
		return slog.New(slog.NewJSONHandler(p.stderr, options)), nil
	case "text":
		return slog.New(slog.NewTextHandler(p.stderr, options)), nil
	}
	return nil, cardbroker.Errorf(cardbroker.Invalid, "--log-format: want text or json")
}

// service returns the context of a service: a signal ends it. A second signal ends the process, as does a stop that
// takes too long; then all goroutines are dumped first.
func (p *program) service(ctx context.Context) (context.Context, func()) {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // the end of its terminal is a service's end, but for nohup
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(ctx, signals...)
	late := make(chan *time.Timer, 1)
	context.AfterFunc(ctx, func() {
		stop()
		late <- time.AfterFunc(stopDeadline, func() {
			pprof.Lookup("goroutine").WriteTo(p.stderr, 2)
			fmt.Fprintf(p.stderr, "cardbroker: did not stop within %v\n", stopDeadline)
			os.Exit(1)
		})
	})
	return ctx, func() {
		stop()
		(<-late).Stop()
	}
}

// untilStopped takes the end that the user asked for as a success.
func untilStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// version returns the version that the program was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "dev"
	}
	return info.Main.Version
}
