// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/doctor"
)

func (w *World) config() []doctor.Finding {
	const fix = "ask your administrator to correct the file; `cardbroker host config check` names the line"
	switch {
	case w.ConfigErr != nil:
		return one(doctor.Fail(cardbroker.Invalid, "config", fix, "the agent's configuration cannot be used: %v", w.ConfigErr))
	case w.PolicyErr != nil:
		return one(doctor.Fail(cardbroker.Invalid, "policy", fix, "machine policy cannot be used: %v", w.PolicyErr))
	}
	return one(doctor.OK("policy", "configuration and machine policy can be read"))
}

func (w *World) state() []doctor.Finding {
	switch s := w.State; {
	case s.Missing:
		return one(doctor.OK("state", "the agent has not made its state directory %s yet", s.Dir))
	case s.Open:
		return one(doctor.Fail(cardbroker.Invalid, "state", "chown and chmod 0700 "+s.Dir, "the state directory %s is open to others", s.Dir))
	case s.Remote != "":
		return one(doctor.Warn("state", "name a local directory with --state or XDG_STATE_HOME",
			"the state directory %s is on a network file system (%s): a stalled network stalls the agent", s.Dir, s.Remote))
	}
	return one(doctor.OK("state", "the state directory %s is yours alone", w.State.Dir))
}

// leeway is how far a clock may be off before JWTs are refused.
const leeway = 30 * time.Second

func (w *World) clock() []doctor.Finding {
	const fix = "set the clock (timedatectl set-ntp true), then start the agent again"
	c := w.Clock
	off := c.Now.Sub(c.Hardware).Abs()
	switch {
	case c.Now.Before(c.Built):
		return one(doctor.Fail(cardbroker.Unauthenticated, "clock", fix, "the clock says %s, before this program was built: web pages' tokens and certificates are refused",
			c.Now.UTC().Format(time.RFC3339)))
	case c.Newest.Sub(c.Now) > leeway:
		return one(doctor.Fail(cardbroker.Unauthenticated, "clock", fix, "the clock says %s, but %s was written at %s",
			c.Now.UTC().Format(time.RFC3339), c.NewestFile, c.Newest.UTC().Format(time.RFC3339)))
	case !c.Hardware.IsZero() && off > leeway:
		return one(doctor.Warn("clock", fix, "the clock and the mainboard's are %v apart; tokens of web pages have a leeway of %v", off.Round(time.Second), leeway))
	case !c.Synchronised:
		return one(doctor.OK("clock", "the clock is plausible; nobody synchronises it"))
	}
	return one(doctor.OK("clock", "the clock is plausible, and synchronised"))
}

func (w *World) broker() []doctor.Finding {
	switch {
	case w.BrokerErr == nil:
		return one(doctor.OK("broker", "the broker answers at %s", w.Socket))
	case cardbroker.ReasonOf(w.BrokerErr) == cardbroker.CallerRefused:
		return one(doctor.Fail(cardbroker.CallerRefused, "broker",
			"ask your administrator who made that socket; a broker with an account of its own is named by account: in agent.yaml",
			"the socket %s is not the broker's: %v", w.Socket, w.BrokerErr))
	case w.stands():
		return one(doctor.OK("broker", "no service answers at %s: the agents elect their registry", w.Socket))
	case errors.Is(w.BrokerErr, fs.ErrPermission): // before Installed: a closed directory hides the socket
		return one(doctor.Fail(cardbroker.Unavailable, "broker", "have the administrator set mode 0755 on the socket's directory and 0666 on the socket",
			"the socket %s is closed to you", w.Socket))
	case !w.Installed:
		return one(doctor.Fail(cardbroker.Unavailable, "broker", "have the broker installed and started on this host (cardbroker host run), name its socket with --socket, or have the agents do without one (cardbroker agent run --elect)",
			"there is no broker at %s", w.Socket))
	}
	return one(doctor.Fail(cardbroker.Unavailable, "broker", "have the broker started on this host (cardbroker host run)", "no broker answers at %s: %v", w.Socket, w.BrokerErr))
}

func (w *World) agent() []doctor.Finding {
	const fix = "start it in this session: cardbroker agent run"
	switch {
	case w.Agent == nil && w.Note != nil && w.Linked == api.ModeElected:
		return one(doctor.OK("agent", "the agent of session %s (process %d) is registered at port %d, with an elected registry", w.Session, w.Note.PID, w.Note.Port))
	case w.Waits != nil && (w.Agent == nil || w.Agent.State != cardbroker.Registered):
		return one(w.waits())
	case w.Agent == nil && w.Note != nil:
		return one(doctor.Warn("agent", "wait until the broker is back; the agent registers by itself", "an agent (process %d) has left a note that it is at port %d, but no broker knows it",
			w.Note.PID, w.Note.Port))
	case w.Agent == nil:
		return one(doctor.Fail(cardbroker.NoAgent, "agent", fix, "no agent runs in session %s", w.Session))
	case w.Agent.State != cardbroker.Registered:
		return one(doctor.Fail(cardbroker.AgentRestarting, "agent", fix, "the agent of session %s is %s: it is gone, and port %d is kept for it", w.Session, w.Agent.State, w.Agent.Port))
	}
	return one(doctor.OK("agent", "the agent of session %s (process %d) is registered at port %d", w.Session, w.Agent.PID, w.Agent.Port))
}

// waits says of an agent that runs why it is not registered. That is a fault of its own only where there is a registry.
func (w *World) waits() doctor.Finding {
	says := fmt.Sprintf("an agent runs in session %s (process %d", w.Session, w.Waits.PID)
	if w.Waits.Port != 0 {
		says += fmt.Sprintf(", at port %d", w.Waits.Port)
	}
	says += ") and is not registered"
	why := w.Waits.Why
	if why == nil {
		return doctor.Warn("agent", "look again in a moment; if that is so then, see to the registry first", "%s: it has had no answer yet", says)
	}
	const fix = "see to that; the agent registers by itself then"
	says += fmt.Sprintf(", because %s (%s)", why.Description, why.Reason)
	if w.BrokerErr == nil || w.elected() {
		return doctor.Fail(why.Reason, "agent", fix, "%s", says)
	}
	return doctor.Warn("agent", fix, "%s", says)
}

func (w *World) ports() (findings []doctor.Finding) {
	for _, p := range w.Ports {
		who := "a program of user " + fmt.Sprint(p.UID)
		if p.PID != 0 {
			who = fmt.Sprintf("%s (process %d, user %d)", p.Name, p.PID, p.UID)
		}
		switch {
		case p.Held && !p.Ours:
			findings = append(findings, doctor.Fail(cardbroker.Conflict, "port", "end that program, or have it listen elsewhere, and start the "+p.Of+" again",
				"another program is on the %s's port %d: %s", p.Of, p.Number, who))
		case !p.Held && p.Mandatory:
			findings = append(findings, doctor.Fail(cardbroker.Unavailable, "port", "start the "+p.Of+" again", "nobody listens on the %s's port %d", p.Of, p.Number))
		case !p.Held:
			findings = append(findings, doctor.Warn("port", "if the broker listens elsewhere on purpose, name that with --port; else start it", "nobody listens on port %d, where web pages look for the broker", p.Number))
		default:
			findings = append(findings, doctor.OK("port", "the %s listens on port %d", p.Of, p.Number))
		}
	}
	return findings
}

func (w *World) localhost() []doctor.Finding {
	const fix = "have /etc/hosts say `127.0.0.1 localhost` and `::1 localhost`, and the resolver leave such answers alone"
	if w.LocalhostErr != nil {
		return one(doctor.Fail(cardbroker.Unavailable, "localhost", fix, "the name localhost is not found, or a rebind filter takes its answer away: %v", w.LocalhostErr))
	}
	for _, address := range w.Localhost {
		if address != "127.0.0.1" && address != "::1" {
			return one(doctor.Fail(cardbroker.Unavailable, "localhost", fix, "the name localhost leads to %s, not to this host", address))
		}
	}
	return one(doctor.OK("localhost", "the name localhost leads to %s", strings.Join(w.Localhost, " and ")))
}

func (w *World) loopback() []doctor.Finding {
	switch {
	case w.Agent == nil:
		return nil
	case !w.Asked && w.ReachErr != nil:
		return one(doctor.Fail(cardbroker.Unavailable, "loopback", "let local programs connect to 127.0.0.1 in the firewall or antivirus of this host",
			"the agent listens, but cannot be reached at 127.0.0.1: %v", w.ReachErr))
	}
	return one(doctor.OK("loopback", "the agent answers at 127.0.0.1"))
}

func (w *World) antivirus() []doctor.Finding {
	if len(w.Security) > 0 {
		return one(doctor.Warn("antivirus", "if pages do not reach the agent, exempt connections to 127.0.0.1 and the programs cardbroker and cardsandbox there",
			"a product that looks into connections is on this host: %s", strings.Join(w.Security, ", ")))
	}
	if !w.Asked {
		return one(doctor.Unknown("antivirus", "no such product was found; the rules of the host's firewall are not for users to read"))
	}
	return one(doctor.OK("antivirus", "nothing was found that looks into connections, and the agent is reached"))
}

func (w *World) session() []doctor.Finding {
	if w.Agent == nil || w.Agent.Presence == "" {
		return nil
	}
	switch w.Agent.Presence {
	case "locked", "away":
		return one(doctor.Warn("session", "unlock or reconnect the session", "the session is %s: nobody is asked for PINs or consent meanwhile", w.Agent.Presence))
	}
	if w.Agent.Presence == "unknown" {
		return one(doctor.OK("session", "nothing tells whether the screen is locked or the session is away"))
	}
	return one(doctor.OK("session", "the session is %s", w.Agent.Presence))
}
