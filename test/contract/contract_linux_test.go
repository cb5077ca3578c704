// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package contract_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/test/openapi"
	"github.com/cardbroker/cardbroker/virtualreader"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// unseen are documented answers that [TestEveryAnswer] does not bring about, by how they end, and why.
var unseen = []struct{ end, why string }{
	{" 500", "a fault of the program"},
	{"broker GET /info 503", "the kernel cannot be asked who is calling"},
	{"broker GET /openapi.yaml 503", "the same"},
	{"broker GET /docs 503", "the same"},
	{"door GET /cb/v1/readers 503", "a queue is full"},
	{"door GET /cb/v1/readers/events 503", "the same"},
	{"door GET /cb/v1/jwks.json 503", "the broker stops"},
	{"door POST /cb/v1/tokens 503", "the same"},
	{"agent GET /cb/v1/events 504", "a sandbox hangs"},
	{"agent GET /v3/readers 504", "the same"},
	{"agent GET /v3/readers/{id} 504", "the same"},
	{"agent POST /cb/v1/offers 504", "the same"},
	{"agent POST /cb/v1/leases/{tunnel}/revoke 504", "the same"},
	{"agent GET /device-key 409", "the broker's: a session that is not told apart"},
	{"agent GET /device-key 412", "the broker's: no agent"},
	{" GET /device-key 503", "for the moment that a key takes, which is seen or is not"},
	{"agent POST /cb/v1/readers/{id}/verify-pin 423", "a blocked card: agent/pin"},
	{"agent POST /cb/v1/readers/{id}/verify-pin 504", "a sandbox hangs"},
	{"agent POST /cb/v1/consents 504", "a disk hangs"},
	{" POST " + remote + "{id}/ccid 200", "a pin pad, or a prompt: agent/remoteloading"},
	{" POST " + remote + "{id}/apdu 504", "a sandbox hangs"},
	{" POST " + remote + "{id}/apdus 504", "the same"},
	{" POST " + remote + "{id}/atr 504", "the same"},
	{" POST " + remote + "{id}/card-present 504", "the same"},
	{" POST " + remote + "{id}/ccid 504", "the same"},
	{" POST " + remote + "{id}/ccid-features 504", "the same"},
	{" POST " + remote + "{id}/close-session 504", "the same"},
	{" POST " + remote + "{id}/command 504", "the same"},
	{" POST " + remote + "{id}/commands 504", "the same"},
	{" POST " + remote + "{id}/open-session 504", "the same"},
	{" POST " + remote + "{id}/atr 409", "no card in the reader: agent/remoteloading"},
	{"agent POST /cb/v1/consents/revoke 504", "the same"},
	{"broker GET /cb/v1/agent 504", "an agent hangs"},
	{"broker GET /v3/agents 504", "an agent hangs"},
	{"broker POST /v3/consent 504", "the same"},
	{"broker POST /v3/validate 504", "the same"},
}

// TestEveryAnswer brings about every answer of every route. [asked.ask] holds each against the document.
func TestEveryAnswer(t *testing.T) {
	h := newHost(t)
	broker, door := asked{h, "broker", h.broker}, asked{h, "door", h.door}
	h.logonSeen(broker)
	address, logoff := h.logon("one", sandbox)
	agent := asked{h, "agent", address}
	h.agentSeen(broker, agent)
	h.consentSeen(broker, agent)
	reader := h.readersSeen(agent)
	h.pinsSeen(broker, agent, reader)
	h.remoteSeen(agent, reader)
	h.certificatesSeen(agent)
	h.pkiSeen()
	h.tunnelsSeen(agent, door, reader)
	h.puppetSeen(broker, door)
	h.sandboxMissed()
	h.pagesOnly()
	for _, server := range []asked{broker, agent, door} {
		h.refusalsSeen(server)
	}
	h.ratesSeen(broker, door)
	h.diskFull(broker)
	logoff()
	h.logoffSeen(agent)
	h.count()

}

// logonSeen asks a broker that knows nobody, and then one that has promised a port.
func (h *host) logonSeen(broker asked) {
	broker.ask("GET", "/cb/v1/agent").want(412, cardbroker.NoAgent)
	broker.ask("GET", "/device-key").want(412, cardbroker.NoAgent)
	h.consentBefore(broker, 412, cardbroker.NoAgent)
	claim := api.Claim{Session: "one", Claim: string(cardbroker.RandomSecret().Reveal())}
	_, err := h.client().Reserve(h.t.Context(), claim)
	h.check(err)
	broker.ask("GET", "/cb/v1/agent").want(503, cardbroker.AgentRestarting)
	h.consentBefore(broker, 503, cardbroker.AgentRestarting)
	h.check(h.client().Release(h.t.Context(), claim))
}

// agentSeen asks what does not depend on readers.
func (h *host) agentSeen(broker, agent asked) {
	var own api.OwnAgent
	broker.ask("GET", "/cb/v1/agent").want(200, "").into(&own)
	if !strings.HasSuffix(agent.address, fmt.Sprintf(":%d", own.Port)) || own.Session != "one" || own.State != cardbroker.Registered {
		h.t.Errorf("the agent at %s is %+v", agent.address, own)
	}
	broker.ask("GET", "/healthz").want(200, "")
	for server, device := range map[asked]string{broker: "PROXY", agent: "AGENT"} {
		var info api.Info
		server.ask("GET", "/info", header("Origin", "https://page.example")).want(200, "").into(&info)
		port := fmt.Sprintf(":%d", info.API.Service.APIPort)
		if info.API.Service.DeviceType != device || !strings.HasSuffix(server.address, port) || info.User.HostName != "host.example" {
			h.t.Errorf("/info of the %s is %+v", server.name, info)
		}
		if document := server.ask("GET", "/openapi.yaml").want(200, ""); string(document.body) != string(api.OpenAPI) {
			h.t.Errorf("the %s serves another document", server.name)
		}
		if page := server.ask("GET", "/docs").want(200, ""); string(page.body) != string(api.DocsPage) {
			h.t.Errorf("the %s serves another page", server.name)
		}
		server.ask("HEAD", "/info").want(200, "")
		server.ask("GET", "/v4/readers").want(404, cardbroker.NotFound)
		server.ask("POST", "/info", header("X-CSRF-Token", "t1c-js")).want(404, cardbroker.NotFound)
	}
}

// readersSeen asks the agent for its readers and returns the one that it has.
func (h *host) readersSeen(agent asked) api.CardReader {
	var list struct{ Data []api.CardReader }
	agent.ask("GET", "/v3/readers").want(200, "").into(&list)
	if len(list.Data) != 1 || list.Data[0].Card == nil {
		h.t.Fatalf("the readers are %+v, want one with a card", list.Data)
	}
	reader := list.Data[0]
	agent.ask("GET", "/v3/readers?cardInserted=true").want(200, "").into(&list)
	if len(list.Data) != 1 {
		h.t.Errorf("readers with a card are %+v", list.Data)
	}
	agent.ask("GET", "/v3/readers?cardInserted=false").want(200, "").into(&list)
	if len(list.Data) != 0 {
		h.t.Errorf("readers without a card are %+v", list.Data)
	}
	agent.ask("GET", "/v3/readers?cardInserted=maybe").want(400, cardbroker.Invalid)
	agent.ask("GET", "/v3/readers?excluded=hello").want(200, "").into(&list)
	if len(list.Data) != 1 {
		h.t.Errorf("readers without hello are %+v", list.Data)
	}
	agent.ask("GET", "/v3/readers?cardInserted=true&excluded=none,"+strings.ToUpper(reader.Name[:6])+"*").want(200, "").into(&list)
	if len(list.Data) != 0 {
		h.t.Errorf("readers without the one there is are %+v", list.Data)
	}
	for _, path := range []string{"/v3/readers", "/cb/v1/events"} {
		agent.ask("GET", path+"?excluded="+strings.Repeat("a,", 17)).want(400, cardbroker.Invalid)
	}
	agent.ask("GET", "/v3/readers/"+string(reader.ID)).want(200, "")
	agent.ask("GET", "/v3/readers/0000000000000000").want(412, cardbroker.ReaderUnknown)
	agent.ask("GET", "/cb/v1/events", websocket(""), header("Sec-WebSocket-Version", "12")).want(400, cardbroker.Invalid)
	for _, a := range []answer{
		agent.ask("GET", "/cb/v1/events"), agent.ask("GET", "/cb/v1/events?excluded=hello"),
		agent.ask("GET", "/cb/v1/events", websocket("")), agent.ask("GET", "/cb/v1/events?excluded=hello", websocket("")),
	} {
		h.eventSeen(a, reader.ID)
	}
	return reader
}

// eventSeen reads the first event of a stream: the reader is there.
func (h *host) eventSeen(a answer, reader cardbroker.ReaderID) {
	h.t.Helper()
	defer a.conn.Close()
	text := make([]byte, 0, 256)
	for !strings.HasSuffix(string(text), "}") { // of a WebSocket's frame, or of the data of an event
		c, err := a.rest.ReadByte()
		h.check(err)
		text = append(text, c)
	}
	text = text[strings.IndexByte(string(text), '{'):]
	h.check(h.checker.CheckSchema("ReaderEvent", text))
	var event api.ReaderEvent
	h.check(json.Unmarshal(text, &event))
	if event.Event != api.EventReaderAdded || event.Reader != reader {
		h.t.Errorf("the first event is %s", text)
	}
}

// tunnelsSeen offers the reader to the back end, which uses it.
func (h *host) tunnelsSeen(agent, door asked, reader api.CardReader) {
	offer := func(text string) answer { return agent.ask("POST", "/cb/v1/offers", body(text)) }
	good := fmt.Sprintf(`{"reader":%q,"tenant":"issuer"}`, reader.ID)
	offer(`{"reader":"0000000000000000","tenant":"issuer"}`).want(412, cardbroker.ReaderUnknown)
	offer(fmt.Sprintf(`{"reader":%q,"tenant":"no tenant"}`, reader.ID)).want(400, cardbroker.Invalid)
	offer(`{`).want(400, cardbroker.Invalid)
	offer(good+`]`).want(400, cardbroker.Invalid)
	offer(`{"tenants":"issuer"}`).want(400, cardbroker.Invalid)
	agent.ask("POST", "/cb/v1/offers").want(400, cardbroker.Invalid)

	door.ask("GET", "/cb/v1/readers").want(200, "")
	var offered api.Offered
	offer(good).want(200, "").into(&offered)
	h.eventSeen(door.ask("GET", "/cb/v1/readers/events", websocket("")), offered.Reader)
	var list api.RemoteReaders
	door.ask("GET", "/cb/v1/readers").want(200, "").into(&list)
	if len(list.Readers) != 1 || list.Readers[0].ID != offered.Reader || list.Readers[0].Lease != nil || list.Readers[0].Card == nil {
		h.t.Errorf("the tenant sees %+v", list)
	}
	for _, path := range []string{"/cb/v1/readers", "/cb/v1/readers/events", "/cb/v1/readers/-/tunnel"} {
		door.ask("GET", path, header("Authorization", "Bearer wrong")).want(401, cardbroker.Unauthenticated)
	}
	door.ask("GET", "/cb/v1/readers/events").want(400, cardbroker.Invalid)
	door.ask("GET", "/cb/v1/readers/events", websocket(""), header("Sec-WebSocket-Key", "short")).want(400, cardbroker.Invalid)
	door.ask("GET", "/cb/v1/reader").want(404, cardbroker.NotFound)
	h.tokensSeen(door)

	path := "/cb/v1/readers/" + string(offered.Reader) + "/tunnel"
	door.ask("GET", path).want(400, cardbroker.Invalid)
	door.ask("GET", path, websocket("vreader.v2")).want(400, cardbroker.Invalid)
	door.ask("GET", path, websocket(wire.Subprotocol)).want(401, cardbroker.Unauthenticated)
	ticket := header("Cardbroker-Ticket", offered.Ticket)
	door.ask("GET", "/cb/v1/readers/0000000000000000/tunnel", websocket(wire.Subprotocol), ticket).want(401, cardbroker.Unauthenticated)
	door.ask("GET", path, websocket(wire.Subprotocol), ticket).want(101, "").conn.Close()

	gone := cardbroker.Ticket{Route: "0000000000000000", Secret: cardbroker.RandomSecret(), Resume: true}.Reveal()
	door.ask("GET", "/cb/v1/readers/-/tunnel", websocket(wire.Subprotocol), header("Cardbroker-Ticket", gone)).want(503, cardbroker.AgentRestarting)

	offer(good).want(200, "").into(&offered)
	back, err := virtualreader.New(virtualreader.Config{Brokers: []string{"wss://" + h.door}, TLS: h.tls, Token: cardbroker.NewSecret([]byte(tenantToken))})
	h.check(err)
	tunnel, err := back.Open(h.t.Context(), virtualreader.TicketReader, offered.Ticket, virtualreader.Options{})
	h.check(err)
	defer tunnel.Close()
	var leases api.Leases
	agent.ask("GET", "/cb/v1/leases").want(200, "").into(&leases)
	if len(leases.Leases) != 1 || leases.Leases[0].Tenant != "issuer" || leases.Leases[0].Tunnel != tunnel.ID {
		h.t.Fatalf("the leases are %+v", leases)
	}
	offer(good).want(200, "").into(&offered)
	door.ask("GET", path, websocket(wire.Subprotocol), header("Cardbroker-Ticket", offered.Ticket)).want(409, cardbroker.ReaderBusy)
	_, err = tunnel.Connect(h.t.Context(), cardbroker.ShareExclusive)
	h.check(err)
	for _, call := range remoteCalls() {
		if call.card {
			agent.ask("POST", remote+string(reader.ID)+"/"+call.action, body(call.good)).want(409, cardbroker.ReaderBusy)
		}
	}
	agent.ask("POST", "/cb/v1/leases/"+tunnel.ID+"/revoke").want(200, "")
	for range tunnel.Events() { // until the tunnel has felt it
	}
	agent.ask("POST", "/cb/v1/leases/"+strings.Repeat("0", 32)+"/revoke").want(412, cardbroker.ObjectUnknown)
	agent.ask("POST", "/cb/v1/leases/nothing/revoke").want(400, cardbroker.Invalid)
}

// tokensSeen exchanges an API key.
func (h *host) tokensSeen(door asked) {
	key, err := h.client().Enrol(h.t.Context(), "shop")
	h.check(err)
	var token api.Token
	door.ask("POST", "/cb/v1/tokens", header("Authorization", "Bearer "+key.Key)).want(200, "").into(&token)
	door.ask("GET", "/cb/v1/readers", header("Authorization", "Bearer "+token.Token)).want(200, "")
	door.ask("GET", "/cb/v1/readers", header("Authorization", "Bearer "+key.Key)).want(401, cardbroker.Unauthenticated)
	door.ask("POST", "/cb/v1/tokens", header("Authorization", "Bearer "+token.Token)).want(401, cardbroker.Unauthenticated)
	door.ask("POST", "/cb/v1/tokens").want(401, cardbroker.Unauthenticated)
	door.ask("GET", "/cb/v1/tokens").want(404, cardbroker.NotFound)
	door.ask("GET", "/cb/v1/jwks.json").want(200, "")
}

// puppetSeen has an agent say to a back end what agents may say, and makes the user one of two sessions.
func (h *host) puppetSeen(broker, door asked) {
	puppet := h.puppet("two")
	broker.ask("GET", "/cb/v1/agent").want(409, cardbroker.SessionAmbiguous)
	broker.ask("GET", "/device-key").want(409, cardbroker.SessionAmbiguous)
	h.consentBefore(broker, 409, cardbroker.SessionAmbiguous)
	for reason, status := range map[cardbroker.Reason]int{
		cardbroker.TenantDenied: 403, cardbroker.CardAbsent: 409, cardbroker.ReaderUnknown: 412, cardbroker.Unavailable: 503, cardbroker.Timeout: 504,
	} {
		puppet.refusal.Store(cardbroker.Errorf(reason, "as it is told"))
		door.ask("GET", "/cb/v1/readers/-/tunnel", websocket(wire.Subprotocol), header("Cardbroker-Ticket", puppet.ticket)).want(status, reason)
	}
}

// sandboxMissed asks an agent whose sandbox cannot be started.
func (h *host) sandboxMissed() {
	address, logoff := h.logon("three", h.path("missing"))
	defer logoff()
	agent := asked{h, "agent", address}
	agent.ask("GET", "/v3/readers").want(503, cardbroker.Unavailable)
	agent.ask("GET", "/v3/readers/0000000000000000").want(503, cardbroker.Unavailable)
	agent.ask("GET", "/cb/v1/events").want(503, cardbroker.Unavailable)
	agent.ask("POST", "/cb/v1/offers", body(`{"reader":"0000000000000000","tenant":"issuer"}`)).want(503, cardbroker.Unavailable)
	agent.ask("POST", "/cb/v1/readers/0000000000000000/verify-pin", body(`{"reference":"80"}`)).want(503, cardbroker.Unavailable)
	for _, call := range remoteCalls() {
		agent.ask("POST", remote+"0000000000000000/"+call.action, body(call.good)).want(503, cardbroker.Unavailable)
	}
}

// refusalsSeen asks every route of a server in all the ways that are refused before a handler runs.
func (h *host) refusalsSeen(s asked) {
	page := header("Origin", "https://page.example")
	csrf := header("X-CSRF-Token", "t1c-js")
	for _, route := range h.routes(s.name) {
		s.patiently(route.method, route.path, body(strings.Repeat(" ", 2<<20))).want(413, cardbroker.TooLarge)
		s.patiently(route.method, route.path, garbled).want(400, cardbroker.Invalid)
		s.patiently(route.method, route.path, header("Origin", "null")).want(403, cardbroker.OriginDenied)
		s.patiently(route.method, route.path, header("Sec-Fetch-Site", "cross-site")).want(403, cardbroker.OriginDenied)
		if route.access != "public" {
			s.patiently(route.method, route.path, page, csrf).want(412, cardbroker.ConsentRequired)
		}
		if s.name == "agent" && os.Geteuid() == 0 && route.access == "self" {
			s.patiently(route.method, route.path, header("Origin", jwtPage), csrf).want(401, cardbroker.Unauthenticated)
		}
		if s.name == "agent" && os.Geteuid() == 0 {
			s.askAsStranger(route.method, route.path).want(403, cardbroker.CallerRefused)
		}
	}
	if s.name == "broker" && os.Geteuid() == 0 {
		s.askAsStranger("GET", "/cb/v1/agent").want(412, cardbroker.NoAgent)
		s.askAsStranger("GET", "/info").want(200, "")
	}
}

// pagesOnly asks an agent that lets no programs in.
func (h *host) pagesOnly() {
	if os.Geteuid() != 0 {
		return
	}
	h.closed = true
	address, logoff := h.logon("four", sandbox)
	defer logoff()
	agent := asked{h, "agent", address}
	for _, route := range h.routes("agent") {
		if route.access != "public" {
			agent.ask(route.method, route.path).want(403, cardbroker.Forbidden)
		}
	}
}

// slowPace is how many requests a second a server answers so that any machine asks more.
const slowPace = 100

// ratesSeen asks the host's servers, and an agent that is as slow as these, too much.
func (h *host) ratesSeen(servers ...asked) {
	h.pace = slowPace
	address, logoff := h.logon("six", sandbox)
	defer logoff()
	for _, server := range append(servers, asked{h, "agent", address}) {
		h.rateSeen(server)
	}
}

// rateSeen asks every route of a server when its user has asked too much.
func (h *host) rateSeen(s asked) {
	defer s.flood()()
	for _, route := range h.routes(s.name) {
		for end := time.Now().Add(time.Minute); s.ask(route.method, route.path).status != 429; {
			if time.Now().After(end) {
				h.t.Fatalf("%s %s is answered however much is asked", route.method, route.path)
			}
		}
	}
}

// diskFull asks a broker that cannot store anything, once it has noticed.
func (h *host) diskFull(broker asked) {
	h.ledger.full.Store(true)
	defer h.ledger.full.Store(false)
	claim := api.Claim{Session: "five", Claim: string(cardbroker.RandomSecret().Reveal())}
	if _, err := h.client().Reserve(h.t.Context(), claim); cardbroker.ReasonOf(err) != cardbroker.Unavailable {
		h.t.Errorf("Reserve on a full disk = %v", err)
	}
	for broker.ask("GET", "/healthz").status == 429 {
	}
	broker.ask("GET", "/healthz").want(503, cardbroker.Unavailable)
}

// logoffSeen asks on the port of an agent that has ended: the broker holds it, or soon does.
func (h *host) logoffSeen(agent asked) {
	conn, err := net.Dial("tcp", agent.address)
	for end := time.Now().Add(10 * time.Second); err != nil && time.Now().Before(end); conn, err = net.Dial("tcp", agent.address) {
		<-time.After(5 * time.Millisecond)
	}
	h.check(err)
	conn.Close()
	for _, route := range h.routes("agent") {
		agent.ask(route.method, route.path, header("Origin", "https://page.example")).want(503, cardbroker.AgentRestarting)
	}
}

// route is one of the code's.
type route struct{ method, path, access string }

// routes returns the routes that the document gives a server, with paths that can be asked for.
func (h *host) routes(server string) []route {
	var routes []route
	for _, line := range h.checker.Routes(server) {
		f := strings.Fields(line)
		path := strings.NewReplacer("{tunnel}", strings.Repeat("0", 32), "{file}", "consent.js", "readers/{id}", "readers/0000000000000000", "slots/{id}", "slots/0000000000000000",
			"{module}", "card", "{kind}", "root-cert", "{rest}", "anything/else").Replace(f[1])
		routes = append(routes, route{f[0], path, f[2]})
	}
	return routes
}

// TestRoutes compares the document with the route tables in the code.
func TestRoutes(t *testing.T) {
	checker, err := openapi.Load()
	if err != nil {
		t.Fatal(err)
	}
	for server, table := range map[string]struct{ files, functions string }{
		"broker": {"../../broker/coordinator/loopback.go", "LoopbackRoutes"},
		"agent": {"../../agent/routes.go ../../agent/cache/routes.go ../../agent/demo/demo.go ../../agent/pki/routes.go ../../agent/readers/readers.go " +
			"../../agent/remoteloading/routes.go ../../agent/x509/x509.go", "routes Routes"},
		"door": {"../../broker/backend.go", "server tokenRoutes"},
	} {
		var want []string
		for _, file := range strings.Fields(table.files) {
			want = append(want, routesOf(t, file, strings.Fields(table.functions))...)
		}
		slices.Sort(want)
		if got := checker.Routes(server); !slices.Equal(got, want) {
			t.Errorf("the document gives the %s %q, the code %q", server, got, want)
		}
	}
}

// routesOf reads the tables in functions of the source.
func routesOf(t *testing.T, file string, functions []string) []string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, decl := range parsed.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok || !slices.Contains(functions, f.Name.Name) {
			continue
		}
		ast.Inspect(f, func(n ast.Node) bool {
			row, ok := n.(*ast.CompositeLit)
			if !ok || row.Type != nil {
				return true
			}
			fields := map[string]string{}
			for _, element := range row.Elts {
				pair := element.(*ast.KeyValueExpr)
				switch value := pair.Value.(type) {
				case *ast.BasicLit:
					fields[pair.Key.(*ast.Ident).Name], _ = strconv.Unquote(value.Value)
				case *ast.SelectorExpr:
					fields[pair.Key.(*ast.Ident).Name] = strings.ToLower(value.Sel.Name)
				}
			}
			found[fields["Method"]+" "+strings.Replace(fields["Path"], "...}", "}", 1)+" "+fields["Access"]] = true
			return false
		})
	}
	if len(found) == 0 {
		t.Fatalf("%s has no functions %q with routes", file, functions)
	}
	return slices.Sorted(maps.Keys(found))
}
