// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package agent is the program of one session: it gets a port from the broker, serves the session's readers to the
// session's own programs and pages, offers readers to back ends, and holds the user's end of every tunnel. It checks
// every caller itself, by the kernel, and trusts the broker with nothing: tickets, leases and cards are here.
//
// It never loads a card library: the sandbox does (agent/cards).
package agent

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/cache"
	"github.com/cardbroker/cardbroker/agent/cards"
	"github.com/cardbroker/cardbroker/agent/catalogue"
	"github.com/cardbroker/cardbroker/agent/consent"
	"github.com/cardbroker/cardbroker/agent/demo"
	"github.com/cardbroker/cardbroker/agent/devicekey"
	"github.com/cardbroker/cardbroker/agent/gate"
	"github.com/cardbroker/cardbroker/agent/home"
	"github.com/cardbroker/cardbroker/agent/notice"
	"github.com/cardbroker/cardbroker/agent/pagejwt"
	"github.com/cardbroker/cardbroker/agent/pin"
	"github.com/cardbroker/cardbroker/agent/pki"
	"github.com/cardbroker/cardbroker/agent/prompt"
	"github.com/cardbroker/cardbroker/agent/readers"
	"github.com/cardbroker/cardbroker/agent/remoteloading"
	"github.com/cardbroker/cardbroker/agent/sharing"
	"github.com/cardbroker/cardbroker/agent/tokens"
	"github.com/cardbroker/cardbroker/agent/trust"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/hostsession"
	"github.com/cardbroker/cardbroker/internal/peer"
	"github.com/cardbroker/cardbroker/internal/processors"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/internal/token"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

// Config is what an agent is made of.
type Config struct {
	Session cardbroker.SessionID // the agent's name for it
	OS      hostsession.Session  // that is watched
	State   string               // the state directory
	Socket  string               // of the broker, for the note
	Sandbox cards.Config
	Policy  config.Policy
	PCSC    sharing.PCSC
	Lists   []string // of ATRs, internal/atrlist: the first file that is there says what cards are
	Version string
	Ready   func(home.Note) // is called once, when the agent is registered for the first time; must not block
	Log     *slog.Logger
	Few     *processors.Few // the process's; nil: it has processors enough

	PerSecond int // requests of the user that are answered, in the long run; twice as many at once; 0: 1,000

	Election Election        // that the agent stands for; nil: none
	Elects   cardbroker.Port // where whoever is elected listens, for the note
}

// Election is the agent's part in the election of a registry; package election and client.Elected have it.
type Election interface {
	Leader() (user cardbroker.UserID, elected bool) // whom the last link leads to, if he was elected
	Appoint(voters []api.Voter)
	Self() api.Voter
	Changed() <-chan struct{} // delivers when Self is another
}

// cardModules are the modules that may find the cards of the session's readers: software readers are none of PC/SC.
func (c *Config) cardModules() []config.Module {
	if c.PCSC.Socket == "" {
		return nil
	}
	return c.Policy.Modules()
}

// registry is what the agent needs of the broker; client.Broker and client.Elected have it.
type registry interface {
	Reserve(ctx context.Context, claim api.Claim) (api.Reservation, error)
	Release(ctx context.Context, claim api.Claim) error
	Link(ctx context.Context) (*socket.Conn, error)
	legs
}

// legs fetches what the broker has asked for on the link.
type legs interface {
	TunnelLeg(ctx context.Context, id string) (*socket.Conn, error)
	ForwardLeg(ctx context.Context, id string) (net.Conn, error)
}

// Agent is one session's agent. Make it with [New].
type Agent struct {
	cfg     Config
	broker  registry
	home    home.Home
	waits   *home.Waiting // owned by enrol
	secret  cardbroker.Secret
	self    cardbroker.UserID
	kernel  *peer.Kernel
	cards   *cards.Sandbox
	tokens  *tokens.Tokens
	reach   sharing.Supervisors // of all that reaches cards
	leases  *cardend.Leases
	holder  *cardend.Holder
	asker   cardend.Asker // nil: there is no way to ask
	desk    *desk
	page    string // host name of our own page, made up for this agent's life
	demo    demo.Page
	names   *catalogue.Catalogue
	readers *readers.List
	present *presence
	keys    *devicekey.Keys
	pins    *pin.Keeper
	kept    *cache.Cache             // certificates of cards
	lists   chan []token.Certificate // that were read, for the desktop; bounded
	pki     *pki.PKI
	entries *notice.Entries
	remote  *remoteloading.Loader
	tunnels *run.Group
	ready   sync.Once
	resumed sync.Once // restoreLeases

	consents *consent.Book
	pages    *pagejwt.Judge

	epochs       trust.Epochs                   // owned by enrol
	voter        api.Voter                      // that the registry was told of; owned by the link
	registration atomic.Pointer[api.Registered] // nil: there is none at the moment
	refusals     chan api.CallerRefused         // for the broker; bounded
	recorded     chan api.Event                 // for the broker's audit log; bounded
	measured     chan api.Usage                 // of tunnels, for the broker's metrics; bounded
	lostEvents   atomic.Uint64                  // had no room in recorded, and the broker does not know of it yet
}

// How much may wait to be told to the broker, and to the user.
const (
	maxRefusals = 64
	maxEvents   = 256
	maxUsages   = 64
	maxLists    = 4
)

// New returns an agent that has not started. It makes its state directory where that is missing.
func New(cfg Config, broker registry) (*Agent, error) {
	folder, err := home.Open(cfg.State)
	if err != nil {
		return nil, err
	}
	secret, err := folder.Secret()
	if err != nil {
		return nil, err
	}
	a := &Agent{
		cfg:    cfg,
		broker: broker,
		home:   folder,
		secret: secret,
		self:   peer.Self(),
		kernel: peer.NewKernel(),
		leases: cardend.NewLeases(),
		desk:   newDesk(),
		page:   strings.ToLower(rand.Text()) + ".localhost",
		demo:   demo.New(!cfg.Policy.NoDemo),
		names:  catalogue.New(cfg.Lists, cfg.Log),
		keys:   devicekey.New(cfg.Few),

		entries: notice.NewEntries(),

		refusals: make(chan api.CallerRefused, maxRefusals),
		recorded: make(chan api.Event, maxEvents),
		measured: make(chan api.Usage, maxUsages),
		lists:    make(chan []token.Certificate, maxLists),
	}
	cfg.Sandbox.Holder, cfg.Sandbox.Release = a.holding, func() error { return a.tokens.Release() }
	cfg.Sandbox.Hidden = cfg.Policy.Excludes
	a.cards = cards.New(cfg.Sandbox)
	a.tokens = tokens.New(tokens.Config{
		Program: cfg.Sandbox.Program, Modules: cfg.Policy.Modules(), PCSC: cfg.PCSC.Socket, Lend: a.cards.LendSlot, Hidden: cfg.Policy.Excludes, Log: cfg.Sandbox.Log,
	})
	a.reach = sharing.Supervisors{a.cards, a.tokens}
	a.readers = readers.New(readers.Config{Cards: a.cards, Names: a.names, Secret: secret, Modules: cfg.cardModules()})
	a.pages = pagejwt.New(cfg.Policy, cfg.Log)
	a.holder = cardend.New(opener{a.cards}, a.leases)
	if journals, err := folder.Journals(cfg.Session); err == nil {
		a.holder.Keep(journals)
	} else {
		cfg.Log.Warn("leases end with this agent: their journals have no place", "err", err)
	}
	a.present = newPresence(a)
	a.consents = a.newConsents()
	ask := cfg.Policy.Prompt
	if shown := prompt.New(prompt.Config{Command: ask.Command, Timeout: ask.Timeout, Log: cfg.Log}); shown != nil {
		a.asker = gate.Asker{Asker: shown, Gate: a.present.prompts}
	}
	a.pins = pin.New(a.pinConfig())
	a.remote = remoteloading.New(a.remoteConfig())
	a.kept = cache.New(cache.Config{
		Dir: folder.Dir(), Host: cache.HostID(), User: a.self, Secret: secret, Policy: cfg.Policy.Cache, Seen: a.wasRead, Log: cfg.Log,
	})
	a.pki = pki.New(a.pkiConfig())
	a.present.endPINs = append(a.present.endPINs, a.pins.EndAll, a.remote.EndAll)
	return a, nil
}

// Run enrols and serves until ctx or the session ends, or until the broker says that another agent of this session lives
// (Conflict) or that an administrator has ended this one (Forbidden).
// It stops in the reverse of the order in which it starts.
func (a *Agent) Run(ctx context.Context) error {
	ctx, a.present.leave = context.WithCancel(ctx)
	defer a.present.leave()
	defer a.kernel.Close()
	defer a.home.TakeNote(a.cfg.Session, os.Getpid())
	owners := run.New(context.WithoutCancel(ctx))
	owners.Go("cards", a.cards.Run)
	owners.Go("tokens", a.tokens.Run)
	a.reach.Await(a.cfg.PCSC)
	owners.Go("leases", a.leases.Run)
	owners.Go("desk", a.desk.Run)
	owners.Go("pins", a.pins.Run)
	owners.Go("remote loading", a.remote.Run)
	owners.Go("catalogue", a.names.Run)
	owners.Go("certificates", a.kept.Run)
	owners.Go("consents", a.consents.Run)
	owners.Go("withdraw", a.withdraw)
	owners.Go("notices", a.notices)
	a.tunnels = run.New(owners.Context())
	serving := run.New(owners.Context())
	serving.Go("enrol", a.enrol)
	serving.Go("presence", a.present.run)
	stop := context.AfterFunc(ctx, func() { serving.Stop() })
	defer stop()
	err := serving.Wait()
	a.tunnels.Stop()
	if failed := owners.Stop(); err == nil {
		err = failed
	}
	return err
}

// opener lets tunnels open cards in the sandbox.
type opener struct{ *cards.Sandbox }

var _ cardend.Cards = opener{}

// Open connects to the card in the reader of that name.
func (o opener) Open(ctx context.Context, reader string, share cardbroker.ShareMode) (cardend.Card, error) {
	card, err := o.Sandbox.Open(ctx, reader, share)
	if err != nil {
		return nil, err
	}
	return card, nil
}
