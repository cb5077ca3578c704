// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/config"
)

// configPlace is where the configuration is.
type configPlace struct{ file, policy string }

// hostConfig looks at the configuration; it changes nothing, and asks no broker.
func (p *program) hostConfig() *cobra.Command {
	var at configPlace
	c := p.group("config", "Check or show host.yaml and machine policy", p.configCheck(&at), p.configShow(&at))
	c.PersistentFlags().StringVar(&at.file, "config", "", "configuration file (default "+config.HostFile+", if it is there)")
	c.PersistentFlags().StringVar(&at.policy, "policy", "", "directory of machine policy (default "+config.PolicyDir+", if it is there)")
	return c
}

// configReport is what `host config check` found.
type configReport struct {
	OK     bool           `json:"ok"`
	Errors []string       `json:"errors"`
	Tests  []firewallTest `json:"tests"`
}

// firewallTest is one test of a tenant's firewall.
type firewallTest struct {
	Tenant cardbroker.Tenant `json:"tenant"`
	Test   string            `json:"test"` // its place
	Name   string            `json:"name,omitempty"`
	OK     bool              `json:"ok"`
	Detail string            `json:"detail,omitempty"` // why it failed
}

func (p *program) configCheck(at *configPlace) *cobra.Command {
	var verbose bool
	c := &cobra.Command{Use: "check", Short: "Say all that is wrong, and run the tests of the tenants' firewalls", Args: cobra.NoArgs,
		Long: "Read host.yaml and machine policy as the broker and the agents do, say all that is wrong, and run the tests that stand beside\n" +
			"the rules of the tenants' firewalls. Exit status 2: something is wrong, or a test failed.",
		RunE: func(*cobra.Command, []string) error {
			report := at.check()
			err := p.write(report, func(w io.Writer) { report.print(w, verbose) })
			if err == nil && !report.OK {
				err = cardbroker.Errorf(cardbroker.Invalid, "the configuration is not in order")
			}
			return err
		}}
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "say of each test whether it passed")
	return c
}

// check reads everything. A policy is refused for its failed tests, too, which the report has as tests alone.
func (at configPlace) check() configReport {
	report := configReport{Errors: []string{}, Tests: []firewallTest{}}
	host, err := config.LoadHost(at.file, config.Host{})
	if err == nil {
		_, _, err = hostPorts(host)
	}
	report.note(err)
	policy, err := config.LoadPolicy(at.policy)
	report.note(err)
	for _, test := range policy.FirewallTests() {
		done := firewallTest{Tenant: test.Tenant, Test: test.Test, Name: test.Name, OK: test.Err == nil}
		if test.Err != nil {
			done.Detail = explain(test.Err)
		}
		report.Tests = append(report.Tests, done)
	}
	report.OK = len(report.Errors) == 0
	return report
}

// note takes all errors that err is made of.
func (r *configReport) note(err error) {
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range several.Unwrap() {
			r.note(one)
		}
		return
	}
	if err != nil {
		r.Errors = append(r.Errors, explain(err))
	}
}

func (r configReport) print(w io.Writer, verbose bool) {
	for _, text := range r.Errors {
		fmt.Fprintln(w, text)
	}
	passed := 0
	for _, test := range r.Tests {
		if test.OK {
			passed++
		}
		if verbose {
			fmt.Fprintf(w, "%-6s  %s\n", map[bool]string{true: "passed", false: "FAILED"}[test.OK], strings.TrimSpace(test.Test+"  "+test.Name))
		}
	}
	if r.OK {
		fmt.Fprint(w, "the configuration is in order; ")
	}
	fmt.Fprintf(w, "firewall tests: %d passed, %d failed\n", passed, len(r.Tests)-passed)
}

func (p *program) configShow(at *configPlace) *cobra.Command {
	return &cobra.Command{Use: "show", Short: "Write each value as it counts, and which file it comes from", Args: cobra.NoArgs,
		Long: "Write each value of host.yaml and machine policy as it counts, and which file it comes from. Secrets do not stand in either: they\n" +
			"name the files that hold them.",
		RunE: func(*cobra.Command, []string) error {
			host, err := config.ShowHost(at.file, defaultSocket(""), defaultHostState(""))
			if err != nil {
				return err
			}
			policy, err := config.ShowPolicy(at.policy)
			if err != nil {
				return err
			}
			answer := struct {
				Host   []config.Setting `json:"host"`
				Policy []config.Setting `json:"policy"`
			}{host, policy}
			return p.write(answer, func(w io.Writer) {
				row := func(s config.Setting) string { return fmt.Sprintf("%s\t%s\t%s", s.Key, s.Value, s.Source) }
				rows(w, "HOST\tVALUE\tFROM", host, row)
				fmt.Fprintln(w)
				rows(w, "POLICY\tVALUE\tFROM", policy, row)
			})
		}}
}
