// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package elected

import (
	"encoding/json"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/broker/coordinator"
	"github.com/cardbroker/cardbroker/client"
	"github.com/cardbroker/cardbroker/internal/epoch"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

// TestTerm has an agent assert its port, and its user's programs and pages find it, until the term ends.
func TestTerm(t *testing.T) {
	b := lead(t, nil)
	hers := b.agent(alice, "1", nil)
	if hers.Port != portOf(hers.listeners[0]) || hers.Mode != api.ModeElected || hers.Epoch != b.epoch || epoch.Check(hers.Epoch) != nil ||
		hers.BackendURL != "" || hers.Dialled != nil {
		t.Errorf("registered: %+v", hers.Registered)
	}
	var info struct{ Data api.Info }
	if a := b.ask(alice, "GET", "/info", nil); json.Unmarshal(a.Body, &info.Data) != nil || info.Data.Cardbroker.Mode != api.ModeElected ||
		info.Data.Cardbroker.Epoch != b.epoch {
		t.Errorf("info: %s", a.Body)
	}
	var own api.OwnAgent
	if a := b.ask(alice, "GET", "/cb/v1/agent", nil); json.Unmarshal(a.Body, &own) != nil || own.Port != hers.Port {
		t.Errorf("own agent: %d %s, want port %d", a.Status, a.Body, hers.Port)
	}
	asked := make(chan answer, 1)
	go func() {
		asked <- b.ask(alice, "POST", "/v3/validate", api.ValidateRequest{}, "Origin: https://page.example", "X-CSRF-Token: 1")
	}()
	question := hear(t, hers.Conn).Ask
	if question == nil || question.Origin != "https://page.example" {
		t.Fatalf("the agent was asked %+v", question)
	}
	hers.WriteJSON(api.FromAgent{Answer: &api.Answer{ID: question.ID, State: &api.ConsentState{State: "CONSENT_APPROVED"}}})
	if a := <-asked; a.Status != 200 || !strings.Contains(string(a.Body), "CONSENT_APPROVED") {
		t.Errorf("validate: %d %s", a.Status, a.Body)
	}
	for _, path := range []string{"/healthz", "/local/v1/agents", "/nowhere", "/cb/v1/readers", "/metrics", "/local/v1/sessions", "/local/v1/reserve"} {
		if a := b.ask(alice, "GET", path, nil); a.Header.Get(api.EpochHeader) != strconv.FormatUint(b.epoch, 10) {
			t.Errorf("GET %s is answered %d with epoch %q, want %d", path, a.Status, a.Header.Get(api.EpochHeader), b.epoch)
		}
	}
	slow, err := b.dial(alice) // and says nothing: the term does not wait for it
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	began := time.Now()
	if err := b.end(); err != nil {
		t.Error(err)
	}
	ended(t, hers.Conn)
	if took := time.Since(began); took > time.Second {
		t.Errorf("the term took %v to end", took)
	}
	if conn, err := b.dial(alice); err == nil {
		conn.Close()
		t.Error("somebody listens after the term")
	}
}

// TestUpgradeSaysTheEpoch: an agent knows who answers before it says anything.
func TestUpgradeSaysTheEpoch(t *testing.T) {
	b := lead(t, nil)
	conn, err := b.dial(alice)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Write([]byte("GET /local/v1/link HTTP/1.1\r\nHost: " + b.address() + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: " + api.LinkProtocol + "\r\n\r\n"))
	text := make([]byte, 1024)
	n, err := conn.Read(text)
	if got := string(text[:n]); err != nil || !strings.HasPrefix(got, "HTTP/1.1 101") || !strings.Contains(got, api.EpochHeader+": "+strconv.FormatUint(b.epoch, 10)+"\r\n") {
		t.Errorf("the upgrade is answered %q, %v", got, err)
	}
}

// TestAgentsComeAndGo releases a port, and gives it to the session's next agent while the first is still there or not.
func TestAgentsComeAndGo(t *testing.T) {
	b := lead(t, nil)
	first := b.agent(alice, "1", nil)
	again := api.Register{Claim: first.claim, Port: first.Port, IPv6: len(first.listeners) > 1}
	if _, said := b.register(alice, again); said.Failed == nil || said.Failed.Reason != cardbroker.Conflict {
		t.Errorf("a second link of an agent: %+v, want conflict", said)
	}
	first.Close()
	conn, said := b.registerUntil(alice, again)
	if said.Registered == nil || said.Registered.Port != first.Port {
		t.Fatalf("the agent came back: %+v", said)
	}
	if a := b.ask(alice, "POST", "/local/v1/release", api.Claim{Session: "1", Claim: claimOf("1").Claim}); a.Said.Rule != cardbroker.RuleClaim {
		t.Errorf("release with another claim: %d %s", a.Status, a.Body)
	}
	if a := b.ask(alice, "POST", "/local/v1/release", first.claim); a.Status != 200 {
		t.Errorf("release: %d %s", a.Status, a.Body)
	}
	conn.Close()
	var list api.Sessions
	if a := b.ask(alice, "GET", "/local/v1/agents", nil); json.Unmarshal(a.Body, &list) != nil || len(list.Sessions) != 0 || list.Epoch != b.epoch {
		t.Errorf("agents: %s", a.Body)
	}
}

// registerUntil registers once the agent's former link is known to have ended.
func (b *bed) registerUntil(user cardbroker.UserID, r api.Register) (conn *socket.Conn, said api.FromBroker) {
	b.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		conn, said = b.register(user, r)
		if said.Failed == nil || said.Failed.Reason != cardbroker.Conflict || time.Now().After(deadline) {
			return conn, said
		}
	}
}

// TestOtherUsers: machine policy lets them in, and each finds his own agents.
func TestOtherUsers(t *testing.T) {
	b := lead(t, func(c *Config) { c.AnyUser = true })
	hers, his := b.agent(alice, "1", nil), b.agent(bob, "1", nil)
	for user, want := range map[cardbroker.UserID]cardbroker.Port{alice: hers.Port, bob: his.Port} {
		var own api.OwnAgent
		if a := b.ask(user, "GET", "/cb/v1/agent", nil); json.Unmarshal(a.Body, &own) != nil || own.Port != want {
			t.Errorf("user %s finds %d %s, want port %d", user, a.Status, a.Body, want)
		}
		var list api.Sessions
		if a := b.ask(user, "GET", "/local/v1/agents", nil); json.Unmarshal(a.Body, &list) != nil || len(list.Sessions) != 1 || list.Sessions[0].Port != want {
			t.Errorf("user %s has the agents %s", user, a.Body)
		}
	}
	if !his.Sharing.Shared {
		t.Error("bob's agent is not told that the host is shared")
	}
	if a := b.ask(root, "GET", "/cb/v1/agent", nil); a.Said.Reason != cardbroker.NoAgent {
		t.Errorf("root's agent: %d %s", a.Status, a.Body)
	}
}

// TestResigns has a service ask for the port.
func TestResigns(t *testing.T) {
	b := lead(t, func(c *Config) { c.Accounts = []cardbroker.UserID{bob} })
	if err := client.AskToResign(t.Context(), b.port); err != nil { // we are root
		t.Errorf("AskToResign = %v", err)
	}
	if why := <-b.resigned; !strings.Contains(why, "user 0 ") {
		t.Errorf("it resigns because %q", why)
	}
	if a := b.ask(bob, "POST", "/local/v1/resign", nil); a.Status != 200 {
		t.Errorf("the service account: %d %s", a.Status, a.Body)
	}
	<-b.resigned
}

// TestAskToResignWhomever asks those who are no leader.
func TestAskToResignWhomever(t *testing.T) {
	listeners, err := httpserver.ListenLoopback(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	answers := []struct {
		says string
		want cardbroker.Reason
	}{
		{"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", cardbroker.Unsupported},
		{"SSH-2.0-x\r\n", cardbroker.Unavailable},
		{"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", cardbroker.Unsupported},
		{"", cardbroker.Unavailable}, // as one that ends does
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for _, a := range answers {
			conn, err := listeners[0].Accept()
			if err != nil {
				return
			}
			conn.Read(make([]byte, 4096))
			conn.Write([]byte(a.says))
			conn.Close()
		}
	}()
	for _, a := range answers {
		if err := client.AskToResign(t.Context(), portOf(listeners[0])); cardbroker.ReasonOf(err) != a.want {
			t.Errorf("AskToResign of who answers %q = %v, want %s", a.says, err, a.want)
		}
	}
	<-served
	for _, l := range listeners {
		l.Close()
	}
	if err := client.AskToResign(t.Context(), portOf(listeners[0])); cardbroker.ReasonOf(err) != cardbroker.Unavailable {
		t.Errorf("AskToResign(nobody) = %v, want unavailable", err)
	}
}

// TestVoters appoints the seven oldest, whoever comes first, and tells those whom a change concerns.
func TestVoters(t *testing.T) {
	b := lead(t, nil)
	voter := func(born int) *api.Voter { return &api.Voter{Name: "v" + strconv.Itoa(born), Born: uint64(born)} }
	names := func(vs *api.Voters) (all []string) {
		for _, v := range vs.Voters {
			all = append(all, v.Name)
		}
		return all
	}
	agents := map[int]*puppet{}
	// told has the agents hear of changes until that set is what they were told.
	told := func(want []string, whom ...int) {
		t.Helper()
		for _, born := range whom {
			var got []string
			for !slices.Equal(got, want) {
				m := hear(t, agents[born].Conn)
				if m.Voters == nil {
					t.Fatalf("v%d was told %+v, want voters", born, m)
				}
				got = names(m.Voters)
			}
		}
	}
	watcher := b.agent(alice, "watcher", nil) // does not stand
	come := func(born int) { agents[born] = b.agent(alice, cardbroker.SessionID(strconv.Itoa(born)), voter(born)) }
	for _, born := range []int{2, 3, 4, 5, 6, 7, 8} {
		come(born)
	}
	told([]string{"v2", "v3", "v4", "v5", "v6", "v7", "v8"}, 2, 3, 4, 5, 6, 7, 8)
	come(9) // when the others stand: it would be among the oldest for a moment
	come(1)
	told([]string{"v1", "v2", "v3", "v4", "v5", "v6", "v7"}, 1, 2, 3, 4, 5, 6, 7, 8) // v8 hears that it is out
	agents[3].Close()
	told([]string{"v1", "v2", "v4", "v5", "v6", "v7", "v8"}, 1, 2, 4, 5, 6, 7, 8)
	at := gossips(t, alice, alice)
	agents[1].WriteJSON(api.FromAgent{Voter: &api.Voter{Name: "v1", Born: 1, Gossip: at}})
	if m := hear(t, agents[8].Conn); m.Voters == nil || m.Voters.Voters[0].Gossip != at {
		t.Errorf("v8 was told %+v, want where v1 gossips", m)
	}
	for _, p := range []*puppet{watcher, agents[9]} { // whom all this does not concern
		p.WriteJSON(api.FromAgent{}) // ends the link
		if m, err := p.Next(); err == nil {
			t.Errorf("who is no voter was told %s", m)
		}
	}
}

// TestVotersGossipAtTheirOwn: nobody has the other voters connect, or send packets, to a port that is not his.
func TestVotersGossipAtTheirOwn(t *testing.T) {
	b := lead(t, func(c *Config) { c.AnyUser = true })
	half := addrOf(bind(t, bob)[0])
	hers, own, packets := gossips(t, alice, alice), gossips(t, bob, bob), gossips(t, bob, alice)
	for name, test := range map[string]struct {
		at   netip.AddrPort
		want netip.AddrPort
	}{
		"hers":                         {hers, netip.AddrPort{}},
		"nobody's":                     {netip.MustParseAddrPort("127.0.0.1:1"), netip.AddrPort{}},
		"his, but she gets packets":    {packets, netip.AddrPort{}},
		"his, but nobody gets packets": {half, netip.AddrPort{}},
		"his own":                      {own, own},
	} {
		his := b.agent(bob, "1", &api.Voter{Name: "his", Gossip: test.at})
		m := hear(t, his.Conn)
		if m.Voters == nil || len(m.Voters.Voters) != 1 || m.Voters.Voters[0].Gossip != test.want {
			t.Errorf("%s: the voters are told %+v, want %v", name, m, test.want)
		}
		his.WriteJSON(api.FromAgent{}) // ends the link
		ended(t, his.Conn)
	}
}

// gossips has one user listen at a port of 127.0.0.1, and another, or the same, receive there.
func gossips(t *testing.T, listens, receives cardbroker.UserID) netip.AddrPort {
	t.Helper()
	at := addrOf(bind(t, listens)[0])
	var conn *net.UDPConn
	var err error
	as(t, receives, func() { conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at)) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return at
}

func addrOf(l net.Listener) netip.AddrPort { return l.Addr().(*net.TCPAddr).AddrPort() }

// TestVoterThatIsStuck: who does not take what he is told keeps nobody else from it, and hears the latest in the end.
func TestVoterThatIsStuck(t *testing.T) {
	b := lead(t, nil)
	stuck, told := make(chan struct{}), make(chan api.Voters, 16)
	join := func(route cardbroker.Route, born uint64, send func(api.FromBroker) error) {
		t.Helper()
		voter := &api.Voter{Name: string(route), Born: born}
		l := &coordinator.Link{View: coordinator.View{Agent: cardbroker.Agent{Route: route}, Voter: voter}, Send: send}
		if err := b.core.Hub.Join(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	late := make(chan api.Voters, 16)
	await := func(heard chan api.Voters, n int) {
		t.Helper()
		for limit := time.After(10 * time.Second); ; {
			select {
			case v := <-heard:
				if len(v.Voters) == n {
					return
				}
			case <-limit:
				t.Fatalf("nothing is heard of the voter that came as number %d", n)
			}
		}
	}
	join("slow", 1, func(m api.FromBroker) error { <-stuck; late <- *m.Voters; return nil })
	join("quick", 2, func(m api.FromBroker) error { told <- *m.Voters; return nil })
	for n := 3; n <= maxVoters; n++ {
		join(cardbroker.Route("r"+strconv.Itoa(n)), uint64(n), func(api.FromBroker) error { return nil })
		await(told, n)
	}
	close(stuck)
	await(late, maxVoters)
}

// TestVotersAreWellFormed: what others are told of must be of use to them.
func TestVotersAreWellFormed(t *testing.T) {
	b := lead(t, nil)
	for name, v := range map[string]api.Voter{
		"no name":     {Born: 1},
		"a long name": {Name: strings.Repeat("x", maxName+1)},
		"elsewhere":   {Name: "x", Gossip: netip.MustParseAddrPort("192.0.2.1:7946")},
		"no port":     {Name: "x", Gossip: netip.MustParseAddrPort("127.0.0.1:0")},
	} {
		listeners := bind(t, alice)
		_, said := b.register(alice, api.Register{Claim: claimOf("1"), Port: portOf(listeners[0]), IPv6: len(listeners) > 1, Voter: &v})
		if said.Failed == nil || said.Failed.Reason != cardbroker.Invalid {
			t.Errorf("%s: %+v, want invalid", name, said)
		}
	}
	p := b.agent(alice, "1", &api.Voter{Name: "x"})
	hear(t, p.Conn)
	p.WriteJSON(api.FromAgent{Voter: &api.Voter{Name: "x", Gossip: netip.MustParseAddrPort("192.0.2.1:7946")}})
	ended(t, p.Conn)
}
