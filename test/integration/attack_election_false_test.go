// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/epoch"
	"github.com/cardbroker/cardbroker/test/stage"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

// falseRegistry is a program of bob's where the registry is elected. It answers links with what its script says.
type falseRegistry struct {
	e      *electing
	script chan []api.FromBroker // for the next link
	ended  chan linkEnd          // of each
	maker  *socket.Maker

	mu    sync.Mutex
	asked []string // methods and paths
}

// linkEnd is what an agent has said on a link until it ended it.
type linkEnd struct {
	register api.Register
	said     []api.FromAgent // after that
}

// accepting accepts connections as a user, in the eyes of the kernel.
type accepting struct {
	net.Listener
	uid uint32
}

func (a accepting) Accept() (conn net.Conn, err error) {
	if failed := stage.As(a.uid, func() { conn, err = a.Listener.Accept() }); failed != nil {
		return nil, failed
	}
	return conn, err
}

// newFalseRegistry has bob listen where the registry is elected.
func (e *electing) newFalseRegistry(bob *stage.Person) *falseRegistry {
	e.t.Helper()
	f := &falseRegistry{e: e, script: make(chan []api.FromBroker, 1), ended: make(chan linkEnd, 1), maker: socket.NewMaker(api.LinkProtocol)}
	server := &http.Server{Handler: f}
	for _, host := range []string{"127.0.0.1", "[::1]"} {
		go server.Serve(accepting{e.listenAs(bob, fmt.Sprintf("%s:%d", host, e.port)), bob.Cred.Uid})
	}
	e.t.Cleanup(func() { server.Close() })
	return f
}

func (f *falseRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.asked = append(f.asked, r.Method+" "+r.URL.Path)
	f.mu.Unlock()
	w.Header().Set(api.EpochHeader, fmt.Sprint(epoch.Now()))
	if r.URL.Path != "/local/v1/link" {
		http.Error(w, "{}", http.StatusNotFound)
		return
	}
	conn, err := f.maker.Upgrade(w, r)
	if err != nil {
		return
	}
	go f.link(conn)
}

// link plays one link: what the script says comes right after the first word of the agent.
func (f *falseRegistry) link(conn *socket.Conn) {
	defer conn.Close()
	var end linkEnd
	var first api.FromAgent
	if err := conn.NextJSON(&first); err != nil || first.Register == nil {
		return
	}
	end.register = *first.Register
	for _, message := range <-f.script {
		if message.Registered != nil {
			message.Registered.Port = end.register.Port
		}
		if err := conn.WriteJSON(message); err != nil {
			break
		}
	}
	for {
		var said api.FromAgent
		if err := conn.NextJSON(&said); err != nil {
			f.ended <- end
			return
		}
		end.said = append(end.said, said)
		if said.Presence != nil && len(f.script) > 0 { // it has been believed, and the next link is wanted
			f.ended <- end
			return
		}
	}
}

// next has the agent's next link play messages, and returns how it ended.
func (f *falseRegistry) next(messages ...api.FromBroker) linkEnd {
	f.e.t.Helper()
	select {
	case f.script <- messages:
	case <-f.e.Context().Done():
		f.e.t.Fatalf("the agent has not come back to be told %+v", messages)
	}
	select {
	case end := <-f.ended:
		return end
	case <-f.e.Context().Done():
		f.e.t.Fatalf("the agent keeps a link on which it was told %+v", messages)
	}
	panic("BUG: Fatalf returns")
}

// registered is the answer of a registry that was elected just now.
func registered(term uint64) api.FromBroker {
	return api.FromBroker{Registered: &api.Registered{Route: "0123456789abcdef", Host: "false", Epoch: term, Mode: api.ModeElected}}
}

// TestFalseRegistry has bob's program be the registry of alice's agent, as machine policy allows. Whatever it says beyond what a registry
// may say ends the link and nothing else: no tunnel is brought, no caller fetched, no lease ended, and the agent neither ends nor moves.
func TestFalseRegistry(t *testing.T) {
	e, alice, bob := newElecting(t, anyUser)
	f := e.newFalseRegistry(bob)
	agent := e.stand(alice, "s1", "--software-card")
	uid, id := alice.Cred.Uid, strings.Repeat("ab", 16)
	now := epoch.Now()
	var port cardbroker.Port
	for _, evil := range []struct {
		name     string
		messages []api.FromBroker
	}{
		{"open", []api.FromBroker{registered(now), {Open: &api.TunnelOpen{ID: id, Tenant: "issuer", Method: "token", Reader: "-", Ticket: "cbt1.0123456789abcdef." + strings.Repeat("A", 43)}}}},
		{"forward", []api.FromBroker{registered(now), {Forward: &api.Forward{ID: id, UID: &uid}}}},
		{"kicked", []api.FromBroker{registered(now), {Kicked: &api.Kicked{}}}},
		{"kicked at once", []api.FromBroker{{Kicked: &api.Kicked{}}}},
		{"revoke", []api.FromBroker{registered(now), {Revoke: &api.RevokeLease{Tunnel: id}}}},
		{"nothing", []api.FromBroker{registered(now), {}}},
		{"a door", []api.FromBroker{{Registered: &api.Registered{Epoch: now, Mode: api.ModeElected, BackendURL: "wss://evil.example:1"}}}},
		{"a name", []api.FromBroker{{Registered: &api.Registered{Epoch: now, Mode: api.ModeElected, Name: "evil.example"}}}},
		{"a service", []api.FromBroker{{Registered: &api.Registered{Epoch: now, Mode: api.ModeService}}}},
		{"no epoch", []api.FromBroker{registered(0)}},
		{"an epoch of before", []api.FromBroker{registered(now - 1)}},
		{"an epoch of tomorrow", []api.FromBroker{registered(now + uint64(24*time.Hour/time.Microsecond))}},
	} {
		end := f.next(evil.messages...)
		for _, said := range end.said {
			if said.Presence == nil && said.DeviceKey == nil && said.Voter == nil {
				t.Errorf("%s: the agent says %+v", evil.name, said)
			}
		}
		if port == 0 {
			port = end.register.Port
		}
		if end.register.Port != port {
			t.Errorf("%s: the agent was at port %d and is at %d", evil.name, port, end.register.Port)
		}
	}
	f.mu.Lock()
	asked := slices.Compact(slices.Sorted(slices.Values(f.asked)))
	f.mu.Unlock()
	if want := []string{"GET /local/v1/link"}; !slices.Equal(asked, want) {
		t.Errorf("the agent has asked for %v, want %v", asked, want)
	}
	line := agent.ready()
	at := fmt.Sprintf("127.0.0.1:%d", line.Port)
	if got := e.ask(alice, "tcp4", at, request("GET", at, "/v3/readers", "")); got.Status != 200 || cardbroker.Port(line.Port) != port {
		t.Errorf("alice's own agent at port %d, asserted as %d, answers %d %s", line.Port, port, got.Status, got.Body)
	}
}

// TestFalseSharing has bob's registry say that alice's agent is alone on the host, whose PC/SC service he reaches: hers stays closed.
func TestFalseSharing(t *testing.T) {
	e, alice, bob := newElecting(t, anyUser)
	bed := e.newBed(alice, "bed")
	e.open(bed)
	f := e.newFalseRegistry(bob)
	agent := e.stand(alice, "", "--pcsc-socket", bed.Socket())
	alone := registered(epoch.Now())
	f.script <- []api.FromBroker{alone, {Sharing: &api.Sharing{Shared: false, Turns: 9}}}
	e.closed(alice, agent.ready())
}

// relayed is a squatter that leads pages to a false agent, and what that was told.
type relayed struct {
	mu   sync.Mutex
	pins []string
}

// TestPageAtASquatter is the attack that nothing prevents, and docs/election.md warns of: where no service runs, alice takes the port that
// bob's pages know, and sends them to an agent of hers. A page sees no difference, and tells it the PIN. What bob's own agent has is not
// touched: it has heard no word, and his card still has all its tries.
func TestPageAtASquatter(t *testing.T) {
	e, bob, alice := newElecting(t, "") // the names of the document: B's page, A's port
	var told relayed
	fake := e.freePort()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
		if r.URL.Path == "/info" {
			json.NewEncoder(w).Encode(api.NewInfo("host", api.InfoService{URL: "http://" + e.at, APIPort: fake, DeviceType: "PROXY"},
				api.InfoCardbroker{Version: "1", Mode: api.ModeElected, Epoch: epoch.Now()}))
			return
		}
		body, _ := io.ReadAll(r.Body)
		told.mu.Lock()
		told.pins = append(told.pins, string(body))
		told.mu.Unlock()
		io.WriteString(w, `{"success":true,"data":{"verified":true}}`)
	})}
	t.Cleanup(func() { server.Close() })
	for _, port := range []cardbroker.Port{e.port, fake} {
		for _, host := range []string{"127.0.0.1", "[::1]"} {
			go server.Serve(e.listenAs(alice, net.JoinHostPort(strings.Trim(host, "[]"), fmt.Sprint(port))))
		}
	}
	agent := e.stand(bob, "s1", "--software-card", "--log-level", "debug")
	agent.logged("listener_foreign")

	const page = "Origin: https://bank.example"
	var info api.Info
	got := e.ask(bob, "tcp4", e.at, request("GET", e.at, "/info", "", page, "Sec-Fetch-Mode: cors", "Sec-Fetch-Site: cross-site"))
	if err := json.Unmarshal(got.Body, &info); err != nil || got.Status != 200 || got.Header.Get("Access-Control-Allow-Origin") != "https://bank.example" {
		t.Fatalf("the page reads %d %s, %v", got.Status, got.Body, err)
	}
	at := fmt.Sprintf("127.0.0.1:%d", fake)
	const pin = `{"pin":"123456"}`
	got = e.ask(bob, "tcp4", at, request("POST", at, "/v3/modules/piv/verify-pin", pin, page, "Content-Type: application/json"))
	if got.Status != 200 || !strings.Contains(string(got.Body), "verified") {
		t.Errorf("the false agent answers %d %s", got.Status, got.Body)
	}
	told.mu.Lock()
	if !slices.Equal(told.pins, []string{pin}) {
		t.Errorf("the false agent was told %q: the page has nothing that tells it from bob's", told.pins)
	}
	told.mu.Unlock()
	if child, err := stage.ChildOf(agent.cmd.Process.Pid); err == nil {
		t.Errorf("bob's agent has started process %d: somebody has asked it for the card", child)
	}
	select {
	case line := <-agent.said:
		t.Errorf("bob's agent is registered at the squatter's: %+v", line)
	default:
	}
}
