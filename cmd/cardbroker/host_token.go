// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardbroker/cardbroker/api"
)

// hostToken is how administrators enrol the tenants that have no identity provider.
func (p *program) hostToken(socket *string) *cobra.Command {
	return p.group("token", "Issue API keys to tenants, whose back ends exchange them for tokens",
		p.tokenEnrol(socket), p.tokenIssue(socket), p.tokenList(socket), p.tokenRevoke(socket), p.tokenRotate(socket))
}

func (p *program) tokenEnrol(socket *string) *cobra.Command {
	return &cobra.Command{Use: "enrol TENANT", Short: "Make an API key for a tenant and print it, this once", Args: cobra.ExactArgs(1),
		Long: "Make an API key for a tenant and print it, this once: the broker keeps a hash of it only. The back end exchanges it for tokens\n" +
			"that live for minutes. Hand it over in a file of mode 0600. A tenant may have several, so that one can be replaced.",
		RunE: func(c *cobra.Command, args []string) error {
			key, err := askBroker(c, *socket).Enrol(c.Context(), args[0])
			if err != nil {
				return err
			}
			return p.write(key, func(w io.Writer) { fmt.Fprintln(w, key.Key) })
		}}
}

func (p *program) tokenIssue(socket *string) *cobra.Command {
	return &cobra.Command{Use: "issue TENANT|KEYID", Short: "Print a token that lives for minutes, as the tenant's back end would get it", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			token, err := askBroker(c, *socket).IssueToken(c.Context(), args[0])
			if err != nil {
				return err
			}
			return p.write(token, func(w io.Writer) { fmt.Fprintln(w, token.Token) })
		}}
}

func (p *program) tokenList(socket *string) *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List API keys, and the keys that tokens are signed by", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			answer, err := askBroker(c, *socket).APIKeys(c.Context())
			if err != nil {
				return err
			}
			return p.write(answer, func(w io.Writer) {
				rows(w, "KEYID\tTENANT\tENROLLED", answer.Keys, func(k api.APIKey) string {
					return fmt.Sprintf("%s\t%s\t%s", k.ID, k.Tenant, k.Enrolled.Local().Format(time.DateTime))
				})
				fmt.Fprintln(w)
				rows(w, "SIGNING KEY\tSIGNS FROM\tFORGOTTEN", answer.Signing, func(k api.SigningKey) string {
					return fmt.Sprintf("%s\t%s\t%s", k.ID, moment(k.From, "when rotated"), moment(k.End, "-"))
				})
			})
		}}
}

// moment is a time in a table, or what stands for none.
func moment(t *time.Time, none string) string {
	if t == nil {
		return none
	}
	return t.Local().Format(time.DateTime)
}

func (p *program) tokenRevoke(socket *string) *cobra.Command {
	return &cobra.Command{Use: "revoke TENANT|KEYID", Short: "End an API key, or all of a tenant, and the tokens that were issued for it", Args: cobra.ExactArgs(1),
		Long: "End an API key, or all of a tenant, and the tokens that were issued for it, at once. A tunnel that is open stays so until its\n" +
			"lease ends: see `cardbroker host leases`.",
		RunE: func(c *cobra.Command, args []string) error {
			answer, err := askBroker(c, *socket).RevokeKeys(c.Context(), args[0])
			if err != nil {
				return err
			}
			return p.write(answer, func(w io.Writer) { fmt.Fprintf(w, "revoked: %s\n", strings.Join(answer.Revoked, " ")) })
		}}
}

func (p *program) tokenRotate(socket *string) *cobra.Command {
	var discard bool
	c := &cobra.Command{Use: "rotate", Short: "Sign tokens by another key; those of the one before stay good", Args: cobra.NoArgs,
		Long: "Sign tokens by another key, which has been published before. Tokens of the one before stay good until they expire. The broker\n" +
			"does so by itself every 30 days. If others may know the keys, --discard replaces them all at once: then every token that\n" +
			"was issued is void, and back ends exchange anew.",
		RunE: func(c *cobra.Command, _ []string) error {
			key, err := askBroker(c, *socket).RotateKey(c.Context(), discard)
			if err != nil {
				return err
			}
			return p.write(key, func(w io.Writer) { fmt.Fprintf(w, "%s signs from %s\n", key.ID, moment(key.From, "now")) })
		}}
	c.Flags().BoolVar(&discard, "discard", false, "others may know the keys: no token that was issued is good any more")
	return c
}
