// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/doctor"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/client"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/sandbox/confine"
	"github.com/cardbroker/cardbroker/sandbox/softcard"
)

// agentStatusAnswer is what `cardbroker agent status` says.
type agentStatusAnswer struct {
	Session  cardbroker.SessionID `json:"session"`
	Port     cardbroker.Port      `json:"port"`
	State    cardbroker.State     `json:"state"`
	Broker   string               `json:"broker"`
	Readers  []api.CardReader     `json:"readers"`
	Leases   []api.Lease          `json:"leases"`
	Consents int                  `json:"consents"`
	Modules  []api.Module         `json:"modules"`
	Presence string               `json:"presence"` // present, locked, away or unknown; empty: no broker answers
	Closed   *api.ErrorBody       `json:"closed"`   // why there are no readers, though there may be some; null: they are open
}

func (p *program) agentStatus(flags *agentFlags) *cobra.Command {
	c := &cobra.Command{Use: "status", Short: "Say how the agent of this session is, what it serves and who holds it", Args: cobra.NoArgs}
	c.RunE = func(c *cobra.Command, _ []string) error {
		session, asked, err := flags.askAgent(c.Context())
		if err != nil {
			return err
		}
		defer asked.Close()
		answer := agentStatusAnswer{
			Session: session.Session, Port: session.Port, State: session.State, Broker: flags.socket, Presence: session.Presence,
			Readers: []api.CardReader{},
		}
		switch readers, err := asked.Readers(c.Context()); cardbroker.ReasonOf(err) {
		case "":
			answer.Readers = readers
		case cardbroker.ReaderSharedHost, cardbroker.Unavailable:
			why := api.Describe(err)
			answer.Closed = &why
		default:
			return err
		}
		leases, err := asked.Leases(c.Context())
		if err != nil {
			return err
		}
		answer.Leases = leases.Leases
		consents, err := asked.Consents(c.Context())
		if err != nil {
			return err
		}
		answer.Consents = len(consents.Consents)
		modules, err := asked.Modules(c.Context(), false)
		if err != nil {
			return err
		}
		answer.Modules = modules.Modules
		return p.write(answer, func(w io.Writer) { statusText(w, answer) })
	}
	return c
}

func statusText(w io.Writer, answer agentStatusAnswer) {
	state := string(answer.State) + ", broker at "
	if answer.State == "" {
		state = "no broker answers at "
	}
	fmt.Fprintf(w, "session %s, port %d, %s%s\n", answer.Session, answer.Port, state, answer.Broker)
	if answer.Presence == "locked" || answer.Presence == "away" {
		fmt.Fprintf(w, "the session is %s: nobody is asked for PINs or consent\n", answer.Presence)
	}
	if answer.Closed != nil {
		fmt.Fprintf(w, "readers are closed: %s (%s)\n", answer.Closed.Description, answer.Closed.Reason)
	}
	fmt.Fprintln(w)
	readerRows(w, answer.Readers)
	if len(answer.Modules) > 0 {
		fmt.Fprintln(w)
		rows(w, "MODULE\tTITLE\tSTATE", answer.Modules, func(m api.Module) string {
			return fmt.Sprintf("%s\t%s\t%s", m.Name, m.Title, cmp.Or(m.Error, m.State))
		})
	}
	if len(answer.Leases) > 0 {
		fmt.Fprintln(w)
		leaseRows(w, answer.Leases)
	}
	fmt.Fprintf(w, "\nweb pages with consent: %d\n", answer.Consents)
}

// wellKnown is where web pages look for the broker.
const wellKnown = 51983

func (p *program) agentDoctor(flags *agentFlags) *cobra.Command {
	var sandbox, pcsc, policy string
	var port uint16
	c := &cobra.Command{Use: "doctor", Short: "Say what keeps this session's agent, cards and web pages from working, and what to do", Args: cobra.NoArgs}
	c.Flags().StringVar(&sandbox, "sandbox", "", "path of cardsandbox (default: beside this program)")
	c.Flags().StringVar(&pcsc, "pcsc-socket", "", "socket of this session's PC/SC service (default: $PCSCLITE_CSOCK_NAME, else the system's)")
	c.Flags().Uint16Var(&port, "port", wellKnown, "where web pages look for the broker")
	c.Flags().StringVar(&policy, "policy", "", "directory of machine policy, root's alone (default "+config.PolicyDir+", if it is there)")
	c.RunE = func(c *cobra.Command, _ []string) error {
		cfg, broker, err := flags.resolve()
		if broker == nil {
			flags.socket, flags.state = cmp.Or(flags.socket, defaultSocket("")), cmp.Or(flags.state, defaultAgentState())
			broker = client.NewBroker(brokerAt(flags.socket, false))
		}
		boxed, boxErr := sandboxConfig(cmp.Or(sandbox, cfg.Sandbox), "", "", nil)
		if boxErr != nil {
			return boxErr
		}
		home, _ := os.UserHomeDir()
		seen := doctor.Look(c.Context(), doctor.Config{
			Home: home, ConfigErr: err, Broker: broker, Socket: flags.socket, Port: cardbroker.Port(port), Session: cardbroker.SessionID(flags.session),
			State: flags.state, Policy: policy, Sandbox: boxed.Program, PCSC: pcscSocket(pcsc), Built: built(), Software: softcard.Name, Getenv: os.Getenv,
			Missing: func(landlock int, seccomp bool) string {
				return confine.State{Landlock: landlock, Seccomp: seccomp}.Missing()
			},
		})
		answer, verdict := seen.Diagnose()
		if err := p.write(answer, func(w io.Writer) { diagnosis(w, answer) }); err != nil {
			return err
		}
		return verdict
	}
	return c
}

// built returns when the source was committed that this program was built from; zero: not known.
func built() (at time.Time) {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.time" {
				at, _ = time.Parse(time.RFC3339, s.Value)
			}
		}
	}
	return at
}
