// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/home"
	"github.com/cardbroker/cardbroker/agent/prompt"
	"github.com/cardbroker/cardbroker/client"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/epoch"
	"github.com/cardbroker/cardbroker/internal/library"
	"github.com/cardbroker/cardbroker/internal/peer"
)

// Config says where to look.
type Config struct {
	Root      string // that the system's files are below, for tests; else empty
	Home      string // of the user
	ConfigErr error  // of the agent's configuration
	Broker    *client.Broker
	Socket    string          // of the broker
	Port      cardbroker.Port // where web pages look for it
	Elects    cardbroker.Port // where agents look for whoever was elected; 0: they do not stand, unless the agent's note says so
	Session   cardbroker.SessionID
	State     string
	Policy    string // directory; empty: the default
	Sandbox   string // program
	PCSC      string // socket
	Built     time.Time
	Software  string                                         // name of the software card's reader
	Missing   func(landlock int, seccomp bool) (what string) // what a kernel does not refuse to the sandbox
	Getenv    func(string) string
}

// lookLimit is how long a part that somebody else answers may take.
const lookLimit = 5 * time.Second

// Look looks at everything once.
func Look(ctx context.Context, cfg Config) *World {
	w := &World{ConfigErr: cfg.ConfigErr, Socket: cfg.Socket, Session: cfg.Session, SandboxPath: cfg.Sandbox}
	w.Policy, w.PolicyErr = config.LoadPolicy(cfg.Policy)
	w.State = folder(cfg.State)
	w.Clock = readClock(cfg)
	w.askBroker(ctx, cfg)
	w.askAgent(ctx, cfg)
	w.lookRegistry(ctx, cfg)
	w.Ports = w.lookPorts(ctx, cfg)
	w.Localhost, w.LocalhostErr = localhost(ctx)
	w.Proxies = proxies(ctx, cfg)
	w.Browsers = browsers(cfg)
	w.Security = security(cfg.Root)
	w.SandboxErr = checkProgram(cfg.Sandbox)
	w.Unconfined = cfg.Missing(kernel())
	w.PCSC = w.service(ctx, cfg)
	for _, m := range w.Policy.Modules() {
		found := moduleFile(m, checkRoot)
		found.Died = w.died[m.Name]
		w.Modules = append(w.Modules, found)
	}
	w.Display = cfg.Getenv("DISPLAY") != "" || cfg.Getenv("WAYLAND_DISPLAY") != ""
	if w.Prompt, _ = prompt.Desktop(); len(w.Policy.Prompt.Command) > 0 {
		w.Prompt = w.Policy.Prompt.Command[0]
	}
	return w
}

func folder(dir string) Folder {
	info, err := os.Stat(dir)
	if err != nil {
		return Folder{Dir: dir, Missing: errors.Is(err, fs.ErrNotExist), Open: !errors.Is(err, fs.ErrNotExist)}
	}
	return Folder{Dir: dir, Open: !home.Private(info), Remote: remote(dir)}
}

// readClock compares the clock to what cannot be from the future.
func readClock(cfg Config) Clock {
	c := Clock{Now: time.Now(), Built: cfg.Built}
	for _, path := range []string{filepath.Join(cfg.State, "agent.json"), filepath.Join(cfg.State, "consents.json"), cfg.Root + "/etc/resolv.conf", cfg.Root + "/etc/ld.so.cache"} {
		if info, err := os.Stat(path); err == nil && info.ModTime().After(c.Newest) {
			c.Newest, c.NewestFile = info.ModTime(), path
		}
	}
	c.Hardware, c.Synchronised = systemClock(cfg.Root)
	return c
}

// askBroker asks for the session's agent.
func (w *World) askBroker(ctx context.Context, cfg Config) {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	if _, err := os.Lstat(cfg.Socket); err == nil {
		w.Installed = true
	}
	if note, err := home.ReadNote(cfg.State, cfg.Session); err == nil {
		w.Note = &note
		w.Registry.Port = note.Elects
	}
	w.Registry.Port = cmp.Or(w.Registry.Port, cfg.Elects)
	if waits, there := home.ReadWaits(cfg.State, cfg.Session); there {
		w.Waits = &waits
	}
	answer, err := cfg.Broker.Agents(ctx)
	if w.BrokerErr = err; err != nil {
		return
	}
	w.Note = nil
	for _, s := range answer.Sessions {
		if s.Session == cfg.Session {
			w.Agent = &s
		}
	}
}

// askAgent asks the agent itself, if it is anywhere.
func (w *World) askAgent(whole context.Context, cfg Config) {
	var asked *client.Agent
	switch {
	case w.Agent != nil && w.Agent.State != cardbroker.Registered:
		return
	case w.Agent != nil && w.Agent.Held:
		asked = client.NewHeldAgent(w.Agent.Port, cfg.Broker.Accounts()...)
	case w.Agent != nil:
		asked = client.NewAgent(w.Agent.Port)
	case w.Note != nil:
		asked = client.NewAgent(w.Note.Port)
	case w.Waits != nil && w.Waits.Port != 0:
		asked = client.NewAgent(w.Waits.Port)
	default:
		return
	}
	defer asked.Close()
	ctx, cancel := context.WithTimeout(whole, lookLimit)
	defer cancel()
	consents, err := asked.Consents(ctx)
	if reason := cardbroker.ReasonOf(err); reason == cardbroker.Unavailable || reason == cardbroker.Timeout || reason == cardbroker.CallerRefused {
		w.ReachErr = err
		return
	}
	w.Asked, w.ConsentErr = true, err
	if info, err := asked.Info(ctx); err == nil {
		w.Linked = info.Cardbroker.Mode
	}
	for _, c := range consents.Consents {
		w.Consents = append(w.Consents, c.Origin)
	}
	w.Readers, w.ReadersErr = asked.Readers(ctx)
	_, w.KeyErr = asked.DeviceKeys(ctx)
	w.askModules(whole, asked)
}

// askModules has the agent start its modules, and notes which of them do not.
func (w *World) askModules(ctx context.Context, agent *client.Agent) {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	said, err := agent.Modules(ctx, true)
	w.ModulesErr, w.died = err, map[string]string{}
	for _, m := range said.Modules {
		w.died[m.Name] = m.Error
		if m.Cause != "" {
			w.died[m.Name] += " (" + m.Cause + ")"
		}
	}
}

// lookRegistry asks the kernel who is where agents look for who was elected, and him what he is.
func (w *World) lookRegistry(ctx context.Context, cfg Config) {
	r := &w.Registry
	if r.Port == 0 || w.BrokerErr == nil {
		return
	}
	kernel := peer.NewKernel()
	defer kernel.Close()
	l, err := kernel.Listener(r.Port)
	r.Missing = cardbroker.RuleOf(err) == cardbroker.RuleListenerMissing
	r.User = l.User
	r.PID, r.Name = l.Process()
	if r.PID == 0 && l.User == peer.Self() {
		r.PID, r.Name = peer.LockedBy(filepath.Join(cfg.State, home.ElectedFile))
	}
	r.Trusted = err == nil && (l.User == peer.Self() || w.Policy.Election.AnyUser)
	r.Service = err == nil && l.User != peer.Self() && (l.User == cardbroker.UserID{} || slices.Contains(cfg.Broker.Accounts(), l.User))
	if !r.Trusted || r.Service {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	info, err := client.AskInfo(ctx, r.Port)
	r.Err, r.Mode, r.Epoch = err, info.Cardbroker.Mode, info.Cardbroker.Epoch
	r.Since = time.Now().Add(-time.Duration(epoch.Now()-r.Epoch) * time.Microsecond)
}

// localhost asks the resolver.
func localhost(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	return net.DefaultResolver.LookupHost(ctx, "localhost")
}

// checkProgram checks that nobody but root and our own user can put another program in its place.
func checkProgram(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("%s is not a program", path)
	}
	return peer.CheckFile(path, peer.Self())
}

// service connects to the PC/SC service, unless the agent has a software card.
func (w *World) service(ctx context.Context, cfg Config) Service {
	for _, r := range w.Readers {
		if r.Name == cfg.Software {
			return Service{}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", cfg.PCSC)
	if err == nil {
		conn.Close()
	}
	return Service{Socket: cfg.PCSC, Err: err}
}

func checkRoot(path string) error { return peer.CheckFile(path) }

// moduleFile looks at the file of a module without loading it; check says whether it is safe.
func moduleFile(m config.Module, check func(path string) error) Module {
	found := Module{Module: m}
	if _, found.Err = os.Stat(m.Library); found.Err != nil {
		return found
	}
	if found.Err = check(m.Library); found.Err != nil {
		return found
	}
	found.Wrong = library.Check(m.Library)
	return found
}
