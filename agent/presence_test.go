// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/cards"
	"github.com/cardbroker/cardbroker/agent/gate"
	"github.com/cardbroker/cardbroker/agent/home"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/client"
	"github.com/cardbroker/cardbroker/internal/hostsession"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// consentsKept is a user's consents.
const consentsKept = `{"version":1,"consents":[{"origin":"https://shop.example","granted":"2026-01-01T00:00:00Z","expires":"2026-01-02T00:00:00Z","by":"user","session":"1","deviceKeyThumbprint":""}]}`

// table reads the table of docs/sessions.md whose first column is the event: event, column, cell.
func table(t *testing.T) (columns []string, rows map[string]map[string]string) {
	t.Helper()
	text, err := os.ReadFile("../docs/sessions.md")
	if err != nil {
		t.Fatal(err)
	}
	rows = map[string]map[string]string{}
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "|") {
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.Trim(cells[i], " `")
		}
		switch {
		case cells[0] == "event":
			columns = cells
		case len(columns) > 0 && len(cells) == len(columns) && !strings.HasPrefix(cells[0], "-"):
			row := map[string]string{}
			for i, cell := range cells[1:] {
				row[columns[i+1]] = cell
			}
			rows[cells[0]] = row
		}
	}
	return columns, rows
}

// life is an agent in the middle of its session: with a port, an offer, a lease, a stream, a prompt and a PIN session.
type life struct {
	t        *testing.T
	agent    *Agent
	state    string
	released chan struct{}
	ended    chan error // of Run
	client   *client.Agent
	prompt   *fakeAsker

	stream, lease, asked chan error // the ends of what is open; nil: none is
	offer                cardbroker.Secret
	offered              bool
	pin                  []string // why PIN sessions ended
	starts               uint64   // of the sandbox
	epoch                uint64
}

// releasing is a registry that grants one port and has no link.
type releasing struct {
	fakeRegistry
	released chan struct{}
}

func (r releasing) Release(context.Context, api.Claim) error { close(r.released); return nil }

// fakeAsker is a prompt that nobody answers.
type fakeAsker struct{ shown chan struct{} }

func (f *fakeAsker) AskPIN(ctx context.Context, _ cardend.Question) ([]cardbroker.Secret, error) {
	f.shown <- struct{}{}
	<-ctx.Done()
	return nil, ctx.Err()
}

// backEnd is the back end's end of a tunnel: it says Hello, and then nothing until the tunnel ends.
type backEnd struct {
	hello    []byte
	welcomed chan struct{}
	closed   chan struct{}
}

func (b *backEnd) Send(h wire.Header, _ []byte) error {
	if h.Type == wire.TypeWelcome {
		close(b.welcomed)
	}
	return nil
}

func (b *backEnd) Receive() (wire.Header, []byte, error) {
	if hello := b.hello; hello != nil {
		b.hello = nil
		return wire.Header{Type: wire.TypeHello, Seq: 1}, hello, nil
	}
	<-b.closed
	return wire.Header{}, nil, io.EOF
}

func (b *backEnd) Shutdown(error) {
	select {
	case <-b.closed:
	default:
		close(b.closed)
	}
}
func (b *backEnd) Close() error { return nil }

// freePort reserves a port that is free, and another one for an agent that has lost it to somebody before it could bind it.
func freePort(api.Claim) (api.Reservation, error) {
	free, err := httpserver.ListenLoopback(context.Background(), 0)
	if err != nil {
		return api.Reservation{}, err
	}
	for _, l := range free {
		l.Close()
	}
	return api.Reservation{Port: cardbroker.Port(free[0].Addr().(*net.TCPAddr).Port)}, nil
}

func newLife(t *testing.T, program string) *life {
	t.Helper()
	v := &life{t: t, state: t.TempDir() + "/state", released: make(chan struct{}), ended: make(chan error, 1)}
	v.prompt = &fakeAsker{shown: make(chan struct{}, 8)}
	var port atomic.Uint32 // reserved last
	registry := releasing{fakeRegistry{reserve: func(c api.Claim) (api.Reservation, error) {
		reservation, err := freePort(c)
		port.Store(uint32(reservation.Port))
		return reservation, err
	}}, v.released}
	var err error
	v.agent, err = New(Config{
		Session: "1",
		State:   v.state,
		Sandbox: cards.Config{Program: program, Args: []string{"softcard"}},
		Ready:   func(home.Note) {},
		Log:     slog.New(slog.DiscardHandler),
	}, registry)
	if err != nil {
		t.Fatal(err)
	}
	v.agent.asker = gate.Asker{Asker: v.prompt, Gate: v.agent.present.prompts}
	v.agent.present.endPINs = append(v.agent.present.endPINs, func(why string) { v.pin = append(v.pin, why) })
	if err := os.WriteFile(v.state+"/consents.json", []byte(consentsKept), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() { v.ended <- v.agent.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		v.end(v.ended)
	})
	for deadline := time.Now().Add(20 * time.Second); ; {
		v.client = client.NewAgent(cardbroker.Port(port.Load()))
		_, err := v.client.Readers(t.Context())
		if err == nil {
			break
		}
		v.client.Close()
		if time.Now().After(deadline) {
			t.Fatalf("the agent does not serve: %v", err)
		}
	}
	t.Cleanup(v.client.Close)
	return v
}

// end waits for the end of something.
func (v *life) end(c chan error) error {
	v.t.Helper()
	select {
	case err := <-c:
		c <- err
		return err
	case <-time.After(20 * time.Second):
		v.t.Error("it does not end")
		return nil
	}
}

// openStream subscribes to events, or says why not.
func (v *life) openStream() (chan error, error) {
	first, ended := make(chan struct{}, 16), make(chan error, 2)
	go func() {
		ended <- v.client.Events(v.t.Context(), func(api.ReaderEvent) error {
			select {
			case first <- struct{}{}:
			default:
			}
			return nil
		})
	}()
	select {
	case <-first:
		return ended, nil
	case err := <-ended:
		return nil, err
	}
}

// openLease has a back end hold the reader, or says why not.
func (v *life) openLease() (chan error, error) {
	b := &backEnd{hello: wire.Hello{Share: cardbroker.ShareShared}.Append(nil), welcomed: make(chan struct{}), closed: make(chan struct{})}
	ended := make(chan error, 2)
	tunnel := cardend.Tunnel{ID: cardend.TunnelID([]byte(rand.Text()[:16])), Tenant: "issuer", Reader: "R" + rand.Text()}
	go func() { ended <- v.agent.holder.Serve(v.agent.tunnels.Context(), b, tunnel) }()
	select {
	case <-b.welcomed:
		return ended, nil
	case err := <-ended:
		return nil, err
	}
}

// openPrompt asks the user, or says why not.
func (v *life) openPrompt() (chan error, error) {
	ended := make(chan error, 2)
	go func() {
		_, err := v.agent.asker.AskPIN(v.t.Context(), cardend.Question{})
		ended <- err
	}()
	select {
	case <-v.prompt.shown:
		return ended, nil
	case err := <-ended:
		return nil, err
	}
}

func (v *life) openOffer() error {
	var err error
	v.offer, _, err = v.agent.desk.mint(v.t.Context(), offer{tenant: "issuer", name: "R"})
	v.offered = err == nil
	return err
}

// open opens all that can be open.
func (v *life) open() {
	v.t.Helper()
	var errs [4]error
	v.stream, errs[0] = v.openStream()
	v.lease, errs[1] = v.openLease()
	v.asked, errs[2] = v.openPrompt()
	errs[3] = v.openOffer()
	for _, err := range errs {
		if err != nil {
			v.t.Fatal(err)
		}
	}
	v.starts, v.epoch = v.agent.cards.Status().Starts, v.agent.cards.Epoch()
}

// fate says what became of something that was open, or of who wants a new one.
func (v *life) fate(open chan error, again func() (chan error, error), over, reason string, ends bool) string {
	v.t.Helper()
	var words []string
	if open != nil {
		if ends {
			v.end(open)
			words = append(words, over)
		} else {
			select {
			case <-open:
				words = append(words, over)
			default:
				words = append(words, "kept")
			}
		}
	}
	_, err := again()
	switch {
	case err == nil && open == nil:
		words = append(words, "allowed")
	case err != nil && string(cardbroker.ReasonOf(err)) == reason:
		words = append(words, "refused")
	case err != nil:
		words = append(words, err.Error())
	}
	return strings.Join(words, ", ")
}

// observe says what an event has done, in the words of the table. want is what it is to have done: what is to end is waited
// for, what is not is looked at.
func (v *life) observe(want map[string]string, pins int) map[string]string {
	v.t.Helper()
	ends := func(column string) bool {
		return strings.HasPrefix(want[column], "ended") || strings.HasPrefix(want[column], "closed")
	}
	got := map[string]string{"port": "kept", "consents": "kept", "PIN sessions": "kept", "readers": "kept", "recorded": "-"}
	got["event streams"] = v.fate(v.stream, v.openStream, "ended", "forbidden", ends("event streams"))
	got["leases"] = v.fate(v.lease, v.openLease, "ended", "forbidden", ends("leases"))
	got["prompts"] = v.fate(v.asked, v.openPrompt, "closed", "pin_canceled", ends("prompts"))
	got["offers and tickets"] = v.offerFate()
	if len(v.pin) > pins {
		got["PIN sessions"] = "ended"
	}
	if v.agent.cards.Status().Starts > v.starts && v.agent.cards.Epoch() > v.epoch {
		got["readers"] = "listed anew"
	}
	if text, err := os.ReadFile(v.state + "/consents.json"); err != nil || string(text) != consentsKept {
		got["consents"] = "gone"
	}
	select {
	case e := <-v.agent.recorded:
		got["recorded"] = string(e.Name)
	default:
	}
	select {
	case <-v.released:
		got["port"] = "released"
	default:
	}
	return got
}

func (v *life) offerFate() string {
	var words []string
	if v.offered {
		_, err := v.agent.desk.burn(v.t.Context(), v.offer, tunnelWish{id: "1", tenant: "issuer", reader: cardbroker.TicketReader,
			taken: func(string) error { return nil }})
		words = append(words, map[bool]string{true: "kept", false: "ended"}[err == nil])
	}
	had := v.offered
	switch err := v.openOffer(); {
	case err == nil && !had:
		words = append(words, "allowed")
	case cardbroker.ReasonOf(err) == cardbroker.Forbidden:
		words = append(words, "refused")
	case err != nil:
		words = append(words, err.Error())
	}
	return strings.Join(words, ", ")
}

// drop forgets what is open, and what was recorded of it.
func (v *life) drop() {
	v.stream, v.lease, v.asked, v.offered = nil, nil, nil, false
	v.starts, v.epoch = v.agent.cards.Status().Starts, v.agent.cards.Epoch()
	for len(v.agent.recorded) > 0 {
		<-v.agent.recorded
	}
}

// TestSessionEvents has every event of docs/sessions.md happen to an agent, and compares each cell.
func TestSessionEvents(t *testing.T) {
	program := testenv.Sandbox(t, false)
	columns, rows := table(t)
	if len(columns) != 10 || len(rows) != 7 {
		t.Fatalf("docs/sessions.md has %d columns and %d events, want 10 and 7", len(columns), len(rows))
	}
	before := map[string]hostsession.Event{"unlocked": hostsession.Locked, "back": hostsession.Away}
	for event, want := range rows {
		t.Run(event, func(t *testing.T) {
			v := newLife(t, program)
			v.open()
			if first, ok := before[event]; ok {
				v.agent.present.apply(first)
				if event == "back" {
					v.drop()
				}
				v.asked = nil
				for len(v.agent.recorded) > 0 {
					<-v.agent.recorded
				}
			}
			pins := len(v.pin)
			v.agent.present.apply(hostsession.Event(event))
			if event == "ended" {
				v.wantOver(want, pins)
				return
			}
			if event == "back" { // the next who asks waits for the new sandbox
				if readers, err := v.client.Readers(t.Context()); err != nil || len(readers) != 1 {
					t.Errorf("the readers are %v, %v", readers, err)
				}
			}
			got := v.observe(want, pins)
			for _, column := range columns[1:] {
				if got[column] != want[column] {
					t.Errorf("%s: %q, the document says %q", column, got[column], want[column])
				}
			}
		})
	}
}

// wantOver checks the row of a session that is over: the agent has ended in order, and all but its files with it.
func (v *life) wantOver(want map[string]string, pins int) {
	v.t.Helper()
	if err := v.end(v.ended); err != nil {
		v.t.Errorf("Run = %v, want nil", err)
	}
	got := map[string]string{"recorded": "-", "readers": "gone"}
	for column, c := range map[string]chan error{"event streams": v.stream, "leases": v.lease} {
		v.end(c)
		got[column] = "ended"
	}
	got["prompts"] = want["prompts"] // the prompt is a child of a tunnel, which has ended
	if _, err := v.agent.desk.burn(v.t.Context(), v.offer, tunnelWish{tenant: "issuer"}); err != nil {
		got["offers and tickets"] = "ended"
	}
	if v.agent.cards.Snapshot() != nil {
		got["readers"] = "kept"
	}
	select {
	case <-v.released:
		got["port"] = "released"
	default:
	}
	if text, _ := os.ReadFile(v.state + "/consents.json"); string(text) == consentsKept {
		got["consents"] = "kept"
	}
	if len(v.pin) > pins {
		got["PIN sessions"] = "ended"
	}
	for column, cell := range want {
		if got[column] != cell {
			v.t.Errorf("%s: %q, the document says %q", column, got[column], cell)
		}
	}
}

// TestWatchLost has PIN sessions end when nobody would end them any more.
func TestWatchLost(t *testing.T) {
	a := newTestAgent(t, fakeRegistry{})
	var ended []string
	a.present.endPINs = []func(string){func(why string) { ended = append(ended, why) }} // the agent does not run
	a.present.apply(hostsession.Watched)
	if word := a.present.stands.Load().Word(); word != "present" {
		t.Errorf("the user is %s, want present", word)
	}
	a.present.lost()
	if word := a.present.stands.Load().Word(); word != "unknown" || len(ended) != 1 {
		t.Errorf("the user is %s, PIN sessions ended %q; want unknown, and once", word, ended)
	}
}

// quickAsker is a prompt whose user answers while the screen is being locked.
type quickAsker struct{ lock func() }

func (q quickAsker) AskPIN(context.Context, cardend.Question) ([]cardbroker.Secret, error) {
	q.lock()
	return []cardbroker.Secret{cardbroker.NewSecret([]byte("123456"))}, nil
}

// TestPINAtTheLastMoment drops what is entered when the screen is locked already: it may be another who enters it.
func TestPINAtTheLastMoment(t *testing.T) {
	a := newTestAgent(t, fakeRegistry{})
	a.present.endPINs = nil // the agent does not run
	asker := gate.Asker{Asker: quickAsker{lock: func() { a.present.apply(hostsession.Locked) }}, Gate: a.present.prompts}
	pins, err := asker.AskPIN(t.Context(), cardend.Question{})
	if cardbroker.ReasonOf(err) != cardbroker.PINCanceled || pins != nil {
		t.Errorf("AskPIN = %d PINs, %v, want pin_canceled", len(pins), err)
	}
}
