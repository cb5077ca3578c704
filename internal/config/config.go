// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package config reads the configuration files: strictly, so that a misspelt key is an error and never a default. A
// value comes from the command line, else from the file, else it is the default that stands here.
package config

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/cardbroker/cardbroker"
)

// Where the files are unless the command line names others.
const (
	HostFile  = "/etc/cardbroker/host.yaml"
	AgentFile = "/etc/cardbroker/agent.yaml"
)

// DefaultListen is the broker's well-known address: existing web applications expect its port.
const DefaultListen = "127.0.0.1:51983"

// Host is host.yaml.
type Host struct {
	Listen  string  `yaml:"listen"`  // of web pages, on [::1] too; DefaultListen
	Ports   string  `yaml:"ports"`   // of agents; cardbroker.DefaultPorts
	Socket  string  `yaml:"socket"`  // the local socket
	State   string  `yaml:"state"`   // the state directory
	Host    string  `yaml:"host"`    // this host's name for back ends; the system's
	Backend Backend `yaml:"backend"` // the door for back ends
	Limits  Limits  `yaml:"limits"`

	Issuer  Issuer            `yaml:"issuer"`  // of tokens for API keys
	Tenants map[string]Tenant `yaml:"tenants"` // whose back ends may come; beside those of Backend.Tokens
	Audit   Audit             `yaml:"audit"`

	Metrics Metrics `yaml:"metrics"` // over TCP; none: the local socket alone

	TLS        TLS         `yaml:"tls"`         // with web pages; none
	FixedPorts []FixedPort `yaml:"fixed_ports"` // of all sessions; none
}

// Backend is the door for back ends.
type Backend struct {
	Listen string `yaml:"listen"` // empty: no door
	Cert   string `yaml:"cert"`   // PEM file
	Key    string `yaml:"key"`    // PEM file
	Tokens string `yaml:"tokens"` // file of lines TENANT TOKEN, mode 0600
	URL    string `yaml:"url"`    // how back ends reach the door; wss:// and Listen

	Connect []Connect `yaml:"connect"` // rendezvous that the broker calls; none
}

// Limits are what one user may have at a time.
type Limits struct {
	ReservationsPerUser uint16 `yaml:"reservationsPerUser"` // 16
	ConnectionsPerUser  uint16 `yaml:"connectionsPerUser"`  // 64
}

// Agent is agent.yaml.
type Agent struct {
	Socket  string `yaml:"socket"`   // the broker's local socket
	Account string `yaml:"account"`  // that the broker may run as, besides root: a name of the system
	Sandbox string `yaml:"sandbox"`  // path of cardsandbox; beside the program
	ATRList string `yaml:"atr_list"` // what cards are; the administrator's list, else the distribution's
	Elect   Elect  `yaml:"elect"`
}

// Elect is how agents do where no service runs on the host: they elect one of themselves.
type Elect struct {
	Enabled bool   `yaml:"enabled"`
	Listen  string `yaml:"listen"` // of whoever is elected: the port of web pages, as Host.Listen; DefaultListen
	Ports   string `yaml:"ports"`  // of agents, as Host.Ports; cardbroker.DefaultPorts
}

// LoadHost reads host.yaml and puts the values of the command line over it. An empty path means HostFile, which need not
// be there. Errors: Invalid, all that are found, with their places.
func LoadHost(path string, flags Host) (Host, error) {
	var cfg Host
	if err := read(cmp.Or(path, HostFile), path != "", &cfg); err != nil {
		return cfg, err
	}
	problems := []error{checkIssuer(cmp.Or(path, HostFile), cfg.Issuer), checkTenants(cmp.Or(path, HostFile), cfg.Tenants),
		checkConnect(cmp.Or(path, HostFile), cfg.Backend.Connect)}
	cfg.Listen = cmp.Or(flags.Listen, cfg.Listen, DefaultListen)
	cfg.Ports = cmp.Or(flags.Ports, cfg.Ports, cardbroker.DefaultPorts)
	cfg.Socket = cmp.Or(flags.Socket, cfg.Socket)
	cfg.State = cmp.Or(flags.State, cfg.State)
	cfg.Backend.Listen = cmp.Or(flags.Backend.Listen, cfg.Backend.Listen)
	cfg.Backend.Cert = cmp.Or(flags.Backend.Cert, cfg.Backend.Cert)
	cfg.Backend.Key = cmp.Or(flags.Backend.Key, cfg.Backend.Key)
	cfg.Backend.Tokens = cmp.Or(flags.Backend.Tokens, cfg.Backend.Tokens)
	_, err := cfg.Audit.Bytes()
	return cfg, errors.Join(append(problems, err, cfg.Metrics.check(), cfg.checkBrowsers())...)
}

// LoadAgent reads agent.yaml. An empty path means AgentFile, which need not be there. Errors: Invalid, with the place.
func LoadAgent(path string) (Agent, error) {
	var cfg Agent
	err := read(cmp.Or(path, AgentFile), path != "", &cfg)
	cfg.Elect.Listen = cmp.Or(cfg.Elect.Listen, DefaultListen)
	cfg.Elect.Ports = cmp.Or(cfg.Elect.Ports, cardbroker.DefaultPorts)
	return cfg, err
}

func read(path string, required bool, into any) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !required {
		return nil
	}
	if err != nil {
		return cardbroker.Wrapf(err, cardbroker.Invalid, "cannot read the configuration %s", path)
	}
	if err := checkTags(path, text); err != nil {
		return err
	}
	d := yaml.NewDecoder(bytes.NewReader(text), yaml.DisallowUnknownField())
	err = d.Decode(into)
	switch {
	case errors.Is(err, io.EOF): // an empty file says nothing
		return nil
	case err != nil:
		return cardbroker.Errorf(cardbroker.Invalid, "configuration %s: %s", path, yaml.FormatError(err, false, true))
	case !errors.Is(d.Decode(new(any)), io.EOF):
		return cardbroker.Errorf(cardbroker.Invalid, "configuration %s: more than one document", path)
	}
	return nil
}

// tags finds a tag, such as !!str.
type tags struct{ found *ast.TagNode }

// Visit implements ast.Visitor.
func (t *tags) Visit(node ast.Node) ast.Visitor {
	if tag, ok := node.(*ast.TagNode); ok && t.found == nil {
		t.found = tag
	}
	return t
}

// checkTags refuses tags: no key needs one, and the library panics on one that has no value.
func checkTags(path string, text []byte) error {
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil // who decodes it says it with its place
	}
	var t tags
	for _, doc := range file.Docs {
		if doc.Body != nil {
			ast.Walk(&t, doc.Body)
		}
	}
	if t.found != nil {
		at := t.found.GetToken().Position
		return cardbroker.Errorf(cardbroker.Invalid, "configuration %s: [%d:%d] a tag is not allowed here", path, at.Line, at.Column)
	}
	return nil
}
