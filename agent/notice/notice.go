// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package notice tells a user on his desktop that a back end holds a reader of his, since when, and that it does not any
// more, with a button that ends it; that he is to enter a PIN at a reader; and that a certificate on his card is in its last
// days. It speaks to the desktop's notification service over the session's message bus
// (Desktop Notifications Specification 1.2). Where there is none, nothing is said; leases do not depend on it.
package notice

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode"

	"golang.org/x/time/rate"

	"github.com/cardbroker/cardbroker/internal/token"
)

// Lease is what a user is told of a back end's lease. All of it may be shown; the rest of what a back end says is not.
type Lease struct {
	Tunnel  string // names it; not shown
	Tenant  string
	Address string // the back end's
	Reader  string // its name
	Since   time.Time
}

// Config is what a notifier is made of.
type Config struct {
	Bus     string                     // the bus's address; empty: the session's own, as the environment says
	Leases  func() []Lease             // that there are now
	Changed <-chan struct{}            // signals that Leases may return others
	End     func(tunnel string)        // the user wants that lease to end; must not block
	Read    <-chan []token.Certificate // lists that were read from cards; nil: none are
	Entries *Entries                   // of PINs, at readers; nil: none
	Log     *slog.Logger
}

// How often the desktop is told of a new lease: a tenant with tickets enough could else fill it. `agent status` has them all.
const (
	noticeEvery = 10 * time.Second
	noticeBurst = 6
)

// busLimit is how long the desktop may take for one notice.
const busLimit = 2 * time.Second

// text is one notice. Nothing in it is markup.
type text struct {
	summary, body string
	ends          string // the lease that its button ends; empty: it has none
}

// desktop is a connection to the notification service.
type desktop interface {
	// show shows a text in place of the one with that number, 0: a new one, and returns its number. Where there are no buttons it
	// says how to end the lease otherwise. An empty text takes the notice away.
	show(ctx context.Context, number uint32, t text) (uint32, error)
	// pressed delivers the number of a notice whose button was pressed.
	pressed() <-chan uint32
	// lost is closed when the connection has ended.
	lost() <-chan struct{}
	// close takes the notices away, and ends the connection.
	close(numbers []uint32)
}

// Notifier tells the user of leases. Make it with [New].
type Notifier struct {
	cfg   Config
	rate  *rate.Limiter
	on    desktop                // nil: there is no connection
	shown map[string]shown       // by tunnel, or key of an entry
	told  map[certificate]string // the day on which he was told that it ends soon
	quiet bool                   // it was logged that there is no desktop
}

// shown is something that the user was told of.
type shown struct {
	over   text   // what is said when it has ended
	number uint32 // of the notice; 0: there is none
}

// New returns a notifier that has told nothing.
func New(cfg Config) *Notifier {
	return &Notifier{cfg: cfg, rate: rate.NewLimiter(rate.Every(noticeEvery), noticeBurst), shown: map[string]shown{}, told: map[certificate]string{}}
}

// Run tells the user of leases and certificates until ctx ends; what the desktop shows then goes. It is called once.
func (n *Notifier) Run(ctx context.Context) error {
	defer n.end()
	for {
		n.update(ctx)
		var pressed <-chan uint32
		var lost <-chan struct{}
		if n.on != nil {
			pressed, lost = n.on.pressed(), n.on.lost()
		}
		select {
		case <-n.cfg.Changed:
		case list := <-n.cfg.Read:
			n.expiring(ctx, list)
		case <-n.cfg.Entries.signal():
		case number := <-pressed:
			n.press(number)
		case <-lost:
			n.forget()
		case <-ctx.Done():
			return nil
		}
	}
}

// update tells of the leases that have begun, and of those that have ended, since the last one.
func (n *Notifier) update(ctx context.Context) {
	now := map[string]bool{}
	for _, l := range n.cfg.Leases() {
		now[l.Tunnel] = true
		n.tell(ctx, l.Tunnel, begun(l), over(l))
	}
	for _, e := range n.cfg.Entries.list() {
		now[e.key] = true
		n.tell(ctx, e.key, entering(e), text{})
	}
	for key, s := range n.shown {
		if !now[key] {
			delete(n.shown, key)
			if s.number != 0 {
				n.show(ctx, s.number, s.over)
			}
		}
	}
}

// tell tells the user of something once.
func (n *Notifier) tell(ctx context.Context, key string, begun, over text) {
	if _, told := n.shown[key]; told {
		return
	}
	s := shown{over: over}
	if n.connect(ctx) && n.rate.Allow() {
		s.number = n.show(ctx, 0, begun)
	}
	n.shown[key] = s
}

// show shows a text; 0: that did not work, and the connection is given up.
func (n *Notifier) show(ctx context.Context, number uint32, t text) uint32 {
	if n.on == nil {
		return 0
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), busLimit) // else we would not know its number
	defer cancel()
	number, err := n.on.show(limited, number, t)
	if err != nil {
		n.cfg.Log.Debug("the desktop shows no notice", "err", err)
		n.forget()
		return 0
	}
	return number
}

// connect makes sure that there is a connection, if there can be one.
func (n *Notifier) connect(ctx context.Context) bool {
	if n.on != nil {
		return true
	}
	limited, cancel := context.WithTimeout(ctx, busLimit)
	defer cancel()
	on, err := dial(limited, n.cfg.Bus)
	if err != nil {
		if !n.quiet {
			n.cfg.Log.Debug("there is no desktop to show notices on", "err", err)
		}
		n.quiet = true
		return false
	}
	n.on = on
	return true
}

// press ends the lease whose notice's button was pressed.
func (n *Notifier) press(number uint32) {
	for tunnel, s := range n.shown {
		if s.number == number && number != 0 {
			n.cfg.End(tunnel)
		}
	}
}

// forget gives a connection up. The notices are the desktop's from then on.
func (n *Notifier) forget() {
	n.on.close(nil)
	n.on = nil
	for tunnel, s := range n.shown {
		s.number = 0
		n.shown[tunnel] = s
	}
}

// end takes the notices away: whoever holds a reader now, nobody could end it by them.
func (n *Notifier) end() {
	if n.on == nil {
		return
	}
	var numbers []uint32
	for _, s := range n.shown {
		if s.number != 0 {
			numbers = append(numbers, s.number)
		}
	}
	n.on.close(numbers)
}

func begun(l Lease) text {
	t := text{summary: "A service uses your card reader", ends: l.Tunnel}
	t.body = fmt.Sprintf("%s, at %s, holds %s since %s. End it if you have not started something with that service.",
		clean(l.Tenant), clean(l.Address), clean(l.Reader), l.Since.Local().Format("15:04"))
	return t
}

func over(l Lease) text {
	return text{summary: "Your card reader is free again", body: fmt.Sprintf("%s does not hold %s any more.", clean(l.Tenant), clean(l.Reader))}
}

// maxWord is how many characters of a name are shown.
const maxWord = 80

// clean returns a name without what a desktop could take for markup, or for another line.
func clean(name string) string {
	kept := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || strings.ContainsRune(`<>&"'`, r) {
			return -1
		}
		return r
	}, name)
	if long := []rune(kept); len(long) > maxWord {
		kept = string(long[:maxWord-1]) + "…"
	}
	return kept
}
