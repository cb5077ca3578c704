// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"net/http"
	"slices"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// offer lets a tenant have a reader and answers with the ticket for it.
func (a *Agent) offer(w http.ResponseWriter, r *http.Request) error {
	var wish api.Offer
	if err := httpserver.Decode(r, &wish); err != nil {
		return err
	}
	tenant, err := cardbroker.ParseTenant(wish.Tenant)
	if err != nil {
		return err
	}
	if err := a.mayOffer(r, tenant); err != nil {
		return err
	}
	reader, err := a.readers.Find(r.Context(), wish.Reader)
	if err != nil {
		return err
	}
	id := wish.Reader.ForTenant(a.secret, tenant)
	registered, where, err := a.doorFor(tenant, id)
	if err != nil {
		return err
	}
	if err := httpserver.StillThere(r.Context()); err != nil { // the sandbox may have taken its time
		return err
	}
	secret, expires, err := a.desk.mint(r.Context(), offer{tenant: tenant, name: reader.Name, id: id, origin: originOf(r)})
	if err != nil {
		return err
	}
	a.record(cardbroker.Event{Name: cardbroker.EventOfferMade, Tenant: tenant, Reader: reader.Name, Origin: originOf(r)})
	return httpserver.JSON(w, api.Offered{
		Ticket:  cardbroker.Ticket{Route: registered.Route, Secret: secret}.Reveal(),
		URL:     where,
		Expires: expires.UTC(),
		Reader:  id,
	})
}

// doorFor returns where the tenant's back ends open the tunnel to a reader: at the host's door, else at the rendezvous of
// theirs that the host calls.
func (a *Agent) doorFor(tenant cardbroker.Tenant, id cardbroker.ReaderID) (*api.Registered, string, error) {
	registered := a.registration.Load()
	switch {
	case registered == nil:
		return nil, "", cardbroker.Errorf(cardbroker.Unavailable, "the agent is not registered at the moment; try again")
	case registered.Mode == api.ModeElected:
		return nil, "", cardbroker.Errorf(cardbroker.Unsupported, "no back end reaches this host: its registry is elected among the agents, and offers need the service (cardbroker host run)")
	case registered.BackendURL != "":
		return registered, registered.BackendURL + "/cb/v1/readers/" + string(id) + "/tunnel", nil
	case registered.Dialled[tenant] != "":
		return registered, registered.Dialled[tenant], nil
	case len(registered.Dialled) > 0:
		return nil, "", cardbroker.Errorf(cardbroker.Unavailable, "this host calls no rendezvous of tenant %s", tenant)
	}
	return nil, "", cardbroker.Errorf(cardbroker.Unavailable, "this host has no door for back ends")
}

// originOf returns the web page's origin; empty: a local program asks.
func originOf(r *http.Request) cardbroker.Origin { return cardbroker.Origin(r.Header.Get("Origin")) }

// mayOffer says whether who asks may offer readers to the tenant: a local program of the user always, a web page if
// machine policy counts its origin as the tenant's.
func (a *Agent) mayOffer(r *http.Request, tenant cardbroker.Tenant) error {
	origin := originOf(r)
	if origin == "" || slices.Contains(a.cfg.Policy.Tenant(tenant).Origins, origin) {
		return nil
	}
	return cardbroker.Refusef(cardbroker.TenantDenied, cardbroker.RuleTenantOrigin, "machine policy does not count this page's origin as the tenant's")
}

// offers is what the agent offers and what is held at the moment.
func (a *Agent) offers() api.Offers {
	var offers api.Offers
	for _, o := range *a.desk.view.Load() {
		offers.Offers = appendReader(offers.Offers, api.OfferedReader{Tenant: o.tenant, ID: o.id, Name: o.name})
	}
	for _, o := range a.standing(a.cards.Snapshot()) {
		offers.Offers = appendReader(offers.Offers, api.OfferedReader{Tenant: o.tenant, ID: o.id, Name: o.name, Standing: true})
	}
	leases := a.leases.List()
	for i, row := range offers.Offers {
		offers.Offers[i].Card = api.NewCard(a.cards.Present(row.Name))
		for _, lease := range leases {
			if lease.Reader == row.Name && lease.Tenant == row.Tenant { // of the tenant's own lease only
				offers.Offers[i].Lease = &api.ReaderLease{Tenant: lease.Tenant, Expires: lease.Expires}
			}
		}
	}
	offers.Leases = a.leaseRows()
	offers.Fit(wire.MaxFrame) // those that stand come last
	return offers
}

// appendReader adds a reader to a tenant's list, once however many tickets there are for it, or stands.
func appendReader(rows []api.OfferedReader, row api.OfferedReader) []api.OfferedReader {
	for i, r := range rows {
		if r.ID == row.ID && r.Tenant == row.Tenant {
			rows[i].Standing = r.Standing || row.Standing
			return rows
		}
	}
	return append(rows, row)
}

// standing returns which of the readers machine policy offers for good.
func (a *Agent) standing(readers []cardbroker.Reader) []offer {
	var offers []offer
	for _, tenant := range a.cfg.Policy.Standing() {
		policy := a.cfg.Policy.Tenant(tenant)
		for _, reader := range readers {
			if policy.Stands(reader.Name) {
				id := cardbroker.NewReaderID(a.secret, reader.Name).ForTenant(a.secret, tenant)
				offers = append(offers, offer{tenant: tenant, name: reader.Name, id: id, standing: true})
			}
		}
	}
	return offers
}

// openStanding returns the offer for good that a back end without a ticket asks for. What there is not is refused as a
// ticket is that is not good; a reader that is held is ReaderBusy.
func (a *Agent) openStanding(wish tunnelWish) (offer, error) {
	for _, o := range a.standing(a.cards.Snapshot()) {
		if o.tenant != wish.tenant || o.id != wish.reader {
			continue
		}
		if err := wish.taken(o.name); err != nil {
			return offer{}, err
		}
		return o, nil
	}
	return offer{}, refuseTicket()
}
