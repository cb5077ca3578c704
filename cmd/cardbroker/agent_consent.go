// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/client"
)

// agentConsent is how the user says which web pages may use his cards.
func (p *program) agentConsent(flags *agentFlags) *cobra.Command {
	var days int
	approve := p.consentChange(flags, "approve ORIGIN", "Let web pages of an origin use the cards of this user", func(ctx context.Context, a *client.Agent, origin string) error {
		return a.AnswerConsent(ctx, api.ConsentAnswer{Origin: origin, Answer: api.AnswerApprove, Days: days})
	})
	approve.Flags().IntVar(&days, "days", 0, "for so many days (default, and at most, as policy says)")
	deny := p.consentChange(flags, "deny ORIGIN", "Refuse a web page that asks, or that has consent", func(ctx context.Context, a *client.Agent, origin string) error {
		return a.AnswerConsent(ctx, api.ConsentAnswer{Origin: origin, Answer: api.AnswerDeny})
	})
	revoke := p.consentChange(flags, "revoke ORIGIN", "End a consent at once, in all sessions of this user", func(ctx context.Context, a *client.Agent, origin string) error {
		return a.RevokeConsent(ctx, origin)
	})
	list := &cobra.Command{Use: "list", Short: "List which web pages may use the cards of this user, and which ask to", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			asked, err := flags.askAgent(c.Context())
			if err != nil {
				return err
			}
			defer asked.Close()
			answer, err := asked.Consents(c.Context())
			if err != nil {
				return err
			}
			return p.write(answer, func(w io.Writer) { consentRows(w, answer) })
		}}
	return p.group("consent", "Say which web pages may use the cards of this user", list, approve, deny, revoke)
}

// consentChange is a command that changes what is consented to.
func (p *program) consentChange(flags *agentFlags, use, short string, change func(context.Context, *client.Agent, string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(1), RunE: func(c *cobra.Command, args []string) error {
		asked, err := flags.askAgent(c.Context())
		if err != nil {
			return err
		}
		defer asked.Close()
		return p.done(change(c.Context(), asked.Agent, args[0]))
	}}
}

func consentRows(w io.Writer, answer api.Consents) {
	rows(w, "ORIGIN\tGRANTED\tUNTIL\tBY\tSESSION", answer.Consents, func(c api.Consent) string {
		return fmt.Sprintf("%s\t%s\t%s\t%s\t%s", c.Origin, c.Granted.Local().Format(time.DateTime), c.Expires.Local().Format(time.DateTime), c.By, c.Session)
	})
	if len(answer.Waiting) > 0 {
		fmt.Fprintln(w)
		rows(w, "ASKING NOW\tDAYS\tUNTIL", answer.Waiting, func(q api.ConsentWaiting) string {
			return fmt.Sprintf("%s\t%d\t%s", q.Origin, q.Days, q.Deadline.Local().Format(time.TimeOnly))
		})
	}
	fmt.Fprintf(w, "\nin a browser: %s\n", answer.Page)
}
