// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/client"
	"github.com/cardbroker/cardbroker/internal/atrlist"
	"github.com/cardbroker/cardbroker/store"
)

// hostCommand is what administrators of a shared host run.
func (p *program) hostCommand() *cobra.Command {
	var socket string
	c := p.group("host", "Run and look after the broker of this host (administrators)",
		p.hostRun(), p.hostSessions(&socket), p.hostLeases(&socket), p.hostKick(&socket), p.hostExplain(&socket), p.hostDoctor(&socket), p.hostATRList(), p.hostStore(),
		p.hostToken(&socket), p.hostTLS(), p.hostAudit(&socket), p.hostConfig())
	c.PersistentFlags().StringVar(&socket, "socket", defaultSocket(""), "the broker's local socket")
	return c
}

func (p *program) hostSessions(socket *string) *cobra.Command {
	return &cobra.Command{Use: "sessions", Short: "List the sessions' agents and their ports", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			answer, err := askBroker(c, *socket).Sessions(c.Context())
			if err != nil {
				return err
			}
			return p.write(answer, func(w io.Writer) {
				rows(w, "SESSION\tUSER\tPORT\tSTATE\tSINCE\tPID\tLISTENER\tKIND\tUSER IS", answer.Sessions, func(s api.Session) string {
					return fmt.Sprintf("%s\t%s\t%d\t%s\t%s\t%d\t%s\t%s\t%s", s.Session, s.User, s.Port, s.State,
						s.Since.Local().Format("15:04:05"), s.PID, map[bool]string{true: "ok", false: "NOT HIS"}[s.ListenerOK], s.Kind, s.Presence)
				})
			})
		}}
}

func (p *program) hostKick(socket *string) *cobra.Command {
	var user string
	c := &cobra.Command{Use: "kick SESSION", Short: "End the agent of a session: its port, tickets and leases",
		Long: "End the agent of a session: its port is given back, its tickets are void, its leases end, and it does not come back by\n" +
			"itself. Its user may start another.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			session, err := cardbroker.ParseSessionID(args[0])
			if err != nil {
				return err
			}
			return p.done(askBroker(c, *socket).Kick(c.Context(), api.Kick{Session: session, User: user}))
		}}
	c.Flags().StringVar(&user, "user", "", "whose session, where several users have one of that name")
	return c
}

func (p *program) hostLeases(socket *string) *cobra.Command {
	c := &cobra.Command{Use: "leases", Short: "List which back ends hold which readers", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			answer, err := askBroker(c, *socket).Leases(c.Context())
			if err != nil {
				return err
			}
			return p.write(answer, func(w io.Writer) { leaseRows(w, answer.Leases) })
		}}
	c.AddCommand(&cobra.Command{Use: "revoke TUNNEL", Short: "End a back end's use of a reader at once", Args: cobra.ExactArgs(1),
		Long: "End a back end's use of a reader at once: the session's agent is told, and resets the card. If the agent does not end the lease\n" +
			"within a second, the broker cuts the tunnel, and says so.",
		RunE: func(c *cobra.Command, args []string) error {
			answer, err := askBroker(c, *socket).RevokeLease(c.Context(), args[0])
			if err != nil {
				return err
			}
			return p.write(answer, func(w io.Writer) {
				if answer.Cut {
					fmt.Fprintln(w, "the agent has not ended the lease; the tunnel was cut")
				}
			})
		}})
	return c
}

func (p *program) hostExplain(socket *string) *cobra.Command {
	var to string
	c := &cobra.Command{Use: "explain CLIENT", Short: "Say who is behind a connection, and which rule decides on it",
		Long: "Say who is behind the loopback connection whose client's end is CLIENT (ADDRESS:PORT), and which rule decides on it.\n" +
			"While the connection is open the kernel is asked; after that, the last 256 refusals of broker and agents.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			e, err := askBroker(c, *socket).Explain(c.Context(), args[0], to)
			if err != nil {
				return err
			}
			return p.write(e, func(w io.Writer) {
				verdict := "refused"
				if e.Allowed {
					verdict = "allowed"
				}
				fmt.Fprintf(w, "%s by rule %s: %s\n", verdict, e.Rule, e.Detail)
				if e.UID != nil {
					fmt.Fprintf(w, "uid %d\n", *e.UID)
				}
				if e.Session != nil {
					fmt.Fprintf(w, "session %s\n", *e.Session)
				}
			})
		}}
	c.Flags().StringVar(&to, "to", "", "the server's end, an agent's for example; empty: the broker's own")
	return c
}

func (p *program) hostDoctor(socket *string) *cobra.Command {
	return &cobra.Command{Use: "doctor", Short: "Say what is wrong with the broker, and what to do", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			answer, err := askBroker(c, *socket).Doctor(c.Context())
			if err != nil {
				return err
			}
			return p.write(answer, func(w io.Writer) { diagnosis(w, answer) })
		}}
}

func diagnosis(w io.Writer, d api.Diagnosis) {
	fmt.Fprintf(w, "mode: %s\n", d.Mode)
	rows(w, "CHECK\tSTATUS\tDETAIL", d.Checks, func(c api.Check) string {
		detail := strings.Join(strings.Fields(c.Detail), " ") // an error in YAML has several lines
		line := fmt.Sprintf("%s\t%s\t%s", c.ID, c.Status, detail)
		if c.Fix != "" {
			line += "; " + c.Fix
		}
		return line
	})
}

// hostATRList checks what the agents read leniently.
func (p *program) hostATRList() *cobra.Command {
	return &cobra.Command{Use: "atrlist [FILE]", Short: "Read a list of ATRs and say what is malformed", Args: cobra.MaximumNArgs(1),
		Long: "Read a list of ATRs, from which agents tell what a card probably is, and say which line is malformed. Without FILE it\n" +
			"is " + atrlist.AdminFile + ".",
		RunE: func(_ *cobra.Command, args []string) error {
			path := atrlist.AdminFile
			if len(args) > 0 {
				path = args[0]
			}
			n, err := atrlist.Check(path)
			if err != nil {
				return err
			}
			return p.write(map[string]int{"patterns": n}, func(w io.Writer) { fmt.Fprintf(w, "%s is in order: %d patterns\n", path, n) })
		}}
}

// hostStore looks after the broker's store while no broker runs.
func (p *program) hostStore() *cobra.Command {
	var state string
	path := func() string { return filepath.Join(state, storeFile) }
	check := &cobra.Command{Use: "check", Short: "Read the whole store and say what is damaged", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := store.Check(path()); err != nil {
				return err
			}
			return p.write(map[string]bool{"ok": true}, func(w io.Writer) { fmt.Fprintf(w, "%s is in order\n", path()) })
		}}
	compact := &cobra.Command{Use: "compact FILE", Short: "Write a copy without unused space to a new file", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return p.done(store.Compact(path(), args[0])) }}
	dump := &cobra.Command{Use: "dump", Short: "Write what the store holds, one JSON object a line, without secrets", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return withStore(path(), func(s *store.Store) error { return s.Dump(c.Context(), p.stdout) })
		}}
	backup := &cobra.Command{Use: "backup FILE", Short: "Write a copy to a new file", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return p.done(withStore(path(), func(s *store.Store) error { return s.Backup(args[0]) }))
		}}
	c := p.group("store", "Check, compact, dump or back up the registry's file", check, compact, dump, backup)
	c.PersistentFlags().StringVar(&state, "state", defaultHostState(""), "the broker's state directory")
	return c
}

func withStore(path string, use func(*store.Store) error) error {
	s, err := store.Open(path, store.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer s.Close()
	return use(s)
}

// askBroker returns a client of the broker. A socket that was named on the command line may belong to our own user too.
func askBroker(c *cobra.Command, socket string) *client.Broker {
	return client.NewBroker(brokerAt(socket, c.Flags().Changed("socket")))
}
