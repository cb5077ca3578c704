// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
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
	Broker   string               `json:"broker"` // its local socket, or the address of the registry that was elected
	Readers  []api.CardReader     `json:"readers"`
	Leases   []api.Lease          `json:"leases"`
	Consents int                  `json:"consents"`
	Modules  []api.Module         `json:"modules"`
	Presence string               `json:"presence"` // present, locked, away or unknown; empty: no broker answers
	Closed   *api.ErrorBody       `json:"closed"`   // why there are no readers, though there may be some; null: they are open
	Mode     string               `json:"mode"`     // service, elected or none: how the host finds the agent
}

func (p *program) agentStatus(flags *agentFlags) *cobra.Command {
	c := &cobra.Command{Use: "status", Short: "Say how the agent of this session is, what it serves and who holds it", Args: cobra.NoArgs}
	c.RunE = func(c *cobra.Command, _ []string) error {
		asked, err := flags.askAgent(c.Context())
		if err != nil {
			return err
		}
		defer asked.Close()
		answer, err := flags.statusOf(c.Context(), asked)
		if err != nil {
			return err
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

// statusOf says where an agent is, and how the host finds it.
func (f *agentFlags) statusOf(ctx context.Context, asked foundAgent) (agentStatusAnswer, error) {
	at := asked.session
	answer := agentStatusAnswer{
		Session: at.Session, Port: at.Port, State: at.State, Broker: f.socket, Presence: at.Presence,
		Readers: []api.CardReader{},
	}
	info, err := asked.Info(ctx)
	if err != nil {
		return answer, err
	}
	answer.Mode = info.Cardbroker.Mode
	if answer.Mode == api.ModeElected {
		answer.State, answer.Broker = cardbroker.Registered, fmt.Sprintf("127.0.0.1:%d", asked.elects)
	}
	return answer, nil
}

func statusText(w io.Writer, answer agentStatusAnswer) {
	state := string(answer.State) + ", broker at "
	switch {
	case answer.Mode == api.ModeElected:
		state = string(answer.State) + ", the registry is elected, at "
	case answer.State == "":
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
		if at := elects(cfg); at != 0 && !c.Flags().Changed("port") {
			port = uint16(at)
		}
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
			Home: home, ConfigErr: err, Broker: broker, Socket: flags.socket, Port: cardbroker.Port(port), Elects: elects(cfg), Session: cardbroker.SessionID(flags.session),
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

// elects returns where agents of the configuration look for who was elected; 0: they do not stand.
func elects(cfg config.Agent) cardbroker.Port {
	if !cfg.Elect.Enabled {
		return 0
	}
	port, _ := loopbackPort("elect.listen", cfg.Elect.Listen) // agents say what is wrong with it
	return port
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
