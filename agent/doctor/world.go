// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package doctor names what keeps the agent of a session, its readers and the web pages of its user from working, and what to do
// about each. It looks once ([Look]), changes nothing, and judges what it saw by pure functions ([World.Judge]).
package doctor

import (
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/home"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/doctor"
)

// World is what the doctor has seen. The zero value of a part is what is usual: no error, nothing there.
type World struct {
	ConfigErr, PolicyErr error
	Policy               config.Policy

	State Folder
	Clock Clock

	Socket    string // of the broker
	BrokerErr error  // why it does not answer
	Installed bool   // something is where its socket should be
	Session   cardbroker.SessionID
	Agent     *api.Session // as the broker knows it; nil: it knows none
	Note      *home.Note   // that an agent has left, or keeps; nil: none
	Waits     *home.Waits  // what an agent says that runs and is not registered; nil: there is none
	Linked    string       // how the agent itself says that the host finds it; of Asked only
	Registry  Registry
	Ports     []Port

	Localhost    []string // addresses
	LocalhostErr error
	ReachErr     error // why the agent cannot be reached at its port, though it listens; of Asked only

	Proxies  []Proxy
	Browsers []Browser
	Security []string // products that inspect connections, whose processes or directories were found

	SandboxPath string
	SandboxErr  error
	Unconfined  string // what the kernel does not refuse to the sandbox

	Asked      bool // the agent was: what follows is its word
	PCSC       Service
	Readers    []api.CardReader
	ReadersErr error
	Modules    []Module
	ModulesErr error             // why the agent cannot be asked for them
	died       map[string]string // why those are not there that are not, by name
	KeyErr     error
	Consents   []cardbroker.Origin
	ConsentErr error

	Prompt  string // program that asks for PINs; empty: none
	Display bool
}

// Folder is the state directory.
type Folder struct {
	Dir     string
	Missing bool
	Open    bool   // others can read it, or it is another's
	Remote  string // the file system over a network that it is on
}

// Clock is what can be told of the host's clock. The broker's is the same one; a zero time is not known.
type Clock struct {
	Now, Built   time.Time
	Newest       time.Time // of files of ours and the system's: they were not written tomorrow
	NewestFile   string
	Hardware     time.Time // the clock of the mainboard
	Synchronised bool      // the kernel says so
}

// Port is one of ours, and who listens there.
type Port struct {
	Number    cardbroker.Port
	Of        string // whose it should be: broker, or agent
	Held      bool   // somebody listens
	Ours      bool   // and is who should
	PID       int    // 0: not to be seen
	Name      string // of the program
	UID       uint32
	Mandatory bool // nobody listening is a failure
}

// Registry is whoever is where agents that stand for election look for who was elected.
type Registry struct {
	Port    cardbroker.Port // 0: agents here do not stand
	Missing bool            // nobody listens
	Trusted bool            // by our agents, whoever it is
	Service bool            // root's, or of an account that a service may run as
	PID     int             // 0: not to be seen
	Name    string          // of the program
	User    cardbroker.UserID
	Err     error  // why it does not answer
	Mode    string // that it says it has
	Epoch   uint64
	Since   time.Time
}

// Proxy is a setting that may take connections to this very host to a proxy.
type Proxy struct {
	Where string // the setting
	Takes bool   // it does, for who heeds it; else it may, or says that there is a PAC file
	Page  bool   // browsers heed it
}

// Browser is what machine policy, or its user, has a browser say to pages that want to reach this host.
type Browser struct {
	Name    string
	Blocked []string // patterns of pages that policy keeps away
	Allowed []string // that policy lets
	Refused []string // pages that the user has said no to
}

// Service is the PC/SC service.
type Service struct {
	Socket string
	Err    error // why it cannot be connected to
}

// Module is a PKCS#11 module of policy.
type Module struct {
	config.Module
	Err   error  // why its file cannot be used
	Wrong error  // why it is no library for this system
	Died  string // why the agent cannot start it, or has seen it end
}

// mode is how the host finds agents.
func (w *World) mode() string {
	switch {
	case w.BrokerErr == nil:
		return api.ModeService
	case w.elected():
		return api.ModeElected
	}
	return api.ModeNone
}

// Judge says what is wrong, causes before what they cause.
func (w *World) Judge() (findings []doctor.Finding) {
	for _, check := range []func() []doctor.Finding{
		w.config, w.state, w.clock, w.broker, w.registry, w.agent, w.ports, w.localhost, w.loopback, w.proxy, w.browser, w.antivirus,
		w.sandbox, w.confinement, w.pcsc, w.readers, w.cards, w.modules, w.deviceKey, w.consents, w.prompt, w.session,
	} {
		findings = append(findings, check()...)
	}
	return findings
}

// Diagnose says the same as every doctor does.
func (w *World) Diagnose() (api.Diagnosis, error) {
	findings := w.Judge()
	return doctor.Diagnosis(w.mode(), findings), doctor.Verdict(findings)
}

// one is a check that finds one thing.
func one(f doctor.Finding) []doctor.Finding { return []doctor.Finding{f} }
