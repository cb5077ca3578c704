// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"net/http"
	"os/user"
	"slices"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/broker/coordinator"
	"github.com/cardbroker/cardbroker/broker/registry"
	"github.com/cardbroker/cardbroker/internal/httpserver"
)

// adminGroup is the group whose members may administer the broker.
const adminGroup = "cardbroker-admin"

// maxBindTries is how many ports are tried for one agent before the range counts as exhausted.
const maxBindTries = 64

// localRoutes are what agents and administrators ask on the local socket.
func (b *Broker) localRoutes() []httpserver.Route {
	return []httpserver.Route{
		{Method: "GET", Path: "/local/v1/agents", Access: httpserver.Agent, Handle: b.core.OwnSessions},
		{Method: "GET", Path: "/local/v1/audit", Access: httpserver.Admin, Handle: b.auditStatus},
		{Method: "GET", Path: "/local/v1/doctor", Access: httpserver.Admin, Handle: b.doctor},
		{Method: "GET", Path: "/local/v1/explain", Access: httpserver.Admin, Handle: b.explain},
		{Method: "GET", Path: "/local/v1/forwards/{id}", Access: httpserver.Agent, Handle: b.forwardLeg},
		{Method: "POST", Path: "/local/v1/kick", Access: httpserver.Admin, Handle: b.kick},
		{Method: "GET", Path: "/local/v1/leases", Access: httpserver.Admin, Handle: b.leases},
		{Method: "POST", Path: "/local/v1/leases/{tunnel}/revoke", Access: httpserver.Admin, Handle: b.revokeLease},
		{Method: "GET", Path: "/local/v1/link", Access: httpserver.Agent, Handle: b.core.OpenLink},
		{Method: "POST", Path: "/local/v1/release", Access: httpserver.Agent, Handle: b.core.Release},
		{Method: "POST", Path: "/local/v1/renew", Access: httpserver.Agent, Handle: b.renew},
		{Method: "POST", Path: "/local/v1/reserve", Access: httpserver.Agent, Handle: b.reserve},
		{Method: "GET", Path: "/local/v1/sessions", Access: httpserver.Admin, Handle: b.core.Sessions},
		{Method: "GET", Path: "/local/v1/tokens", Access: httpserver.Admin, Handle: b.apiKeys},
		{Method: "POST", Path: "/local/v1/tokens/enrol", Access: httpserver.Admin, Handle: b.enrol},
		{Method: "POST", Path: "/local/v1/tokens/issue", Access: httpserver.Admin, Handle: b.issueToken},
		{Method: "POST", Path: "/local/v1/tokens/revoke", Access: httpserver.Admin, Handle: b.revoke},
		{Method: "POST", Path: "/local/v1/tokens/rotate", Access: httpserver.Admin, Handle: b.rotate},
		{Method: "GET", Path: "/local/v1/tunnels/{id}", Access: httpserver.Agent, Handle: b.tunnelLeg},
		{Method: "GET", Path: "/metrics", Access: httpserver.Admin, Handle: b.metrics.Serve},
	}
}

// authorizeLocal admits agents for their own user, and administrators.
func (b *Broker) authorizeLocal(r *http.Request, access httpserver.Access) error {
	switch caller := httpserver.CallerOf(r.Context()); access {
	case httpserver.Public, httpserver.Agent:
		return nil
	case httpserver.Admin:
		if caller.User == b.self || caller.User == (cardbroker.UserID{}) || inGroup(caller.User, adminGroup) {
			return nil
		}
	}
	return cardbroker.Refusef(cardbroker.CallerRefused, cardbroker.RuleNotAdmin,
		"only root, the service account and members of the group %s may do this", adminGroup)
}

// inGroup says whether the user is a member of the named group. The uid is the kernel's; the group is the system's.
func inGroup(id cardbroker.UserID, name string) bool {
	group, err := user.LookupGroup(name)
	if err != nil {
		return false
	}
	member, err := user.LookupId(id.String())
	if err != nil {
		return false
	}
	ids, err := member.GroupIds()
	return err == nil && slices.Contains(ids, group.Gid)
}

// reserve promises a port that can be bound, or that the broker has bound for the agent. A port that somebody else has
// bound is skipped.
func (b *Broker) reserve(w http.ResponseWriter, r *http.Request) error {
	claim, body, err := coordinator.Entry(r)
	if err != nil {
		return err
	}
	avoid := body.Avoid
	for range maxBindTries {
		reservation, err := b.registry.Reserve(r.Context(), claim, avoid)
		if err != nil {
			return err
		}
		listen, err := b.prepare(r.Context(), reservation.Port)
		if err == nil {
			return httpserver.JSON(w, api.Reservation{Port: reservation.Port, Deadline: reservation.Deadline, Listen: listen})
		}
		if r.Context().Err() != nil {
			return err
		}
		avoid = append(avoid, reservation.Port)
	}
	return cardbroker.Errorf(cardbroker.PortsExhausted, "the last %d ports tried are all taken by other programs", maxBindTries)
}

// prepare proves that an agent can bind the port, or binds it in its place and returns where.
func (b *Broker) prepare(ctx context.Context, port cardbroker.Port) (listen []string, err error) {
	if b.holds() {
		return b.guard.Hold(ctx, port)
	}
	if err := b.guard.Free(ctx, port); err != nil {
		return nil, err
	}
	_, err = registry.ProvePort(ctx, port)
	return nil, err
}

func (b *Broker) renew(w http.ResponseWriter, r *http.Request) error {
	claim, _, err := coordinator.Entry(r)
	if err != nil {
		return err
	}
	reservation, err := b.registry.Renew(r.Context(), claim)
	if err != nil {
		return err
	}
	return httpserver.JSON(w, api.Reservation{Port: reservation.Port, Deadline: reservation.Deadline})
}

// doctor says what an administrator should know of this broker.
func (b *Broker) doctor(w http.ResponseWriter, _ *http.Request) error {
	return httpserver.JSON(w, api.Diagnosis{Mode: api.ModeService, Checks: b.diagnose()})
}
