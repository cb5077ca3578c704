// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent"
	"github.com/cardbroker/cardbroker/agent/cards"
	"github.com/cardbroker/cardbroker/agent/home"
	"github.com/cardbroker/cardbroker/agent/sharing"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/client"
	"github.com/cardbroker/cardbroker/internal/atrlist"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/hostsession"
	"github.com/cardbroker/cardbroker/internal/peer"
	"github.com/cardbroker/cardbroker/internal/processors"
)

// agentFlags are shared by the agent's commands.
type agentFlags struct {
	config, socket, state, session string
}

// agentCommand is what users of a shared host run.
func (p *program) agentCommand() *cobra.Command {
	var flags agentFlags
	c := p.group("agent", "Run and ask the agent of this session (users)",
		p.agentRun(&flags), p.agentStatus(&flags), p.agentReaders(&flags), p.agentConsent(&flags), p.agentOffer(&flags), p.agentCache(&flags),
		p.agentLeases(&flags), p.agentDoctor(&flags))
	c.PersistentFlags().StringVar(&flags.config, "config", "", "configuration file (default "+config.AgentFile+", if it is there)")
	c.PersistentFlags().StringVar(&flags.socket, "socket", "", "the broker's local socket (default "+defaultSocket("")+")")
	c.PersistentFlags().StringVar(&flags.state, "state", "", "state directory (default "+defaultAgentState()+")")
	c.PersistentFlags().StringVar(&flags.session, "session", "", "name of this session (default: what the system calls it)")
	return c
}

// resolve fills the flags that were not given in from the configuration and the system, and returns the client of the
// broker.
func (f *agentFlags) resolve() (config.Agent, *client.Broker, error) {
	cfg, err := config.LoadAgent(f.config)
	if err != nil {
		return cfg, nil, err
	}
	explicit := f.socket != ""
	f.socket = cmp.Or(f.socket, cfg.Socket, defaultSocket(""))
	f.state = cmp.Or(f.state, defaultAgentState())
	f.session = cmp.Or(f.session, string(hostsession.Own().ID))
	if _, err := cardbroker.ParseSessionID(f.session); err != nil {
		return cfg, nil, fmt.Errorf("--session: %w", err)
	}
	broker := brokerAt(f.socket, explicit)
	if cfg.Account != "" {
		account, err := accountOf("account", cfg.Account)
		if err != nil {
			return cfg, nil, err
		}
		broker.Accounts = append(broker.Accounts, account)
	}
	return cfg, client.NewBroker(broker), nil
}

// brokerAt says whom the broker may run as: root and, with a socket that the command line names, our own user.
func brokerAt(socket string, explicit bool) client.BrokerConfig {
	cfg := client.BrokerConfig{Socket: socket}
	if explicit {
		cfg.Accounts = append(cfg.Accounts, peer.Self())
	}
	return cfg
}

// accountOf returns the user of an account that the configuration names by the key.
func accountOf(key, name string) (cardbroker.UserID, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return cardbroker.UserID{}, cardbroker.Wrapf(err, cardbroker.Invalid, "%s: this system has no account %q", key, name)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return cardbroker.UserID{}, cardbroker.Wrapf(err, cardbroker.Unsupported, "%s: %q has no number on this system", key, name)
	}
	return cardbroker.UserID{UID: uint32(uid)}, nil
}

// softwareCard is the value of --software-card without a file; a file of that name is ./memory.
const softwareCard = "memory"

func (p *program) agentRun(flags *agentFlags) *cobra.Command {
	var sandbox, card, pcsc, policyDir string
	var elect bool
	var fd int
	c := &cobra.Command{Use: "run", Short: "Run the agent of this session", Args: cobra.NoArgs}
	c.Flags().StringVar(&sandbox, "sandbox", "", "path of cardsandbox (default: beside this program)")
	c.Flags().StringVar(&card, "software-card", "", "serve a software card, kept in `FILE` or in memory, or recorded there, and no real one")
	c.Flags().Lookup("software-card").NoOptDefVal = softwareCard
	c.Flags().StringVar(&policyDir, "policy", "", "directory of machine policy, root's alone (default "+config.PolicyDir+", if it is there)")
	c.Flags().StringVar(&pcsc, "pcsc-socket", "", "socket of this session's PC/SC service (default: $PCSCLITE_CSOCK_NAME, else the system's)")
	c.Flags().BoolVar(&elect, "elect", false, "where no broker runs, elect an agent that does its work")
	c.Flags().IntVar(&fd, "ready-fd", 0, "descriptor for the ready line (default: standard output)")
	c.RunE = func(c *cobra.Command, _ []string) error {
		few := processors.New()
		out, err := p.openReady(fd)
		if err != nil {
			return err
		}
		log, err := p.logger()
		if err != nil {
			return err
		}
		cfg, broker, err := flags.resolve()
		if err != nil {
			return err
		}
		policy, err := config.LoadPolicy(policyDir)
		if err != nil {
			return err
		}
		service := sharing.PCSC{SharedAllow: policy.SharedPCSC}
		if card == "" {
			service.Socket = pcscSocket(pcsc)
		}
		boxed, err := sandboxConfig(cmp.Or(sandbox, cfg.Sandbox), card, service.Socket, log)
		if err != nil {
			return err
		}
		cfg.Elect.Enabled = cfg.Elect.Enabled || elect
		return p.serveAgent(c.Context(), out, cfg.Elect, broker, agent.Config{
			Session: cardbroker.SessionID(flags.session),
			OS:      hostsession.Own(),
			State:   flags.state,
			Socket:  flags.socket,
			Sandbox: boxed,
			Policy:  policy,
			PCSC:    service,
			Lists:   atrLists(cfg),
			Version: version(),
			Log:     log,
			Few:     few,
		})
	}
	return c
}

// serveAgent runs an agent until it is told to stop, and writes the ready line to out.
func (p *program) serveAgent(ctx context.Context, out io.Writer, elect config.Elect, broker *client.Broker, cfg agent.Config) error {
	ctx, stop := p.service(ctx)
	defer stop()
	ctx, fail := context.WithCancelCause(ctx)
	cfg.Ready = p.agentReady(out, fail)
	served, stopElection, err := newAgent(ctx, elect, broker, cfg)
	if err != nil {
		return err
	}
	defer stopElection()
	if err := served.Run(ctx); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil && cardbroker.ReasonOf(err) != cardbroker.Canceled {
		return err
	}
	return nil
}

// newAgent returns an agent of the broker's or, if it is to, one that stands for election where no broker is. stop is called after
// its end.
func newAgent(ctx context.Context, elect config.Elect, broker *client.Broker, cfg agent.Config) (a *agent.Agent, stop func() error, err error) {
	if !elect.Enabled {
		a, err = agent.New(cfg, broker)
		return a, func() error { return nil }, err
	}
	o, stop, err := stand(ctx, cfg, elect, broker)
	if err != nil {
		return nil, nil, err
	}
	cfg.Election, cfg.Elects = o, o.port
	if a, err = agent.New(cfg, o.Elected); err != nil {
		stop()
	}
	return a, stop, err
}

// atrLists returns where lists of ATRs are looked for.
func atrLists(cfg config.Agent) []string {
	if cfg.ATRList != "" {
		return []string{cfg.ATRList}
	}
	return []string{atrlist.AdminFile, atrlist.DistributionFile}
}

// agentReady returns what writes the ready line, once.
func (p *program) agentReady(out io.Writer, fail context.CancelCauseFunc) func(home.Note) {
	return func(n home.Note) {
		if err := p.writeReady(out, ready{Session: n.Session, Port: n.Port, Listen: n.Listen}); err != nil {
			fail(err)
		}
	}
}

// pcscVariable is how pcsc-lite's own programs are told of another service.
const pcscVariable = "PCSCLITE_CSOCK_NAME"

// pcscSocket returns the absolute path of the PC/SC service's socket. It is the service of this very session: the agent's
// own environment names it, and nobody else's.
func pcscSocket(flag string) string {
	path := cmp.Or(flag, os.Getenv(pcscVariable), defaultPCSC)
	if absolute, err := filepath.Abs(path); err == nil {
		return absolute
	}
	return path
}

// sandboxConfig says which sandbox to start: the one beside the running program, for the cards of the PC/SC service behind
// socket, or for a software card.
func sandboxConfig(program, card, socket string, log *slog.Logger) (cards.Config, error) {
	if program == "" {
		self, err := os.Executable()
		if err != nil {
			return cards.Config{}, cardbroker.Wrapf(err, cardbroker.Unavailable, "cannot tell where this program is; name --sandbox")
		}
		program = filepath.Join(filepath.Dir(self), "cardsandbox")
	}
	args, env := []string{"pcsc"}, []string{pcscVariable + "=" + socket}
	switch card {
	case "":
	case softwareCard:
		args = []string{"softcard"}
	default:
		file, err := filepath.Abs(card)
		if err != nil {
			return cards.Config{}, cardbroker.Wrapf(err, cardbroker.Invalid, "--software-card %s", card)
		}
		args = []string{"softcard", file}
	}
	if card != "" {
		env = nil
	}
	return cards.Config{Program: program, Args: args, Env: env, Log: log}, nil
}

// find returns this session's agent: as the broker knows it, or, while no broker answers, as its note says, without a State. The port is
// that of an elected registry, if that is what the agent looks for.
func (f *agentFlags) find(ctx context.Context, broker *client.Broker) (s api.Session, elects cardbroker.Port, err error) {
	answer, err := broker.Agents(ctx)
	for _, s := range answer.Sessions {
		if string(s.Session) == f.session {
			return s, 0, nil
		}
	}
	if waits, there := home.ReadWaits(f.state, cardbroker.SessionID(f.session)); there {
		return api.Session{}, 0, waiting(waits)
	}
	if err == nil {
		return api.Session{}, 0, cardbroker.Errorf(cardbroker.NoAgent, "no agent runs in session %s: log on again, or run cardbroker agent run", f.session)
	}
	note, noted := home.ReadNote(f.state, cardbroker.SessionID(f.session))
	switch reason := cardbroker.ReasonOf(err); {
	case noted == nil:
	case reason == cardbroker.Unavailable:
		return api.Session{}, 0, cardbroker.Wrapf(errors.Unwrap(err), reason, "no agent of session %s is registered: start it (cardbroker agent run), or see cardbroker agent doctor; %s", f.session, api.Describe(err).Description)
	default:
		return api.Session{}, 0, err
	}
	return api.Session{Session: note.Session, Port: note.Port, PID: note.PID}, note.Elects, nil
}

// waiting says of an agent that runs why it is not registered.
func waiting(w home.Waits) error {
	if w.Why == nil {
		return cardbroker.Errorf(cardbroker.NoAgent, "the agent of session %s (process %d) runs and is not registered: it has had no answer yet", w.Session, w.PID)
	}
	return cardbroker.Errorf(cardbroker.NoAgent, "the agent of session %s (process %d) runs and is not registered: %s (%s); see cardbroker agent doctor", w.Session, w.PID, w.Why.Description, w.Why.Reason)
}

// foundAgent is this session's agent, and how it is asked.
type foundAgent struct {
	*client.Agent
	session api.Session
	elects  cardbroker.Port // as find says
}

// askAgent finds this session's agent and returns a client of it.
func (f *agentFlags) askAgent(ctx context.Context) (a foundAgent, err error) {
	_, broker, err := f.resolve()
	if err != nil {
		return a, err
	}
	a.session, a.elects, err = f.find(ctx, broker)
	switch {
	case err != nil:
		return a, err
	case a.session.Held:
		a.Agent = client.NewHeldAgent(a.session.Port, broker.Accounts()...)
	default:
		a.Agent = client.NewAgent(a.session.Port)
	}
	return a, nil
}

func (p *program) agentReaders(flags *agentFlags) *cobra.Command {
	var watch bool
	c := &cobra.Command{Use: "readers", Short: "List the readers of this session and their cards", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			asked, err := flags.askAgent(c.Context())
			if err != nil {
				return err
			}
			defer asked.Close()
			if watch {
				ctx, stop := p.service(c.Context())
				defer stop()
				return untilStopped(ctx, asked.Events(ctx, p.writeScan))
			}
			readers, err := asked.Readers(c.Context())
			if err != nil {
				return err
			}
			return p.write(map[string]any{"readers": readers}, func(w io.Writer) { readerRows(w, readers) })
		}}
	c.Flags().BoolVar(&watch, "watch", false, "go on with every change, and explain each card's ATR; opens no card")
	return c
}

func (p *program) agentOffer(flags *agentFlags) *cobra.Command {
	return &cobra.Command{Use: "offer READER TENANT", Short: "Offer a reader to a back end's tenant, and print the ticket", Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			asked, err := flags.askAgent(c.Context())
			if err != nil {
				return err
			}
			defer asked.Close()
			offered, err := asked.Offer(c.Context(), api.Offer{Reader: cardbroker.ReaderID(args[0]), Tenant: args[1]})
			if err != nil {
				return err
			}
			return p.write(offered, func(w io.Writer) {
				fmt.Fprintf(w, "%s\n%s\nvalid until %s\n", offered.Ticket, offered.URL, offered.Expires.Local().Format(time.TimeOnly))
			})
		}}
}

func (p *program) agentLeases(flags *agentFlags) *cobra.Command {
	list := func(c *cobra.Command, _ []string) error {
		asked, err := flags.askAgent(c.Context())
		if err != nil {
			return err
		}
		defer asked.Close()
		answer, err := asked.Leases(c.Context())
		if err != nil {
			return err
		}
		return p.write(answer, func(w io.Writer) { leaseRows(w, answer.Leases) })
	}
	c := &cobra.Command{Use: "leases", Short: "List which back ends hold readers of this session", Args: cobra.NoArgs, RunE: list}
	c.AddCommand(&cobra.Command{Use: "revoke TUNNEL", Short: "End a back end's use of a reader at once", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			asked, err := flags.askAgent(c.Context())
			if err != nil {
				return err
			}
			defer asked.Close()
			return p.done(asked.Revoke(c.Context(), args[0]))
		}})
	return c
}

func readerRows(w io.Writer, readers []api.CardReader) {
	rows(w, "ID\tREADER\tCARD\tPROBABLY", readers, func(r api.CardReader) string {
		card, probably := "none", "-"
		if r.Card != nil {
			card = cmp.Or(r.Card.ATR, "mute")
			if len(r.Card.Description) > 0 {
				probably = r.Card.Description[0]
			}
		}
		return fmt.Sprintf("%s\t%s\t%s\t%s", r.ID, r.Name, card, probably)
	})
}
