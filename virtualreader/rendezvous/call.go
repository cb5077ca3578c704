// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package rendezvous

import (
	"context"
	"crypto/x509"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

const (
	minToken     = 16 // characters
	maxName      = 253
	helloTimeout = 10 * time.Second
	pingEvery    = 20 * time.Second
	maxSilence   = 70 * time.Second

	// How often a host may say something: it answers what it is asked for, and pings.
	wordsPerSecond = 50
	wordsBurst     = 2 * maxWaiting

	// How often a host is asked for a connection. It cuts off who says more than 50 things a second, 512 at once: what came together on the
	// way is no more than that, either.
	asksPerSecond = 48
	asksBurst     = maxWaiting
)

// caller is who a host has shown to be.
type caller struct {
	name      string // lower case; of who has shown a token, what it says in its hello
	certified bool   // by a certificate for that name, not by the token
}

// authorize admits hosts.
func (r *Rendezvous) authorize(request *http.Request, _ httpserver.Access) error {
	_, err := r.who(request)
	return err
}

// who says which host has sent a request.
func (r *Rendezvous) who(request *http.Request) (caller, error) {
	if r.cfg.CA != nil && request.TLS != nil && len(request.TLS.VerifiedChains) > 0 {
		name := certifiedName(request.TLS.VerifiedChains[0][0])
		if name != "" && (len(r.cfg.Names) == 0 || slices.ContainsFunc(r.cfg.Names, func(n string) bool { return strings.EqualFold(n, name) })) {
			return caller{name: name, certified: true}, nil
		}
		return caller{}, unknown()
	}
	if r.cfg.Token == nil {
		return caller{}, unknown()
	}
	want, err := tokenOf(r.cfg)
	if err != nil { // which says more than a stranger is to know
		r.cfg.Log.Error("no host gets in by the token", "err", err)
		return caller{}, unknown()
	}
	header := request.Header.Values("Authorization")
	if len(header) != 1 {
		return caller{}, unknown()
	}
	token, ok := strings.CutPrefix(header[0], "Bearer ")
	if !ok || !cardbroker.NewSecret([]byte(token)).Matches(want.Hash()) {
		return caller{}, unknown()
	}
	return caller{}, nil
}

func unknown() error {
	return cardbroker.Refusef(cardbroker.Unauthenticated, cardbroker.RuleToken, "the host's certificate or token is missing or unknown")
}

// tokenOf returns the token that hosts show. One that is too short is none: it would let everybody in.
func tokenOf(cfg Config) (cardbroker.Secret, error) {
	token, err := cfg.Token()
	if err == nil && len(token.Reveal()) < minToken {
		err = cardbroker.Errorf(cardbroker.Invalid, "the hosts' token has under %d characters", minToken)
	}
	return token, err
}

// certifiedName is the host that a certificate is for: its first DNS name or, where it has none, its common name.
func certifiedName(leaf *x509.Certificate) string {
	name := leaf.Subject.CommonName
	if len(leaf.DNSNames) > 0 {
		name = leaf.DNSNames[0]
	}
	name, _ = hostName(name)
	return name
}

// hostName returns a name in lower case. It has letters, digits and -._ only: it goes into URLs, and onto terminals.
func hostName(name string) (string, error) {
	odd := func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-._", r))
	}
	if name == "" || len(name) > maxName || strings.ContainsFunc(name, odd) {
		return "", cardbroker.Errorf(cardbroker.Invalid, "a host's name has letters, digits and -._ only, %d at most", maxName)
	}
	return strings.ToLower(name), nil
}

// called takes a host's call.
func (r *Rendezvous) called(w http.ResponseWriter, request *http.Request) error {
	who, err := r.who(request)
	if err != nil {
		return err
	}
	if err := r.calls.Check(request); err != nil {
		return err
	}
	conn, err := r.calls.Upgrade(w, request)
	if err != nil {
		return nil // it has answered
	}
	address := request.RemoteAddr
	r.hosts.Go("call", func(ctx context.Context) error {
		err := r.hold(ctx, conn, who, address)
		conn.Shutdown(err)
		conn.Close()
		return nil
	})
	return nil
}

// hold holds a call until it ends.
func (r *Rendezvous) hold(ctx context.Context, conn *socket.Conn, who caller, address string) error {
	group := run.New(ctx)
	defer group.Stop()
	defer context.AfterFunc(group.Context(), func() {
		conn.Shutdown(context.Cause(group.Context()))
		conn.Close()
	})()
	conn.LimitSilence(maxSilence)
	hello, err := hear(conn)
	if err != nil {
		return err
	}
	if !who.certified {
		if who.name, err = hostName(hello.Host); err != nil {
			return err
		}
	}
	h := &host{
		caller: who,
		send:   func(m api.FromRendezvous) error { return conn.WriteJSON(m) },
		asks:   rate.NewLimiter(asksPerSecond, asksBurst),
		end: func(why error) {
			conn.Shutdown(why)
			conn.Close()
		},
	}
	log := r.cfg.Log.With("host", who.name, "backend", address)
	if err := r.join(ctx, h); err != nil {
		log.Warn("a host's call is refused", "err", err)
		return err
	}
	defer r.leave(h)
	if err := h.send(api.FromRendezvous{Welcome: &api.RendezvousWelcome{}}); err != nil {
		return err
	}
	if err := r.welcome(ctx, h); err != nil {
		return err
	}
	log.Debug("a host has called")
	group.Go("listen", func(ctx context.Context) error { return r.listen(ctx, conn, h) })
	group.Go("ping", func(ctx context.Context) error {
		return run.Every(ctx, pingEvery, func() error { return h.send(api.FromRendezvous{Ping: &api.RendezvousPing{}}) })
	})
	err = group.Wait()
	log.Debug("a host's call has ended", "err", err)
	return err
}

// hear reads the first message of a call.
func hear(conn *socket.Conn) (api.HostHello, error) {
	late := time.AfterFunc(helloTimeout, func() { conn.Close() })
	defer late.Stop()
	var message api.FromHost
	if err := conn.NextJSON(&message); err != nil {
		return api.HostHello{}, err
	}
	if message.Hello == nil {
		return api.HostHello{}, cardbroker.Errorf(cardbroker.Invalid, "a call begins with hello")
	}
	return *message.Hello, nil
}

// listen hears what the host says until the call ends.
func (r *Rendezvous) listen(ctx context.Context, conn *socket.Conn, h *host) error {
	words := rate.NewLimiter(wordsPerSecond, wordsBurst)
	for {
		var message api.FromHost
		err := conn.NextJSON(&message)
		switch {
		case err != nil:
		case !words.Allow():
			err = cardbroker.Errorf(cardbroker.RateLimited, "the host says more than %d things a second", wordsPerSecond)
		case message.Failed != nil:
			err = r.failed(ctx, h, message.Failed.ID, message.Failed.Error.Error())
		case message.Ping != nil:
		default:
			err = cardbroker.Errorf(cardbroker.Invalid, "an empty or unexpected message of the host")
		}
		if err != nil {
			return err
		}
	}
}

// brought takes a connection that a host was asked for.
func (r *Rendezvous) brought(w http.ResponseWriter, request *http.Request) error {
	who, err := r.who(request)
	if err != nil {
		return err
	}
	id := request.PathValue("id")
	if request.Header.Get("Upgrade") != api.ReverseProtocol {
		return cardbroker.Errorf(cardbroker.Invalid, "this address upgrades to %s only", api.ReverseProtocol)
	}
	if err := r.claim(request.Context(), id, who); err != nil {
		return err
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	if err := turn(conn, buffered.Reader.Buffered()); err != nil || r.deliver(request.Context(), id, who, conn) != nil {
		conn.Close()
	}
	return nil
}

// turn answers that from here on this side asks. A host has nothing to say before that.
func turn(conn net.Conn, said int) error {
	if said > 0 {
		return cardbroker.Errorf(cardbroker.Invalid, "a host has said something before it was asked")
	}
	conn.SetDeadline(time.Now().Add(helloTimeout))
	if _, err := conn.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + api.ReverseProtocol + "\r\n\r\n")); err != nil {
		return err
	}
	return conn.SetDeadline(time.Time{})
}
