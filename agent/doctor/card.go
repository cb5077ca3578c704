// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/doctor"
)

func (w *World) sandbox() []doctor.Finding {
	if w.SandboxErr != nil {
		return one(doctor.Fail(cardbroker.Unavailable, "sandbox", "install cardsandbox beside cardbroker, writable by root alone, or name it with --sandbox",
			"the sandbox %s cannot be started: %v", w.SandboxPath, w.SandboxErr))
	}
	return one(doctor.OK("sandbox", "the sandbox is %s", w.SandboxPath))
}

func (w *World) confinement() []doctor.Finding {
	if w.Unconfined != "" {
		return one(doctor.Warn("confinement", "use a kernel with Landlock 6 or newer (Linux 6.12) and seccomp", "the sandbox is confined in part: this kernel does not refuse it %s", w.Unconfined))
	}
	return one(doctor.OK("confinement", "the kernel can confine the sandbox"))
}

func (w *World) pcsc() []doctor.Finding {
	s := w.PCSC
	const fix = "have pcscd installed and started (systemctl enable --now pcscd.socket), or name the session's service with --pcsc-socket or PCSCLITE_CSOCK_NAME"
	switch {
	case s.Socket == "":
		return one(doctor.OK("pcsc", "the agent has a software card, and needs no PC/SC service"))
	case errors.Is(s.Err, fs.ErrNotExist):
		return one(doctor.Fail(cardbroker.Unavailable, "pcsc", fix, "there is no PC/SC service: %s is missing", s.Socket))
	case errors.Is(s.Err, fs.ErrPermission):
		return one(doctor.Fail(cardbroker.Unavailable, "pcsc", "have the administrator let you use it (polkit, or the socket's mode)", "the PC/SC service at %s is closed to you", s.Socket))
	case s.Err != nil:
		return one(doctor.Fail(cardbroker.Unavailable, "pcsc", fix, "no PC/SC service answers at %s: %v", s.Socket, s.Err))
	}
	return one(doctor.OK("pcsc", "a PC/SC service answers at %s", s.Socket))
}

func (w *World) readers() []doctor.Finding {
	switch {
	case !w.Asked:
		return one(doctor.Unknown("reader", "the agent could not be asked for its readers"))
	case cardbroker.ReasonOf(w.ReadersErr) == cardbroker.ReaderSharedHost:
		return one(doctor.Fail(cardbroker.ReaderSharedHost, "reader", "give each session a PC/SC service of its own, in a directory of mode 0700, or have policy say pcsc.shared: allow",
			"the readers are closed: %v", w.ReadersErr))
	case w.ReadersErr != nil:
		return one(doctor.Fail(cardbroker.ReasonOf(w.ReadersErr), "reader", "see pcsc and sandbox above, and the agent's log", "the readers cannot be listed: %v", w.ReadersErr))
	case len(w.Readers) == 0:
		return one(doctor.Fail(cardbroker.ReaderUnknown, "reader", "plug a reader in; on a remote desktop do so before you connect, or disconnect and connect again, and have the client redirect smart cards",
			"this session has no reader"))
	}
	var names []string
	for _, r := range w.Readers {
		names = append(names, r.Name)
	}
	return one(doctor.OK("reader", "this session has %d: %s", len(names), strings.Join(names, ", ")))
}

func (w *World) cards() (findings []doctor.Finding) {
	for _, r := range w.Readers {
		switch {
		case r.Card == nil:
			findings = append(findings, doctor.Warn("card", "put the card in, chip first", "the reader %s has no card", r.Name))
		case r.Card.ATR == "":
			findings = append(findings, doctor.Fail(cardbroker.CardMute, "card", "take the card out, clean its contacts, and put it in the right way round", "the card in %s does not answer", r.Name))
		case len(r.Card.Description) == 0 && !w.served(r.Card.ATR, r.Card.Modules):
			findings = append(findings, doctor.Warn("card", "have the card's driver (PKCS#11 module) named under modules: in machine policy, and the card in a list of ATRs",
				"the card in %s has no driver here: no module is for its ATR %s, and no list of cards knows it", r.Name, r.Card.ATR))
		case !w.served(r.Card.ATR, r.Card.Modules) && len(w.Policy.Modules()) > 0:
			findings = append(findings, doctor.Warn("card", "have the card's driver (PKCS#11 module) named under modules: in machine policy",
				"the card in %s (%s) has no driver here: no module is for its ATR %s", r.Name, r.Card.Description[0], r.Card.ATR))
		default:
			findings = append(findings, doctor.OK("card", "the reader %s has a card%s", r.Name, strings.Join(append([]string{""}, r.Card.Description...), ", ")))
		}
	}
	return findings
}

// served says whether a module is for a card.
func (w *World) served(atr string, modules []string) bool {
	if len(modules) > 0 {
		return true
	}
	for _, m := range w.Policy.Modules() {
		if len(m.ATRs) == 0 {
			return true
		}
		for _, pattern := range m.ATRs {
			if fits(pattern, atr) {
				return true
			}
		}
	}
	return false
}

// fits says whether an ATR is what a pattern says: hexadecimal, x for any digit, * for any rest.
func fits(pattern, atr string) bool {
	pattern, atr = strings.ToUpper(pattern), strings.ToUpper(atr)
	for i := range len(pattern) {
		switch {
		case pattern[i] == '*':
			return true
		case i >= len(atr) || pattern[i] != 'X' && pattern[i] != atr[i]:
			return false
		}
	}
	return len(pattern) == len(atr)
}

func (w *World) modules() (findings []doctor.Finding) {
	if w.ModulesErr != nil {
		findings = append(findings, doctor.Unknown("module", "the agent could not be asked for its modules: %v", w.ModulesErr))
	}
	for _, m := range w.Modules {
		switch {
		case errors.Is(m.Err, fs.ErrNotExist):
			findings = append(findings, doctor.Fail(cardbroker.ObjectUnknown, "module", "have the middleware installed, or correct the path in machine policy", "the module %s is not found: %s", m.Name, m.Library))
		case m.Err != nil:
			findings = append(findings, doctor.Fail(cardbroker.Forbidden, "module", "have the file and its directories belong to root and be writable by root alone", "the module %s cannot be used: %v", m.Name, m.Err))
		case m.Wrong != nil:
			findings = append(findings, doctor.Fail(cardbroker.Unsupported, "module", "have the build of the middleware for this system installed",
				"the module %s is of the wrong kind: %v", m.Name, m.Wrong))
		case m.Died != "":
			findings = append(findings, doctor.Fail(cardbroker.Unavailable, "module", "see the agent's log for what the module said; then ask the middleware's vendor", "the module %s hangs, crashes, or does not start: %s", m.Name, m.Died))
		default:
			findings = append(findings, doctor.OK("module", "the module %s is at %s", m.Name, m.Library))
		}
	}
	return findings
}

func (w *World) deviceKey() []doctor.Finding {
	switch {
	case !w.Asked:
		return nil
	case w.KeyErr != nil:
		return one(doctor.Warn("device_key", "wait a second, and ask again", "the key that pages encrypt PINs to is not there yet: %v", w.KeyErr))
	}
	return one(doctor.OK("device_key", "the key that pages encrypt PINs to is there"))
}

func (w *World) consents() []doctor.Finding {
	switch {
	case !w.Asked:
		return nil
	case w.ConsentErr != nil:
		return one(doctor.Fail(cardbroker.ReasonOf(w.ConsentErr), "consents", "see the agent's log", "the consents cannot be listed: %v", w.ConsentErr))
	}
	return one(doctor.OK("consents", "web pages with your consent: %d", len(w.Consents)))
}

func (w *World) prompt() []doctor.Finding {
	display := "without a display"
	if w.Display {
		display = "on this display"
	}
	if w.Prompt == "" {
		return one(doctor.Warn("prompt", "install zenity or kdialog and start the agent on a display, or have policy name a prompt.command",
			"the agent cannot ask you for PINs %s: where it has to, the answer is pin_canceled", display))
	}
	return one(doctor.OK("prompt", "PINs are asked for with %s", w.Prompt))
}
