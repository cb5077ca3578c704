// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/peer"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

// afterService is how long after the end of a service nobody stands for election: it may only be restarting.
const afterService = 10 * time.Second

// ElectedConfig is what an [Elected] is made of.
type ElectedConfig struct {
	Service      *Broker           // wins over whoever was elected
	Port         cardbroker.Port   // where whoever is elected listens
	Ports        cardbroker.Ports  // for agents
	AnyUser      bool              // an agent of another user may be elected, too
	AfterService bool              // stand for election although there was a service
	Secret       cardbroker.Secret // of the agent: its port is found by it
	Store        string            // path: who is elected of our own user has locked it
	// Seek calls dial until somebody is there, and takes office itself where nobody is, but not before the given time.
	Seek func(ctx context.Context, notBefore time.Time, dial func(context.Context) error) error
	Log  *slog.Logger
}

// Elected asks the registry of a host that has a service or, where none is, one that the agents elect. It is used by one
// goroutine at a time, but for the legs. Make it with [NewElected], and close it.
type Elected struct {
	cfg    ElectedConfig
	kernel *peer.Kernel
	links  *socket.Maker
	limit  time.Duration // for the first answer of whoever is elected

	mode   string            // of the last link: service, elected or none; empty: there was none yet
	leader cardbroker.UserID // of the last link, if its mode is elected
	seen   time.Time         // when a service was there last; zero: never
	left   bool              // a service was there before us: it has left its socket behind
}

// NewElected returns a client that has not connected yet.
func NewElected(cfg ElectedConfig) *Elected {
	return &Elected{cfg: cfg, kernel: peer.NewKernel(), links: socket.NewMaker(api.LinkProtocol), limit: answerTimeout}
}

// Close gives the client's resources back.
func (e *Elected) Close() { e.kernel.Close() }

// Reserve asks the service for a port. Without one it proposes a port, which is the caller's once it is bound: the first that is not to
// be avoided, from a place on that is the same for the session each time. Errors: as the service's; Unavailable if policy has agents
// wait for one; PortsExhausted.
func (e *Elected) Reserve(ctx context.Context, claim api.Claim) (api.Reservation, error) {
	there, err := e.service(ctx)
	switch {
	case err != nil:
		return api.Reservation{}, err
	case there:
		return e.cfg.Service.Reserve(ctx, claim)
	}
	if err := e.mayStand(); err != nil {
		return api.Reservation{}, err
	}
	mac := hmac.New(sha256.New, e.cfg.Secret.Reveal())
	mac.Write([]byte("port\x00" + string(claim.Session)))
	ports := e.cfg.Ports
	start := binary.BigEndian.Uint64(mac.Sum(nil)) % uint64(len(ports))
	for i := range ports {
		port := ports[(start+uint64(i))%uint64(len(ports))]
		if port != e.cfg.Port && !slices.Contains(claim.Avoid, port) {
			return api.Reservation{Port: port}, nil
		}
	}
	return api.Reservation{}, cardbroker.Errorf(cardbroker.PortsExhausted, "none of the %d ports is left to try", len(ports))
}

// Release gives the session's port back, where the last link led: else who ends would be waited for. A claim is worth nothing to
// another user, so whoever is elected need not be asked twice who he is.
func (e *Elected) Release(ctx context.Context, claim api.Claim) error {
	switch e.mode {
	case api.ModeService:
		return e.cfg.Service.Release(ctx, claim)
	case api.ModeElected:
		if _, err := e.listener(); err != nil {
			return err
		}
		_, err := askStranger[struct{}](ctx, "POST", e.cfg.Port, "/local/v1/release", claim)
		return err
	}
	return nil
}

// Link opens the agent's link: to the service, else to whoever is elected, which may become we. It says nothing to whoever listens at the
// well-known port before the kernel has said who that is. Errors: Unavailable while there is a service that does not answer, or policy has
// agents wait for one; CallerRefused if another user's program is in the place of the registry; Timeout if the registry hangs; what
// the registry says.
func (e *Elected) Link(ctx context.Context) (conn *socket.Conn, err error) {
	if e.mode == api.ModeService {
		e.seen = time.Now() // until a moment ago
	}
	dial := func(ctx context.Context) error {
		conn, err = e.dial(ctx)
		return err
	}
	failed := nobody(nil, e.cfg.Port) // the end of who was elected has brought us here: when to dial is the election's matter
	if e.mode != api.ModeElected || e.mayStand() != nil {
		failed = dial(ctx)
	}
	if cardbroker.ReasonOf(failed) == cardbroker.Unavailable {
		failed = e.seek(ctx, dial)
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case failed != nil:
		e.turn(api.ModeNone, cardbroker.UserID{}, failed)
		return nil, failed
	}
	return conn, nil
}

// seek has the election go on until somebody is there.
func (e *Elected) seek(ctx context.Context, dial func(context.Context) error) error {
	if err := e.mayStand(); err != nil {
		return err
	}
	if e.mode == api.ModeService {
		e.turn(api.ModeNone, cardbroker.UserID{}, cardbroker.Errorf(cardbroker.Unavailable,
			"the service at %s has gone; unless it is back, an agent is elected after %v", e.cfg.Service.cfg.Socket, afterService))
	}
	var notBefore time.Time
	if !e.seen.IsZero() {
		notBefore = e.seen.Add(afterService)
	}
	return e.cfg.Seek(ctx, notBefore, dial)
}

// dial opens a link to the service, else to whoever is elected already.
func (e *Elected) dial(ctx context.Context) (*socket.Conn, error) {
	there, err := e.service(ctx)
	switch {
	case err != nil:
		return nil, err
	case there:
		conn, err := e.cfg.Service.Link(ctx)
		if err == nil {
			e.turn(api.ModeService, cardbroker.UserID{}, nil)
		}
		return conn, err
	}
	return e.dialLeader(ctx)
}

// TunnelLeg brings the agent's leg of a tunnel that the service asked for.
func (e *Elected) TunnelLeg(ctx context.Context, id string) (*socket.Conn, error) {
	return e.cfg.Service.TunnelLeg(ctx, id)
}

// ForwardLeg fetches a connection that the service has accepted for the agent.
func (e *Elected) ForwardLeg(ctx context.Context, id string) (net.Conn, error) {
	return e.cfg.Service.ForwardLeg(ctx, id)
}

// Leader returns who was elected, if the last link leads to him, and not to a service. It is for who opened the link.
func (e *Elected) Leader() (user cardbroker.UserID, elected bool) {
	return e.leader, e.mode == api.ModeElected
}

// service says whether a service is there: whether somebody accepts connections at its socket whom we trust with that. What keeps us
// from knowing is an error: then there may be one.
func (e *Elected) service(ctx context.Context) (there bool, err error) {
	conn, err := e.cfg.Service.dial(ctx)
	switch {
	case err == nil:
		conn.Close()
		e.seen = time.Now()
		return true, nil
	case errors.Is(err, syscall.ECONNREFUSED): // it was killed
		e.left = true
		return false, nil
	case errors.Is(err, syscall.ENOENT), errors.Is(err, os.ErrNotExist):
		return false, nil
	}
	return false, err
}

// mayStand refuses where a service has been and machine policy wants no other registry. Errors: Unavailable.
func (e *Elected) mayStand() error {
	if e.cfg.AfterService || e.seen.IsZero() && !e.left {
		return nil
	}
	return cardbroker.Errorf(cardbroker.Unavailable,
		"the service that was at %s does not answer, and machine policy (election.after_service: deny) has agents wait for it; have it started again", e.cfg.Service.cfg.Socket)
}

// turn notes what the link leads to, and logs it where that is another kind of registry than before, or another user's.
func (e *Elected) turn(mode string, leader cardbroker.UserID, why error) {
	same := mode == e.mode && leader == e.leader
	if e.mode, e.leader = mode, leader; same {
		return
	}
	switch mode {
	case api.ModeService:
		e.cfg.Log.Info("the registry is the host's service: it answers at its socket")
	case api.ModeElected:
		e.cfg.Log.Info("the registry is elected: no service answers at its socket", "port", e.cfg.Port, "user", e.leader.String())
	default:
		e.cfg.Log.Warn("there is no registry", "reason", cardbroker.ReasonOf(why), "err", why)
	}
}
