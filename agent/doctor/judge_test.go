// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package doctor_test

import (
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/doctor"
	"github.com/cardbroker/cardbroker/agent/home"
	"github.com/cardbroker/cardbroker/api"
)

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// fine is a world in which nothing is wrong.
func fine() *doctor.World {
	return &doctor.World{
		Socket: "/run/cardbroker/broker.sock", Installed: true, Session: "c2",
		Clock:     doctor.Clock{Now: noon, Built: noon.AddDate(0, -1, 0), Newest: noon, Hardware: noon, Synchronised: true},
		Agent:     &api.Session{Session: "c2", State: cardbroker.Registered, Port: 24800, PID: 7, ListenerOK: true, Presence: "present"},
		Ports:     []doctor.Port{{Number: 51983, Of: "broker", Held: true, Ours: true}, {Number: 24800, Of: "agent", Held: true, Ours: true, Mandatory: true}},
		Localhost: []string{"127.0.0.1", "::1"},
		Asked:     true, PCSC: doctor.Service{Socket: "/run/pcscd/pcscd.comm"},
		Readers:  []api.CardReader{{Name: "R", Card: &api.CardReaderCard{ATR: "3B8001", Description: []string{"a card"}, Modules: []string{"opensc"}}}},
		Consents: []cardbroker.Origin{"https://shop.example"},
		Prompt:   "/usr/bin/zenity", Display: true,
	}
}

func TestFine(t *testing.T) {
	d, err := fine().Diagnose()
	if err != nil || d.Mode != "service" {
		t.Errorf("Diagnose() = %+v, %v", d, err)
	}
	for _, c := range d.Checks {
		if c.Status != "ok" || c.Fix != "" {
			t.Errorf("in a world without fault: %+v", c)
		}
	}
}

// TestCauses: each fault has its check, its status, its exit and a fix, and no other check fails for it.
func TestCauses(t *testing.T) {
	foreign := cardbroker.Refusef(cardbroker.CallerRefused, cardbroker.RuleSocketForeign, "it belongs to user 1002")
	module := func(m doctor.Module) func(*doctor.World) {
		m.Name, m.Library = "acme", "/usr/lib/acme.so"
		return func(w *doctor.World) { w.Modules = []doctor.Module{m} }
	}
	port := func(n int, p doctor.Port) func(*doctor.World) {
		return func(w *doctor.World) {
			was := &w.Ports[n]
			was.Held, was.Ours, was.PID, was.Name, was.UID = p.Held, p.Ours, p.PID, p.Name, p.UID
		}
	}
	browser := func(b doctor.Browser) func(*doctor.World) {
		b.Name = "Chromium"
		return func(w *doctor.World) { w.Browsers = []doctor.Browser{b} }
	}
	card := func(c *api.CardReaderCard) func(*doctor.World) {
		return func(w *doctor.World) { w.Readers[0].Card = c }
	}
	for _, test := range []struct {
		name   string
		change func(*doctor.World)
		id     string
		status string
		reason cardbroker.Reason
		says   string
	}{
		{"configuration", func(w *doctor.World) { w.ConfigErr = fs.ErrInvalid }, "config", "fail", cardbroker.Invalid, ""},
		{"policy", func(w *doctor.World) { w.PolicyErr = fs.ErrInvalid }, "policy", "fail", cardbroker.Invalid, ""},
		{"open state", func(w *doctor.World) { w.State.Open = true }, "state", "fail", cardbroker.Invalid, ""},
		{"state on NFS", func(w *doctor.World) { w.State.Remote = "NFS" }, "state", "warn", "", "NFS"},
		{"before it was built", func(w *doctor.World) { w.Clock.Now = noon.AddDate(-20, 0, 0) }, "clock", "fail", cardbroker.Unauthenticated, "built"},
		{"a file of tomorrow", func(w *doctor.World) { w.Clock.Newest, w.Clock.NewestFile = noon.Add(time.Hour), "/x" }, "clock", "fail", cardbroker.Unauthenticated, "/x"},
		{"a file of the leeway", func(w *doctor.World) { w.Clock.Newest = noon.Add(30 * time.Second) }, "clock", "ok", "", ""},
		{"another clock", func(w *doctor.World) { w.Clock.Hardware = noon.Add(-31 * time.Second) }, "clock", "warn", "", "31s"},
		{"no broker", func(w *doctor.World) {
			w.BrokerErr, w.Installed = cardbroker.Errorf(cardbroker.Unavailable, "x"), false
		}, "broker", "fail", cardbroker.Unavailable, "there is no broker"},
		{"a dead broker", func(w *doctor.World) { w.BrokerErr = cardbroker.Errorf(cardbroker.Unavailable, "x") }, "broker", "fail", cardbroker.Unavailable, "no broker answers"},
		{"a closed socket", func(w *doctor.World) {
			w.BrokerErr, w.Installed = cardbroker.Wrapf(fs.ErrPermission, cardbroker.Unavailable, "x"), false
		}, "broker", "fail", cardbroker.Unavailable, "is closed to you"},
		{"another's socket", func(w *doctor.World) { w.BrokerErr = foreign }, "broker", "fail", cardbroker.CallerRefused, "1002"},
		{"no agent", func(w *doctor.World) { w.Agent = nil }, "agent", "fail", cardbroker.NoAgent, "session c2"},
		{"a stale agent", func(w *doctor.World) { w.Agent.State = cardbroker.Stale }, "agent", "fail", cardbroker.AgentRestarting, ""},
		{"an agent without a broker", func(w *doctor.World) { w.Agent, w.Note = nil, &home.Note{PID: 9, Port: 24801} }, "agent", "warn", "", "24801"},
		{"a program on the broker's port", port(0, doctor.Port{Held: true, PID: 5, Name: "nc", UID: 1002}), "port", "fail", cardbroker.Conflict, "nc (process 5, user 1002)"},
		{"another user on the agent's port", port(1, doctor.Port{Held: true, UID: 1002}), "port", "fail", cardbroker.Conflict, "a program of user 1002"},
		{"nobody on the broker's port", port(0, doctor.Port{}), "port", "warn", "", ""},
		{"nobody on the agent's port", port(1, doctor.Port{}), "port", "fail", cardbroker.Unavailable, ""},
		{"localhost is lost", func(w *doctor.World) { w.Localhost, w.LocalhostErr = nil, fs.ErrNotExist }, "localhost", "fail", cardbroker.Unavailable, "rebind"},
		{"localhost is elsewhere", func(w *doctor.World) { w.Localhost = []string{"127.0.0.1", "192.0.2.1"} }, "localhost", "fail", cardbroker.Unavailable, "192.0.2.1"},
		{"a local firewall", func(w *doctor.World) { w.Asked, w.ReachErr = false, syscall.ECONNREFUSED }, "loopback", "fail", cardbroker.Unavailable, ""},
		{"a proxy of programs", func(w *doctor.World) { w.Proxies = []doctor.Proxy{{Where: "http_proxy", Takes: true}} }, "proxy", "warn", "", "http_proxy"},
		{"a proxy of browsers", func(w *doctor.World) { w.Proxies = []doctor.Proxy{{Where: "policy", Takes: true, Page: true}} }, "proxy", "fail", cardbroker.Unavailable, "policy"},
		{"a PAC file", func(w *doctor.World) { w.Proxies = []doctor.Proxy{{Where: "PAC", Page: true}} }, "proxy", "ok", "", "PAC"},
		{"a page is blocked", browser(doctor.Browser{Blocked: []string{"https://[*.]example"}}), "browser", "fail", cardbroker.OriginDenied, "shop.example"},
		{"all pages are blocked", browser(doctor.Browser{Blocked: []string{"*"}}), "browser", "fail", cardbroker.OriginDenied, "all pages"},
		{"other pages are blocked", browser(doctor.Browser{Blocked: []string{"https://shop.example:8443", "http://shop.example", "shop.example.org"}}), "browser", "warn", "", "8443"},
		{"denied by the user", browser(doctor.Browser{Refused: []string{"https://x.example:443"}}), "browser", "warn", "", "x.example"},
		{"antivirus", func(w *doctor.World) { w.Security = []string{"ESET"} }, "antivirus", "warn", "", "ESET"},
		{"no sandbox", func(w *doctor.World) { w.SandboxErr = fs.ErrNotExist }, "sandbox", "fail", cardbroker.Unavailable, ""},
		{"confined in part", func(w *doctor.World) { w.Unconfined = "files" }, "confinement", "warn", "", "files"},
		{"no pcscd", func(w *doctor.World) { w.PCSC.Err = fmt.Errorf("dial: %w", syscall.ENOENT) }, "pcsc", "fail", cardbroker.Unavailable, "missing"},
		{"a dead pcscd", func(w *doctor.World) { w.PCSC.Err = syscall.ECONNREFUSED }, "pcsc", "fail", cardbroker.Unavailable, "no PC/SC service answers"},
		{"a closed pcscd", func(w *doctor.World) { w.PCSC.Err = syscall.EACCES }, "pcsc", "fail", cardbroker.Unavailable, "closed to you"},
		{"shared readers", func(w *doctor.World) {
			w.Readers, w.ReadersErr = nil, cardbroker.Errorf(cardbroker.ReaderSharedHost, "x")
		}, "reader", "fail", cardbroker.ReaderSharedHost, ""},
		{"no reader", func(w *doctor.World) { w.Readers = nil }, "reader", "fail", cardbroker.ReaderUnknown, ""},
		{"no card", card(nil), "card", "warn", "", "no card"},
		{"a mute card", card(&api.CardReaderCard{}), "card", "fail", cardbroker.CardMute, ""},
		{"an unknown card", card(&api.CardReaderCard{ATR: "3B00"}), "card", "warn", "", "no driver here"},
		{"a known card without a module", card(&api.CardReaderCard{ATR: "3B00", Description: []string{"eID"}}), "card", "ok", "", "eID"},
		{"no module file", module(doctor.Module{Err: fs.ErrNotExist}), "module", "fail", cardbroker.ObjectUnknown, "not found"},
		{"a module of another", module(doctor.Module{Err: foreign}), "module", "fail", cardbroker.Forbidden, ""},
		{"a module of 32 bits", module(doctor.Module{Wrong: fs.ErrInvalid}), "module", "fail", cardbroker.Unsupported, "of the wrong kind"},
		{"a module that crashes", module(doctor.Module{Died: "signal: killed"}), "module", "fail", cardbroker.Unavailable, "killed"},
		{"a module", module(doctor.Module{}), "module", "ok", "", ""},
		{"no key yet", func(w *doctor.World) { w.KeyErr = fs.ErrNotExist }, "device_key", "warn", "", ""},
		{"no prompt", func(w *doctor.World) { w.Prompt = "" }, "prompt", "warn", "", "pin_canceled"},
		{"locked", func(w *doctor.World) { w.Agent.Presence = "locked" }, "session", "warn", "", "locked"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := fine()
			test.change(w)
			d, err := w.Diagnose()
			if cardbroker.ReasonOf(err) != test.reason {
				t.Errorf("Diagnose() = %v, want %q", err, test.reason)
			}
			hit := false
			for _, c := range d.Checks {
				hit = hit || c.ID == test.id && c.Status == test.status && strings.Contains(c.Detail, test.says)
				if bad := c.Status == "fail" || c.Status == "warn"; bad && (c.ID != test.id || c.Fix == "") {
					t.Errorf("the check says %+v", c)
				}
			}
			if !hit {
				t.Errorf("no check %s is %s with %q: %+v", test.id, test.status, test.says, d.Checks)
			}
		})
	}
}

// TestRegistry: what is wrong where agents stand for election, and how the host finds them then.
func TestRegistry(t *testing.T) {
	gone := cardbroker.Errorf(cardbroker.Unavailable, "x")
	for _, test := range []struct {
		name   string
		change func(*doctor.World)
		status string
		reason cardbroker.Reason
		mode   string
		says   string
	}{
		{"elected", func(*doctor.World) {}, "ok", "", "elected", "process 9 (cardbroker) of user 1001"},
		{"elected, in whatever scope", func(w *doctor.World) { w.Policy.Election.AnyUser = true }, "warn", "", "elected", "false agent"},
		{"a service", func(w *doctor.World) { w.BrokerErr = nil }, "ok", "", "service", "service"},
		{"nobody", func(w *doctor.World) { w.Registry.Missing = true }, "fail", cardbroker.NoLeader, "none", "nobody listens"},
		{"another user's", func(w *doctor.World) { w.Registry.Trusted, w.Registry.PID = false, 0 }, "fail", cardbroker.CallerRefused, "none", "a process of user 1001"},
		{"a service without its socket", func(w *doctor.World) { w.Registry.Service, w.Registry.Mode = true, "" }, "fail", cardbroker.Unavailable, "none", "a service"},
		{"one that hangs", func(w *doctor.World) { w.Registry.Err = cardbroker.Errorf(cardbroker.Timeout, "x") }, "fail", cardbroker.Timeout, "none", "hangs: process 9"},
		{"none of ours", func(w *doctor.World) { w.Registry.Mode = "" }, "fail", cardbroker.Conflict, "none", "no registry"},
		{"one that is to wait", func(w *doctor.World) {
			w.Policy.Election.AfterService, w.Installed, w.Registry.Missing = false, true, true
		}, "fail", cardbroker.Unavailable, "none", "after_service: deny"},
		{"one whose service has never been", func(w *doctor.World) { w.Policy.Election.AfterService, w.Installed = false, false }, "ok", "", "elected", "term 5"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := fine()
			w.BrokerErr, w.Agent, w.Note, w.Linked = gone, nil, &home.Note{PID: 7, Port: 24800, Elects: 51983}, "elected"
			w.Ports = w.Ports[1:]
			w.Policy.Election.AfterService = true
			w.Registry = doctor.Registry{Port: 51983, Trusted: true, PID: 9, Name: "cardbroker", User: cardbroker.UserID{UID: 1001}, Mode: "elected", Epoch: 5, Since: noon}
			test.change(w)
			d, err := w.Diagnose()
			if cardbroker.ReasonOf(err) != test.reason || d.Mode != test.mode {
				t.Errorf("Diagnose() = mode %s, %v, want %s, %q", d.Mode, err, test.mode, test.reason)
			}
			hit := false
			for _, c := range d.Checks {
				hit = hit || c.ID == "registry" && c.Status == test.status && strings.Contains(c.Detail, test.says)
				if bad := c.Status == "fail" || c.Status == "warn"; bad && (c.ID != "registry" || c.Fix == "") {
					t.Errorf("the check says %+v", c)
				}
			}
			if !hit {
				t.Errorf("the registry is not %s with %q: %+v", test.status, test.says, d.Checks)
			}
		})
	}
}

// TestWaits: an agent that runs and is not registered is said to run, and why it is not. That is a failure where nothing above has failed.
func TestWaits(t *testing.T) {
	why := api.Describe(cardbroker.Errorf(cardbroker.RateLimited, "sixteen are enough"))
	gone := cardbroker.Errorf(cardbroker.Unavailable, "x")
	for _, test := range []struct {
		name   string
		change func(*doctor.World)
		status string
		reason cardbroker.Reason
		says   string
	}{
		{"refused by a broker", func(*doctor.World) {}, "fail", cardbroker.RateLimited, "an agent runs in session c2 (process 9, at port 24801) and is not registered, because sixteen are enough (rate_limited)"},
		{"without a broker", func(w *doctor.World) { w.BrokerErr = gone }, "warn", cardbroker.Unavailable, "because sixteen are enough"},
		{"that an elected registry refuses", func(w *doctor.World) {
			w.BrokerErr, w.Registry = gone, doctor.Registry{Port: 51983, Trusted: true, PID: 9, Mode: "elected"}
		}, "fail", cardbroker.RateLimited, "because sixteen are enough"},
		{"without a port", func(w *doctor.World) { w.Waits.Port = 0 }, "fail", cardbroker.RateLimited, "(process 9) and is not registered"},
		{"that has had no answer", func(w *doctor.World) { w.Waits.Why = nil }, "warn", "", "is not registered: it has had no answer yet"},
		{"whose last link has ended", func(w *doctor.World) {
			w.Agent = &api.Session{Session: "c2", State: cardbroker.Stale, Port: 24801}
		}, "fail", cardbroker.RateLimited, "an agent runs"},
		{"that has left a note before", func(w *doctor.World) { w.Note = &home.Note{PID: 9, Port: 24801} }, "fail", cardbroker.RateLimited, "an agent runs"},
		{"that is registered now", func(w *doctor.World) { w.Agent = fine().Agent }, "ok", "", "is registered"},
		{"that has been elected meanwhile", func(w *doctor.World) {
			w.BrokerErr, w.Registry = gone, doctor.Registry{Port: 51983, Trusted: true, PID: 9, Mode: "elected"}
			w.Note, w.Linked = &home.Note{PID: 9, Port: 24801}, "elected"
		}, "ok", "", "with an elected registry"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := fine()
			w.Agent, w.Waits = nil, &home.Waits{PID: 9, Session: "c2", Port: 24801, Why: &why}
			w.Policy.Election.AfterService = true
			test.change(w)
			d, err := w.Diagnose()
			if cardbroker.ReasonOf(err) != test.reason {
				t.Errorf("Diagnose() = %v, want %q", err, test.reason)
			}
			hit := false
			for _, c := range d.Checks {
				hit = hit || c.ID == "agent" && c.Status == test.status && strings.Contains(c.Detail, test.says) && (c.Fix == "") == (c.Status == "ok")
			}
			if !hit {
				t.Errorf("the agent is not %s with %q: %+v", test.status, test.says, d.Checks)
			}
		})
	}
}

// TestModuleOf: a card has a driver if a module's pattern of ATRs is its.
func TestModuleOf(t *testing.T) {
	for _, test := range []struct {
		pattern, atr string
		want         bool
	}{{"3B8X01", "3b8001", true}, {"3B80*", "3B8001", true}, {"3B80", "3B8001", false}, {"3B800102", "3B8001", false}, {"*", "3B", true}} {
		if got := doctor.Fits(test.pattern, test.atr); got != test.want {
			t.Errorf("Fits(%q, %q) = %v", test.pattern, test.atr, got)
		}
	}
}
