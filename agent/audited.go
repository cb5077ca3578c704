// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

// record has the broker's audit log record an event. It waits for nobody; the events of a time without a link are told
// with the next one, and of those that had no room any more it is told how many they were.
func (a *Agent) record(e cardbroker.Event) {
	select {
	case a.recorded <- api.Event{Time: time.Now().UTC(), Event: e}:
	default:
		if a.lostEvents.Add(1) == 1 {
			a.cfg.Log.Warn("events are lost: too many wait to be told to the broker")
		}
	}
}

// tellEvent tells the broker of an event, and of those that were lost until then.
func (a *Agent) tellEvent(conn *socket.Conn, e api.Event) error {
	if err := conn.WriteJSON(api.FromAgent{Event: &e}); err != nil {
		a.lostEvents.Add(1) // it may have arrived: one too many is better than one that nobody knows of
		return err
	}
	n := a.lostEvents.Swap(0)
	if n == 0 {
		return nil
	}
	lost := cardbroker.Event{Name: cardbroker.EventEventsLost, Count: n, Detail: "in the agent"}
	err := conn.WriteJSON(api.FromAgent{Event: &api.Event{Time: time.Now().UTC(), Event: lost}})
	if err != nil {
		a.lostEvents.Add(n)
	}
	return err
}

// tunnelEvent is what the agent knows of a tunnel. reader is empty if it never came to that; err is why it was refused or
// ended.
func tunnelEvent(name cardbroker.EventName, open api.TunnelOpen, reader string, err error) cardbroker.Event {
	e := cardbroker.Event{Name: name, Tenant: open.Tenant, Tunnel: open.ID, Method: open.Method, Address: open.Address, Reader: reader}
	if err != nil {
		said := api.Describe(err)
		e.Reason, e.Rule, e.Detail = said.Reason, said.Rule, said.Description
	}
	return e
}

// commandsRefused records what the firewall refuses a back end.
func (a *Agent) commandsRefused(note cardend.Note) func(cardend.TunnelID, uint64, error) {
	return func(id cardend.TunnelID, count uint64, why error) {
		open := api.TunnelOpen{ID: id.String(), Tenant: note.Tenant, Method: note.Method, Address: note.Backend}
		e := tunnelEvent(cardbroker.EventAPDURefused, open, note.Reader, why)
		e.Count = count
		a.record(e)
	}
}
