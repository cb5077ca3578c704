// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func (p *program) agentCache(flags *agentFlags) *cobra.Command {
	c := &cobra.Command{Use: "cache", Short: "Say how many certificates of cards the agent keeps", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			asked, err := flags.askAgent(c.Context())
			if err != nil {
				return err
			}
			defer asked.Close()
			answer, err := asked.Cache(c.Context())
			if err != nil {
				return err
			}
			return p.write(answer, func(w io.Writer) {
				fmt.Fprintf(w, "certificates are kept: %s; lists in memory: %d, on disk: %d (%d bytes)\n", answer.Certificates, answer.Memory, answer.Files, answer.Bytes)
			})
		}}
	c.AddCommand(&cobra.Command{Use: "clear", Short: "Have the agent forget them; they are read from the card again", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			asked, err := flags.askAgent(c.Context())
			if err != nil {
				return err
			}
			defer asked.Close()
			return p.done(asked.ClearCache(c.Context()))
		}})
	return c
}
