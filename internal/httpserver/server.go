// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package httpserver is the hardened HTTP server of broker and agent. It decides, before a handler runs, whether the
// request may be served at all: who is calling (by the kernel), through which name, from which web page, how often. The
// steps stand in [Server.ServeHTTP], in their order. It knows neither registry nor cards.
package httpserver

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/run"
)

// Limits of every request.
const (
	MaxBody           = 1 << 20  // bytes
	maxHeader         = 16 << 10 // with the request's line
	readHeader        = 64 << 10 // what is read of a longer one, to answer it in a way that a page can read
	readHeaderTimeout = 5 * time.Second
	requestTimeout    = 10 * time.Second
	answerTimeout     = 2 * time.Minute // who does not read his answer is cut off; pushes have deadlines of their own
	idleTimeout       = time.Minute
	stopTimeout       = 2 * time.Second
)

// Access says who may call a route. The order has no meaning: what each admits is [Config.Authorize]'s to decide.
type Access string

// The accesses.
const (
	Public  Access = "public"  // whoever the kernel can name, from any web page
	Self    Access = "self"    // the user whose agent or session it is
	Own     Access = "own"     // the same, by his programs or our own page; by no other page
	Agent   Access = "agent"   // an agent, for itself: a program, and nothing that looks like a web page
	Admin   Access = "admin"   // an administrator of the host
	Tenant  Access = "tenant"  // a back end, by its credentials
	Service Access = "service" // the host's service, which wants the port of an elected leader: a program, as an agent is
	Key     Access = "key"     // a back end, by its API key, which the handler itself checks: it is all that there is to do
)

// Handler serves one route. An error is answered by the server; nothing may have been written before.
type Handler func(w http.ResponseWriter, r *http.Request) error

// Route is one row of a server's table. Tables are sorted by path, then method.
type Route struct {
	Method string
	Path   string // a http.ServeMux pattern without method
	Access Access
	Handle Handler
	Pushes bool          // the answer goes on and on: an event stream or a WebSocket
	Guest  bool          // part of the page that is a guest, and all that is served by its name
	Limit  time.Duration // of the request, from its arrival to its answer, where it waits for people; 0: 10 s
}

// Config is what a server is made of. Routes, Authorize and Log are required.
type Config struct {
	Routes    []Route
	Authorize func(r *http.Request, access Access) error // decides on the [CallerOf] r
	Consented func(cardbroker.Origin) bool               // says yes to a web page; nil: to none
	PagesOnly bool                                       // programs get public routes alone
	During    func(cardbroker.Origin) context.Context    // ends when that yes does; nil: never
	Page      string                                     // host name of our own page, which nobody can guess; empty: there is none
	Guest     string                                     // the same, of a page that may no more than pages from elsewhere
	Refused   func(Refusal)                              // is told of refusals, of one user ten a second; must not block
	MaxConns  int                                        // of one user at a time; 0: 64
	MaxAll    int                                        // connections of all users, but for Own; 0: any number
	Own       *Share                                     // what one user has, whatever others use up; nil: he is like them
	PerSecond int                                        // requests of one user, in the long run; twice as many at once; 0: 100
	Patience  time.Duration                              // how long what runs may go on when ctx has ended; 0: 2 s
	Epoch     uint64                                     // of who answers, in the header of every answer; 0: there is none
	Take      Take                                       // is given connections before HTTP; nil: HTTP has them all
	Log       *slog.Logger
}

// Share is what one user may have of a server.
type Share struct {
	User      cardbroker.UserID
	Conns     int // at a time
	PerSecond int // requests, in the long run; twice as many at once
}

// Refusal is a request that was not served because of who sent it, or from where.
type Refusal struct {
	Caller Caller
	Err    error
}

// Server checks requests and routes them. Make it with [New].
type Server struct {
	cfg     Config
	mux     *http.ServeMux
	unknown http.Handler // answers that there is no such route
	users   *users
	fault   chan string   // capacity 1: what a handler panicked with
	feed    *feed         // of Accept
	opening chan struct{} // holds one for each connection that has not said what it speaks

	methods string // that a page may ask for
}

// New returns a server that has no listeners yet. A route that is malformed or stands twice panics.
func New(cfg Config) *Server {
	s := &Server{
		cfg:     cfg,
		mux:     http.NewServeMux(),
		users:   newUsers(cfg.MaxConns, cfg.MaxAll, cfg.PerSecond, cfg.Own),
		fault:   make(chan string, 1),
		feed:    newFeed(),
		opening: make(chan struct{}, maxOpening),
		methods: methods(cfg.Routes),
	}
	for _, route := range cfg.Routes {
		s.mux.Handle(route.Method+" "+route.Path, s.route(route))
	}
	s.unknown = s.route(Route{Access: Public, Handle: func(_ http.ResponseWriter, r *http.Request) error {
		return cardbroker.Errorf(cardbroker.NotFound, "there is no %s %s", r.Method, r.URL.Path)
	}})
	s.mux.Handle("/", s.unknown)
	return s
}

// Serve serves the listeners, and those of [Server.Accept], until ctx ends, then finishes what runs, for as long as Config says.
// It closes the listeners. The base of every request's context is ctx. It is called once.
func (s *Server) Serve(ctx context.Context, listeners ...Listener) error {
	group := run.New(ctx)
	group.Go("fault", s.crash)
	group.Go("opened", func(ctx context.Context) error { return s.serveHTTP(ctx, s.feed, nil) })
	for _, listener := range listeners {
		group.Go("serve", func(ctx context.Context) error {
			if listener.opened(s.cfg.Take) {
				return s.Accept(ctx, listener)
			}
			return s.serveHTTP(ctx, &attesting{Listener: listener, server: s}, listener.TLS)
		})
	}
	return group.Wait()
}

func (s *Server) serveHTTP(ctx context.Context, listener net.Listener, config *tls.Config) error {
	server := NewHTTP(s, s.cfg.Log)
	server.TLSConfig = config
	server.ConnContext = connContext
	return serve(ctx, server, listener, cmp.Or(s.cfg.Patience, stopTimeout))
}

// crash ends the process with a handler's panic, which net/http would keep to itself.
func (s *Server) crash(ctx context.Context) error {
	select {
	case fault := <-s.fault:
		panic("BUG: a handler panicked: " + fault)
	case <-ctx.Done():
		return nil
	}
}

// catch is deferred around handlers: it hands a panic to crash, and lets it go on, so that nothing is answered.
func (s *Server) catch() {
	if fault := recover(); fault != nil {
		select {
		case s.fault <- fmt.Sprintf("%v\n\n%s", fault, debug.Stack()):
		default: // another one was first
		}
		panic(fmt.Sprintf("BUG: %v", fault))
	}
}

// NewHTTP returns a http.Server with this package's limits. It speaks HTTP/1.1 only, which WebSockets need.
func NewHTTP(handler http.Handler, log *slog.Logger) *http.Server {
	var http1 http.Protocols
	http1.SetHTTP1(true)
	return &http.Server{
		Protocols:         &http1,
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    readHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),

		DisableGeneralOptionsHandler: true, // it would answer "OPTIONS *" before any check
	}
}

// ServeHTTP checks and serves one request: caller, name, rate, then the route's own checks.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer s.catch()
	w.Header().Set("X-Content-Type-Options", "nosniff")
	s.setEpoch(w.Header())
	SetCORS(w.Header(), r)
	if connOf(r.Context()).refusal != nil {
		w.Header().Set("Connection", "close") // the next request may be for somebody else
	}
	err := s.admit(r)
	switch {
	case err != nil:
		s.fail(w, r, err)
	case r.Method == http.MethodOptions:
		Preflight(w, s.methods)
	case r.RequestURI == "*" || path.Clean(r.URL.Path) != r.URL.Path && path.Clean(r.URL.Path)+"/" != r.URL.Path:
		s.unknown.ServeHTTP(w, r) // the mux would answer with no body, or redirect
	default:
		s.mux.ServeHTTP(w, r)
	}
}

// setEpoch says who answers.
func (s *Server) setEpoch(h http.Header) {
	if s.cfg.Epoch != 0 {
		h.Set(api.EpochHeader, strconv.FormatUint(s.cfg.Epoch, 10))
	}
}

// admit says whether the request may go on to its route. A preflight under our name may in any case: it does nothing, and if
// it failed, the page could not read why.
func (s *Server) admit(r *http.Request) error {
	conn := connOf(r.Context())
	asks := r.Method == http.MethodOptions
	if conn.err != nil && !asks {
		return conn.err
	}
	if err := conn.kind.CheckHost(r.Host, conn.caller); err != nil && !s.ownPage(r) && !s.named(r, s.cfg.Guest) {
		return err
	}
	if err := s.users.allow(conn.place, pageOf(r)); err != nil && !asks {
		return err
	}
	if size := headerSize(r); size > maxHeader {
		return cardbroker.Errorf(cardbroker.TooLarge, "the header is over %d bytes", maxHeader)
	}
	return nil
}

// headerSize is the length of the request's line and header, in bytes.
func headerSize(r *http.Request) int {
	size := len(r.Method) + len(r.RequestURI) + len(r.Host)
	for name, values := range r.Header {
		for _, value := range values {
			size += len(name) + len(value) + len(": \r\n")
		}
	}
	return size
}

// route returns the handler of one row: it reads the whole body first, so that the caller is checked after the last
// byte has arrived and immediately before the action.
func (s *Server) route(route Route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if route.Limit > 0 {
			http.NewResponseController(w).SetReadDeadline(time.Now().Add(route.Limit)) // at which the request's context ends
		}
		err := s.checkGuest(r, route)
		if err == nil {
			err = s.checkBrowser(r, route)
		}
		if err == nil {
			var stop func()
			r, stop = s.during(r, route.Access)
			defer stop()
			var body []byte
			body, err = readBody(w, r)
			defer func() { clear(body) }() // it may hold a PIN or a ticket
		}
		if err == nil {
			err = connOf(r.Context()).refusal
		}
		if err == nil {
			err = s.cfg.Authorize(r, route.Access)
		}
		if err == nil {
			err = StillThere(r.Context())
		}
		if err == nil {
			err = revoked(r.Context())
		}
		if err == nil {
			err = route.Handle(w, r)
		}
		if err != nil {
			if gone := revoked(r.Context()); gone != nil {
				w.Header().Set("Connection", "close")
				err = gone
			}
			s.fail(w, r, err)
		}
	})
}

// readBody replaces r.Body by its content, which it also returns.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	tooLarge := cardbroker.Errorf(cardbroker.TooLarge, "the body is over %d bytes", MaxBody)
	if r.ContentLength > MaxBody {
		return nil, tooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return body, tooLarge
		}
		return body, cardbroker.Wrapf(err, cardbroker.Invalid, "the body ended early")
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return body, nil
}

// fail answers with err, tells of refusals and logs what an administrator must know.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	reason := cardbroker.ReasonOf(err)
	level := slog.LevelDebug
	if reason == cardbroker.Internal {
		level = slog.LevelError
	}
	conn := connOf(r.Context())
	s.cfg.Log.Log(r.Context(), level, "request failed", "method", r.Method, "route", r.URL.Path, "user", conn.place.user.String(),
		"reason", reason, "err", err)
	s.tell(conn.caller, conn.place.user, err)
	if cardbroker.RuleOf(err) == cardbroker.RuleConnectionLimit {
		w.Header().Set("Connection", "close")
	}
	api.WriteError(w, err)
}

// tell tells of a refusal, unless the user has caused too many: telling costs others something.
func (s *Server) tell(caller Caller, user cardbroker.UserID, err error) {
	if s.cfg.Refused != nil && cardbroker.RuleOf(err) != "" && s.users.mayTell(user) {
		s.cfg.Refused(Refusal{Caller: caller, Err: err})
	}
}

// Data answers with v in the envelope of /v3.
func Data(w http.ResponseWriter, v any) error {
	api.WriteJSON(w, http.StatusOK, api.Success{Success: true, Data: v})
	return nil
}

// JSON answers with v itself.
func JSON(w http.ResponseWriter, v any) error {
	api.WriteJSON(w, http.StatusOK, v)
	return nil
}

// OpenAPI serves the document of the REST API.
func OpenAPI(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/yaml")
	w.Write(api.OpenAPI) // an error is the connection's
	return nil
}

// Docs serves the document as a page for people.
func Docs(w http.ResponseWriter, _ *http.Request) error {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", api.DocsPolicy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	w.Write(api.DocsPage) // an error is the connection's
	return nil
}
