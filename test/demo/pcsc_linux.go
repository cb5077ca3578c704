// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/test/pcscbed"
	"github.com/cardbroker/cardbroker/test/stage"
)

// plugIn gives each user a PC/SC service of his own (pcscd and the virtual reader vpcd, in namespaces of their own), as if
// his session had brought one along, with a software card in the first reader.
func (st *story) plugIn() error {
	if err := pcscbed.Supported(); err != nil {
		st.note("software readers only: a PC/SC service of one's own %v", err)
		return nil
	}
	st.scene("A reader and a card for each user, behind pcscd")
	card := st.Path("bin", "vcard")
	build := exec.CommandContext(st.Context(), "go", "build", "-o", card, "./test/vcard")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("the card cannot be built: %w: %s", err, out)
	}
	for _, p := range st.Users {
		bed, err := pcscbed.Start(st.Context(), pcscbed.Config{
			Dir: st.Path("pcsc-" + p.Name), UID: int(p.Cred.Uid), GID: int(p.Cred.Gid), Readers: 1, Card: card,
		})
		if err != nil {
			return err
		}
		st.beds = append(st.beds, bed)
		commands, err := os.Create(st.Path("commands-" + p.Name))
		if err != nil {
			return err
		}
		defer commands.Close()
		if st.count == "" { // alice is the first
			st.count = commands.Name()
		}
		if err := bed.Insert(st.Context(), 0, pcscbed.Card{File: st.Path("pcsc-"+p.Name, "card.json"), Commands: commands}); err != nil {
			return err
		}
		st.check(true, p.Name+"'s card is in his reader", bed.Readers()[0])
	}
	return st.setPolicy()
}

// The demo's PIN and what machine policy says of tenants: who may do what with it. The program that asks for it is policy's,
// too: here it answers by itself.
const (
	pin    = "123456"
	prompt = "#!/bin/sh\nread question\necho " + pin + "\n"
	policy = `prompt:
  command: [%s]
tenants:
  ` + tenant + `: {pin: agent}
  ` + station + `: {pin: passthrough}
modules:
  opensc: {title: OpenSC and its cards}
`
)

// setPolicy writes the machine policy, as an administrator would.
func (st *story) setPolicy() error {
	program := st.Path("bin", "prompt")
	st.policy = st.Path("policy")
	hsm, err := st.newHSM()
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(program, []byte(prompt), 0o755),
		os.Mkdir(st.policy, 0o755),
		os.WriteFile(st.policy+"/demo.yaml", fmt.Appendf(nil, policy+hsm, program), 0o644),
	)
}

// unplug ends the services.
func (st *story) unplug() {
	for _, bed := range st.beds {
		if err := bed.Stop(); err != nil {
			st.check(false, "nothing is left of a PC/SC service", err.Error())
		}
	}
}

// serveAndSign has a back end use alice's card with programs that know nothing of cardbroker.
func (st *story) serveAndSign() error {
	if len(st.beds) == 0 {
		return st.serveWithoutPIN()
	}
	st.scene("PC/SC programs of the back end use alice's card: the PIN is asked for at her desk")
	service, socket, err := st.serve(tenant)
	if err != nil {
		return err
	}
	out := st.pcsc(nil, socket, "opensc-tool", "-l")
	st.check(strings.Contains(out, "PIN pad"), "opensc-tool sees the reader, as one with a pin pad", lineWith(out, "PIN pad"))
	out = st.pcsc(nil, socket, "pkcs11-tool", "--login", "--test")
	st.check(strings.Contains(out, "\nNo errors\n"), "pkcs11-tool --login --test, no PIN given", lineWith(out, "No errors"))
	st.verified(st.signed(socket, "--login"), "a signature with the PIN from her desk is good")
	if err := service.Stop(); err != nil {
		return err
	}

	st.scene("The same for a tenant that policy lets send the PIN itself")
	service, socket, err = st.serve(station)
	if err != nil {
		return err
	}
	out = st.pcsc(nil, socket, "opensc-tool", "-l")
	st.check(strings.Contains(out, "Yes") && !strings.Contains(out, "PIN pad"), "opensc-tool sees the reader, without a pin pad", lineWith(out, "Yes"))
	st.verified(st.signed(socket, "--login", "--pin", pin), "a signature with the back end's PIN is good")
	return service.Stop()
}

// serveWithoutPIN does what is possible where there is no machine policy, and so no PIN.
func (st *story) serveWithoutPIN() error {
	st.scene("PC/SC programs of the back end use alice's card")
	service, socket, err := st.serve(tenant)
	if err != nil {
		return err
	}
	out := st.pcsc(nil, socket, "opensc-tool", "-l")
	st.check(strings.Contains(out, "Yes"), "opensc-tool sees the reader and its card", lineWith(out, "Yes"))
	out = st.pcsc(nil, socket, "pkcs11-tool", "-O")
	st.check(strings.Contains(out, "CN=Software card 9a"), "OpenSC's PKCS#11 module reads the certificates", lineWith(out, "subject:"))
	st.note("PINs are not shown: only root can make machine policy")
	return service.Stop()
}

// serve has alice offer her reader, and a tenant serve it as a PC/SC service.
func (st *story) serve(to string) (*stage.Service, string, error) {
	offered, err := st.offerTo(to)
	if err != nil {
		return nil, "", err
	}
	socket := st.Path("backend", to+".comm")
	if err := os.MkdirAll(st.Path("backend"), 0o700); err != nil {
		return nil, "", err
	}
	args := append([]string{"reader", "serve", "--socket", socket}, st.door(to, offered.Ticket)...)
	service, line, err := st.Start(nil, "serve-"+to, args...)
	if err != nil {
		return nil, "", err
	}
	st.check(len(line.Readers) == 1, "reader serve: "+to+" has alice's reader on a socket of its own", fmt.Sprint(line.Readers))
	return service, socket, nil
}

// pcsc runs a PC/SC program against a service and returns what it printed; p nil: as ourselves.
func (st *story) pcsc(p *stage.Person, socket, program string, args ...string) string {
	cmd := exec.CommandContext(st.Context(), program, args...)
	cmd.Dir = st.Path()
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + st.Path(), "PCSCLITE_CSOCK_NAME=" + socket}
	if p != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.Cred}
	}
	out, _ := cmd.CombinedOutput() // programs of this kind end with 0 after an error, and otherwise after none
	return string(out)
}

// signed has the card sign, through OpenSC's PKCS#11 module, and openssl verify that. It returns what was said.
func (st *story) signed(socket string, login ...string) string {
	if err := os.WriteFile(st.Path("backend", "message"), []byte("signed through PC/SC and a tunnel"), 0o600); err != nil {
		return err.Error()
	}
	file := func(name string) string { return st.Path("backend", name) }
	key := st.pcsc(nil, socket, "pkcs11-tool", "--read-object", "--type", "pubkey", "--id", "01", "-o", file("key"))
	sign := slices.Concat(login, []string{"--sign", "-m", "SHA256-RSA-PKCS", "--id", "01", "-i", file("message"), "-o", file("signed")})
	signing := st.pcsc(nil, socket, "pkcs11-tool", sign...)
	verdict, err := exec.CommandContext(st.Context(), "openssl", "dgst", "-sha256", "-keyform", "DER", "-verify", file("key"),
		"-signature", file("signed"), file("message")).CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%s: %s %s", verdict, key, signing)
	}
	return string(verdict)
}

func (st *story) verified(verdict, what string) {
	st.check(verdict == "Verified OK\n", what, "openssl: "+verdict)
}

// bobLists has bob look for alice's readers wherever there is something to ask.
func (st *story) bobLists() error {
	if len(st.beds) == 0 {
		return nil
	}
	bob, hers := &st.Users[1], st.beds[0].Readers()[0]
	out, err := st.agent(bob, "readers")
	if err != nil {
		return err
	}
	var list struct{ Readers []api.CardReader }
	if err := json.Unmarshal(out.Stdout, &list); err != nil {
		return fmt.Errorf("%w: %s", err, out.Stderr)
	}
	st.check(len(list.Readers) > 0 && !st.isAlices(list.Readers), "bob's own agent shows his readers and none of alice's", fmt.Sprintf("%d readers", len(list.Readers)))
	said := st.pcsc(bob, st.beds[0].Socket(), "opensc-tool", "-l")
	st.check(!strings.Contains(said, hers), "bob at alice's PC/SC socket finds no reader", strings.TrimSpace(said))
	answer, err := st.getAs(bob, "http://"+st.host.Listen[0]+"/cb/v1/agent")
	if err != nil {
		return err
	}
	st.check(bytes.Contains(answer.Body, fmt.Appendf(nil, `"port":%d`, st.ports[1].Port)), "the broker sends bob to his own agent", string(answer.Body))
	return nil
}

// isAlices says whether a reader of the list is one that alice's agent shows: both call theirs by the same name.
func (st *story) isAlices(list []api.CardReader) bool {
	out, err := st.agent(&st.Users[0], "readers")
	var hers struct{ Readers []api.CardReader }
	if err != nil || json.Unmarshal(out.Stdout, &hers) != nil {
		return true
	}
	return slices.ContainsFunc(list, func(r api.CardReader) bool {
		return slices.ContainsFunc(hers.Readers, func(h api.CardReader) bool { return h.ID == r.ID })
	})
}

// lineWith returns the first line with a word in it.
func lineWith(text, word string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			return strings.TrimSpace(line)
		}
	}
	return text
}
