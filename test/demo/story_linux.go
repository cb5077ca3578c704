// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"syscall"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/test/pcscbed"
	"github.com/cardbroker/cardbroker/test/stage"
	"github.com/cardbroker/cardbroker/test/tokenbed"
)

// story is what the scenes share.
type story struct {
	*stage.Stage
	*report
	socket string
	broker *stage.Service
	host   stage.Ready // the broker's
	agents []api.Session
	ports  []stage.Ready  // the agents', in the order of users
	beds   []*pcscbed.Bed // the users' PC/SC services; none: software readers
	policy string         // directory of the machine policy; "": there is none
	hsm    *tokenbed.HSM  // alice's; nil: she has none
	count  string         // file with a byte for each command that alice's card has got; "": there is none
}

// The tenants of the demo. Their tokens are made anew each time.
const (
	tenant  = "issuer"
	station = "station" // policy trusts it with PINs
	rival   = "rival"
)

// play plays the scenes. An error ends the demo; what merely does not hold is in the report.
func play(s *stage.Stage, r *report) error {
	st := &story{Stage: s, report: r, socket: s.Path("run", "broker.sock")}
	defer st.unplug()
	for _, scene := range []func() error{
		st.plugIn, st.logon, st.whoIsWho, st.pagesAsk, st.tokens, st.remoteLoading, st.doctor, st.offerAndUse, st.runScript, st.issueTokens, st.serveAndSign, st.othersKeepOut, st.sandboxDies, st.brokerDies, st.dialsOut, st.elect,
	} {
		if err := scene(); err != nil {
			return err
		}
	}
	return nil
}

// logon starts the broker and an agent for each user.
func (st *story) logon() error {
	st.scene("A broker, and an agent for each user")
	if err := stage.IssueDoor(st.Path("door.pem"), st.Path("door.key")); err != nil {
		return err
	}
	tokens := ""
	for _, name := range []string{tenant, station, rival} {
		token := rand.Text()
		tokens += name + " " + token + "\n"
		if err := os.WriteFile(st.Path(name+".token"), []byte(token+"\n"), 0o600); err != nil {
			return err
		}
	}
	if err := os.WriteFile(st.Path("tokens"), []byte(tokens), 0o600); err != nil {
		return err
	}
	listen, err := st.Reserve() // it is killed, and comes back there
	if err != nil {
		return err
	}
	backend, err := st.Reserve()
	if err != nil {
		return err
	}
	if err := st.startBroker(listen, backend); err != nil {
		return err
	}
	st.check(len(st.host.Listen) > 0, "the broker is ready", fmt.Sprintf("%v, back ends at %s", st.host.Listen, st.host.Backend))
	for i := range st.Users {
		p := &st.Users[i]
		args := []string{"agent", "run", "--socket", st.socket, "--state", p.Home + "/state"}
		if len(st.beds) > 0 {
			args = append(args, "--pcsc-socket", st.beds[i].Socket(), "--policy", st.policy)
		} else {
			args = append(args, "--software-card="+p.Home+"/card.json")
		}
		_, line, err := st.Start(p, "agent-"+p.Name, args...)
		if err != nil {
			return err
		}
		st.ports = append(st.ports, line)
		st.check(line.Port >= 24800 && line.Port <= 31999, p.Name+"'s agent is registered", fmt.Sprintf("session %s, port %d", line.Session, line.Port))
	}
	return nil
}

// startBroker starts the broker, on the given addresses.
func (st *story) startBroker(listen, backend string) (err error) {
	st.broker, st.host, err = st.Start(nil, "broker", "host", "run", "--state", st.Path("state"), "--socket", st.socket,
		"--listen", listen, "--backend-listen", backend,
		"--backend-cert", st.Path("door.pem"), "--backend-key", st.Path("door.key"), "--backend-tokens", st.Path("tokens"))
	return err
}

// whoIsWho shows the table of sessions, and that the broker tells each user of his own agent and of no other.
func (st *story) whoIsWho() error {
	st.scene("Who is who on 127.0.0.1, where everybody has the same address")
	sessions, err := st.sessions()
	if err != nil {
		return err
	}
	st.agents = sessions
	for _, s := range sessions {
		st.note("session %-10s  user %-14s  port %d  %s  listener his own: %v", s.Session, s.User, s.Port, s.State, s.ListenerOK)
	}
	st.check(len(sessions) == len(st.Users), "the broker knows every session", fmt.Sprint(len(sessions)))
	for i := range st.Users {
		p := &st.Users[i]
		answer, err := st.getAs(p, "http://"+st.host.Listen[0]+"/cb/v1/agent")
		if err != nil {
			return err
		}
		var own api.OwnAgent
		json.Unmarshal(answer.Body, &own)
		st.check(int(own.Port) == st.ports[i].Port, "the broker sends "+p.Name+"'s browser to his own agent", fmt.Sprintf("port %d", own.Port))
	}
	return nil
}

// offerAndUse has alice offer her reader and the back end use the card in it.
func (st *story) offerAndUse() error {
	st.scene("A back end drives alice's card, with her offer")
	offered, err := st.offer()
	if err != nil {
		return err
	}
	st.check(offered.Ticket != "", "alice's agent offers her reader to "+tenant, "reader "+string(offered.Reader)+" at "+offered.URL)
	out, err := st.reader(tenant, "", "list")
	if err != nil {
		return err
	}
	var list api.RemoteReaders
	json.Unmarshal(out.Stdout, &list)
	st.check(len(list.Readers) == 1 && list.Readers[0].ID == offered.Reader && list.Readers[0].Card != nil,
		"the back end sees that reader, and the card in it", cardOf(list))
	out, err = st.reader(rival, "", "list")
	if err != nil {
		return err
	}
	st.check(out.Status == 0 && string(out.Stdout) == "{\"readers\":[]}\n", "another tenant sees no reader", string(out.Stdout))
	if err := st.usePIV(offered.Ticket); err != nil {
		return err
	}
	out, err = st.reader(tenant, offered.Ticket, "apdu", "-", selectPIV)
	if err != nil {
		return err
	}
	st.refused(out, cardbroker.RuleTicket, "the ticket works once: a second tunnel is refused")
	return st.refusalIsRecorded()
}

// othersKeepOut shows what bob, and another tenant, get of alice's card: nothing.
func (st *story) othersKeepOut() error {
	st.scene("Everybody else keeps out")
	offered, err := st.offer()
	if err != nil {
		return err
	}
	out, err := st.reader(rival, offered.Ticket, "apdu", "-", selectPIV)
	if err != nil {
		return err
	}
	st.refused(out, cardbroker.RuleTicket, "alice's ticket under another tenant's token is refused")
	out, err = st.reader(tenant, offered.Ticket, "apdu", "--expect", "9000", "-", selectPIV)
	if err != nil {
		return err
	}
	st.check(out.Status == 0, "and not burnt by that: its tenant can still use it", string(out.Stderr))
	if len(st.Users) < 2 {
		st.note("bob is not shown: only root can make a second user")
		return nil
	}
	if err := st.bobAtAlicesPort(); err != nil {
		return err
	}
	if err := st.bobLists(); err != nil {
		return err
	}
	return st.bobWithAlicesClaim()
}

// bobAtAlicesPort has bob ask alice's agent, and the administrator ask why he was refused.
func (st *story) bobAtAlicesPort() error {
	bob := &st.Users[1]
	url := fmt.Sprintf("http://127.0.0.1:%d/v3/readers", st.ports[0].Port)
	answer, release, err := st.holdAs(bob, url)
	if err != nil {
		return err
	}
	defer release()
	var body api.ErrorBody
	json.Unmarshal(answer.Body, &body)
	st.check(answer.Status == 403 && body.Reason == cardbroker.CallerRefused, "bob at alice's port is refused", fmt.Sprintf("%d %s", answer.Status, body.Reason))
	out, err := st.Run(nil, "cardbroker", "host", "explain", answer.Client, "--to", fmt.Sprintf("127.0.0.1:%d", st.ports[0].Port),
		"--socket", st.socket, "--json")
	if err != nil {
		return err
	}
	var e api.Explanation
	json.Unmarshal(out.Stdout, &e)
	st.check(!e.Allowed && e.Rule == cardbroker.RuleOtherUser, "host explain names the rule", fmt.Sprintf("%s: %s", e.Rule, e.Detail))
	return nil
}

// bobWithAlicesClaim gives bob the claim of a reservation of alice's.
func (st *story) bobWithAlicesClaim() error {
	claim := string(cardbroker.RandomSecret().Reveal())
	alice, bob := &st.Users[0], &st.Users[1]
	out, err := st.Run(alice, "actor", "reserve", st.socket, claim)
	if err != nil {
		return err
	}
	st.check(out.Status == 0, "alice reserves a port for a second session", string(out.Stdout))
	out, err = st.Run(bob, "actor", "register", st.socket, claim)
	if err != nil {
		return err
	}
	var body api.ErrorBody
	json.Unmarshal(out.Stdout, &body)
	st.check(body.Rule == cardbroker.RuleClaim, "bob with alice's claim is refused", fmt.Sprintf("%s, rule %s", body.Reason, body.Rule))
	return nil
}

// sandboxDies kills the process that holds the card; the agent goes on.
func (st *story) sandboxDies() error {
	st.scene("The sandbox is killed")
	pid, err := stage.ChildOf(st.ports[0].PID)
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return err
	}
	return st.newTunnel("the agent starts another and a new tunnel reaches the card")
}

// brokerDies kills the broker in the middle of a tunnel and starts it again.
func (st *story) brokerDies() error {
	st.scene("The broker is killed in the middle of a tunnel and starts again")
	err := st.tunnelOutlives(func() error { return st.startBroker(st.host.Listen[0], st.host.Backend[len("wss://"):]) })
	if err != nil {
		return err
	}
	sessions, err := st.sessionsWhen(func(s api.Session) bool { return s.State == cardbroker.Registered })
	if err != nil {
		return err
	}
	for i, p := range st.Users {
		kept := false
		for _, s := range sessions {
			kept = kept || int(s.Port) == st.ports[i].Port && s.State == cardbroker.Registered
		}
		st.check(kept, p.Name+"'s port survives", fmt.Sprint(st.ports[i].Port))
	}
	return st.newTunnel("a new tunnel opens")
}

// newTunnel makes an offer and uses it.
func (st *story) newTunnel(what string) error {
	offered, err := st.offer()
	if err != nil {
		return err
	}
	out, err := st.reader(tenant, offered.Ticket, "apdu", "--expect", "9000", "-", selectPIV)
	if err != nil {
		return err
	}
	st.check(out.Status == 0, what, string(out.Stderr))
	return nil
}
