// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/broker/metrics"
	"github.com/cardbroker/cardbroker/broker/tenant"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/virtualreader/relay"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// door is how back ends come to the broker: through the port that they connect to, or by a rendezvous that the broker calls.
type door struct {
	*Broker
	tenants authority
}

// authority says which tenant a back end is.
type authority interface {
	Authenticate(r *http.Request) (tenant.Credential, error)
	Burn(ctx context.Context, c tenant.Credential) error
}

// tokenRoutes are what back ends ask at the port beside.
func (b *Broker) tokenRoutes() []httpserver.Route {
	return []httpserver.Route{
		{Method: "GET", Path: "/cb/v1/jwks.json", Access: httpserver.Public, Handle: b.publishedKeys},
		{Method: "POST", Path: "/cb/v1/tokens", Access: httpserver.Key, Handle: b.exchange},
	}
}

// server serves what every back end asks, and more. conns is how many connections one address may have, and perSecond how many requests in
// the long run, twice as many at once.
func (d door) server(conns, perSecond int, more ...httpserver.Route) *httpserver.Server {
	return httpserver.New(httpserver.Config{
		Routes: append([]httpserver.Route{
			{Method: "GET", Path: "/cb/v1/readers", Access: httpserver.Tenant, Handle: d.remoteReaders},
			{Method: "GET", Path: "/cb/v1/readers/events", Access: httpserver.Tenant, Handle: d.readerEvents},
			{Method: "GET", Path: "/cb/v1/readers/{id}/tunnel", Access: httpserver.Tenant, Handle: d.openTunnel},
		}, more...),
		Authorize: d.authorize,
		Refused:   d.refused,
		MaxConns:  conns,
		PerSecond: perSecond,
		Log:       d.cfg.Log,
	})
}

// authorize admits whoever can show that he is a tenant.
func (d door) authorize(r *http.Request, access httpserver.Access) error {
	if access == httpserver.Public || access == httpserver.Key {
		return nil
	}
	asked := time.Now()
	_, err := d.tenants.Authenticate(r)
	return tenant.RefuseLate(r.Context(), asked, err)
}

// backendURL is where tickets send back ends to; empty where there is no port for them.
func (b *Broker) backendURL() string {
	if b.cfg.Backend == nil {
		return ""
	}
	return b.cfg.Backend.URL
}

// remoteReaders lists what is offered to the tenant now. It burns no ticket.
func (d door) remoteReaders(w http.ResponseWriter, r *http.Request) error {
	who, err := d.tenants.Authenticate(r)
	if err != nil {
		return err
	}
	return httpserver.JSON(w, api.RemoteReaders{Readers: d.offeredTo(who.Tenant)})
}

// offeredTo returns the readers that the tenant may know of, sorted by host, session and name.
func (b *Broker) offeredTo(tenant cardbroker.Tenant) []api.RemoteReader {
	readers := []api.RemoteReader{}
	for _, link := range b.board.View() {
		for _, offer := range link.Offers {
			if offer.Tenant == tenant {
				readers = append(readers, api.RemoteReader{
					ID:      offer.ID,
					Name:    offer.Name,
					Host:    b.cfg.HostName,
					Session: link.Agent.Key.Session,
					Card:    offer.Card,
					Lease:   offer.Lease,
				})
			}
		}
	}
	sortReaders(readers)
	return readers
}

// openTunnel joins a back end to the agent that its ticket names, or that has the reader which is offered for good. The
// agent decides; only when it has brought its leg is the back end's request answered.
func (d door) openTunnel(w http.ResponseWriter, r *http.Request) error {
	asked := time.Now()
	who, err := d.tenants.Authenticate(r)
	if err != nil {
		return err
	}
	if err := d.tunnels.Check(r); err != nil {
		return err
	}
	if !resumes(r.Header.Get("Cardbroker-Ticket")) { // a lease that was opened with a token goes on with it, too, as long as the token lives
		if err := d.tenants.Burn(r.Context(), who); err != nil {
			return err
		}
	}
	open := api.TunnelOpen{
		ID:         newTunnelID(),
		Tenant:     who.Tenant,
		Method:     string(who.Method),
		Credential: who.ID,
		Address:    r.RemoteAddr,
		Reader:     cardbroker.ReaderID(r.PathValue("id")),
		Ticket:     r.Header.Get("Cardbroker-Ticket"),
	}
	route, agent, err := d.askLeg(r.Context(), open)
	if err != nil {
		d.metrics.TunnelRefused(open.Tenant, err)
		return tenant.RefuseLate(r.Context(), asked, err)
	}
	backend, err := d.tunnels.Upgrade(w, r)
	if err != nil {
		agent.Close()
		return nil // it has answered
	}
	backend.LimitSilence(wire.MaxSilence) // never the agent's leg: a holder is silent while its card works
	d.splice(open, d.metrics.Open(open, route, backend), agent)
	return nil
}

// askLeg finds the agent that a tunnel leads to and returns its route and its leg.
func (b *Broker) askLeg(ctx context.Context, open api.TunnelOpen) (route cardbroker.Route, agent leg, err error) {
	if open.Ticket == "" {
		if route, err = b.standingRoute(open.Tenant, open.Reader); err == nil {
			agent, err = b.board.open(ctx, route, open, refuseTicket())
		}
		return route, agent, err
	}
	ticket, err := cardbroker.ParseTicket(open.Ticket)
	if err != nil {
		return "", nil, refuseTicket()
	}
	absent := refuseTicket()
	if ticket.Resume { // the agent, or its link, may be on its way back; and the next agent of the session knows the lease
		absent = cardbroker.Errorf(cardbroker.AgentRestarting, "the agent is not there at the moment; try again")
	}
	agent, err = b.board.open(ctx, ticket.Route, open, absent)
	return ticket.Route, agent, err
}

// standingRoute finds the agent that offers the reader to the tenant for good. Two sessions of one user may offer readers
// of the same id: then nobody guesses.
func (b *Broker) standingRoute(tenant cardbroker.Tenant, reader cardbroker.ReaderID) (cardbroker.Route, error) {
	var routes []cardbroker.Route
	for _, link := range b.board.View() {
		for _, offer := range link.Offers {
			if offer.Standing && offer.Tenant == tenant && offer.ID == reader {
				routes = append(routes, link.Agent.Route)
			}
		}
	}
	switch len(routes) {
	case 0:
		return "", refuseTicket()
	case 1:
		return routes[0], nil
	}
	return "", cardbroker.Errorf(cardbroker.SessionAmbiguous, "%d sessions of one user offer this reader", len(routes))
}

// splice passes the frames of a tunnel on, in a goroutine of its own, until either leg ends.
func (b *Broker) splice(open api.TunnelOpen, backend *metrics.Tunnel, agent leg) {
	log := b.cfg.Log.With("tunnel", open.ID, "tenant", open.Tenant, "method", open.Method, "backend", open.Address)
	b.core.Go("tunnel", func(ctx context.Context) error {
		defer backend.Ended()
		ctx, cut := context.WithCancelCause(ctx)
		defer cut(nil)
		ticket, _ := cardbroker.ParseTicket(open.Ticket) // a standing offer has none
		defer b.board.beginSplice(open.ID, &spliced{route: ticket.Route, tenant: open.Tenant, cut: cut, ended: make(chan struct{})})()
		log.Info("tunnel opened")
		b.record(nil, tunnelEvent(openedEvent(open), open))
		forth, back, err := relay.Splice(ctx, backend, agent)
		ended := tunnelEvent(cardbroker.EventTunnelEnded, open)
		ended.Detail = fmt.Sprintf("%d frames, %d bytes", forth.Frames+back.Frames, forth.Bytes+back.Bytes)
		b.record(nil, ended)
		log.Info("tunnel ended", "frames", forth.Frames+back.Frames, "bytes", forth.Bytes+back.Bytes, "err", err)
		return nil
	})
}

// openedEvent tells a tunnel from the next connection of one.
func openedEvent(open api.TunnelOpen) cardbroker.EventName {
	if resumes(open.Ticket) {
		return cardbroker.EventTunnelResumed
	}
	return cardbroker.EventTunnelOpened
}

// resumes says whether a ticket is a resume token.
func resumes(text string) bool {
	ticket, err := cardbroker.ParseTicket(text)
	return err == nil && ticket.Resume
}

// tunnelEvent is what the broker knows of a tunnel: the back end that it let in. The agent tells of the reader.
func tunnelEvent(name cardbroker.EventName, open api.TunnelOpen) cardbroker.Event {
	return cardbroker.Event{Name: name, Tenant: open.Tenant, Tunnel: open.ID, Method: open.Method, Address: open.Address}
}

const tunnelIDSize = 16

// newTunnelID returns 32 hexadecimal digits that nobody can guess: the tunnel's name in the logs of both sides, and how the
// agent's leg finds the back end's.
func newTunnelID() string {
	var raw [tunnelIDSize]byte
	rand.Read(raw[:])
	return hex.EncodeToString(raw[:])
}
