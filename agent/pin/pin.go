// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package pin takes PINs from the user's web pages, his programs and himself to a card. It opens what was encrypted to the
// device key, sees to it that a page never spends the last tries of a card ([Keeper.Enter]), and keeps a PIN for a while
// where machine policy says so. It knows no routes and no cards: what compares a PIN is a [Target].
//
// Its state belongs to one loop. A PIN is overwritten when it is done with; nothing of it is in an error, a log or an event.
package pin

import (
	"bytes"
	"context"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/loop"
	"github.com/cardbroker/cardbroker/internal/run"
)

// verifyLimit is how long a card may take to compare a PIN. It is not cut short when the asker leaves: whether a try was
// spent must be known.
const verifyLimit = 30 * time.Second

// Target is what compares a PIN: a card, by VERIFY, or a token. One goroutine uses it.
type Target interface {
	// Tries says how often the PIN may still be wrong; known is false where that cannot be told.
	Tries(ctx context.Context) (left int, known bool, err error)
	// Verify compares the PIN, and does with it what the wish is for; next is the new PIN, if there is to be one. Errors:
	// PINIncorrect, with Retries, and PINBlocked; those of [Job] and [Changed]; else nobody knows what the card made of it.
	Verify(ctx context.Context, pin, next []byte) error
	// Close ends the use of the target; nobody finds the PIN verified.
	Close() error
}

// Wish is a PIN that is to be compared.
type Wish struct {
	Reader string              // its name
	ID     cardbroker.ReaderID // as the asker knows it
	Origin cardbroker.Origin   // of the page that asks; empty: a program of the user's
	Use    string              // tells the PINs of one card apart, and what they open
	Which  string              // PIN that is, in words for the user; may be empty
	Shape  Shape
	Act    Act   // what it is entered for
	PIN    Field // empty: from a session, or from the user
	Next   Field // the new PIN, for Change and Unblock; empty if PIN is
	Dialog bool  // the user is asked, whatever the fields hold
	Pad    bool  // the reader asks for PINs by itself: where the user is to be asked, he enters his there
	Once   bool  // no session begins with it, and none is used for it

	// Present returns the card, as [Config].Present does; nil: that one says it.
	Present func() *cardbroker.Card
	// Open makes the target ready, and says which card that is.
	Open func(ctx context.Context) (Target, cardbroker.Card, error)
	// Still says whether the asker is still there; it is asked right before a try is spent.
	Still func() error
}

// Act says what a PIN is entered for. The zero value: it is compared.
type Act string

// The acts that set a new PIN.
const (
	Change  Act = "change"  // the PIN is replaced
	Unblock Act = "unblock" // it is the PUK, and the PIN is set anew
)

// Job marks an error of a [Target] that says nothing of the PIN: it was right, or was not compared. nil: there is none.
func Job(err error) error {
	if err == nil {
		return nil
	}
	return jobError{error: err}
}

// Changed marks an error of a [Target] that is not any more what Tries said of it, and has seen no PIN: it is opened and judged anew, once.
func Changed(err error) error { return jobError{err, true} }

// jobError is the error of what was done with a PIN.
type jobError struct {
	error
	changed bool
}

func (e jobError) Unwrap() error { return e.error }

// Question is what the user is asked. Tries is how often he may be wrong, or RetriesUnknown; with Few and Wrong.
type Question struct {
	Reader string
	Origin cardbroker.Origin
	Which  string
	Shape  Shape
	Act    Act  // with Change and Unblock he answers two things: the PIN or PUK, then the new PIN
	Few    bool // a page would have spent one of the last tries
	Wrong  bool // the PIN that the card saw last was wrong
	Tries  int
}

// Config is what a keeper is made of.
type Config struct {
	Keys     Keys
	Policy   config.PINPolicy
	Ask      func(ctx context.Context, q Question) ([]cardbroker.Secret, error) // nil: nobody can be asked
	Notice   func(ctx context.Context, q Question) (end func(), err error)      // has the user enter a PIN at the reader, until end
	Held     func(reader string) bool                                           // a back end has a lease of it: no session begins
	Free     func(reader string) error                                          // ReaderBusy: a back end has it for itself
	Attended func() error                                                       // Forbidden: the user is not at his screen, and no PIN is taken; nil: it is not known
	Present  func(reader string) *cardbroker.Card                               // another pointer: another card, or put in anew; nil: none
	Watch    func() (changed <-chan struct{}, stop func())                      // signals that Present may say something else
	Record   func(cardbroker.Event)                                             // for the audit log; must not block
}

// Keeper takes PINs to cards. Make it with [New]; any number of goroutines may call it while [Keeper.Run] runs.
type Keeper struct {
	cfg   Config
	loop  *loop.Loop[*state]
	state *state // owned by the loop
	live  atomic.Int64
	moved chan struct{} // capacity 1: live may be another
}

// New returns a keeper that holds nothing.
func New(cfg Config) *Keeper {
	k := &Keeper{cfg: cfg, loop: loop.New[*state](), moved: make(chan struct{}, 1)}
	k.state = newState(k)
	return k
}

// Run owns the state until ctx ends, and then overwrites what is kept. It is called once.
func (k *Keeper) Run(ctx context.Context) error {
	group := run.New(ctx)
	group.Go("pins", func(ctx context.Context) error { return k.loop.Run(ctx, k.state) })
	group.Go("cards of PIN sessions", k.watch)
	err := group.Wait()
	k.state.endSessions("the agent ends", func(session) bool { return true }) // the loop has ended: nobody else is here
	return err
}

// watch ends the sessions of cards that have gone. It watches only while there are any: a watcher keeps the sandbox running.
func (k *Keeper) watch(ctx context.Context) error {
	var changed <-chan struct{}
	stop := func() {}
	defer func() { stop() }()
	for {
		if live := k.live.Load() > 0; live != (changed != nil) {
			stop()
			changed, stop = nil, func() {}
			if live {
				changed, stop = k.cfg.Watch()
			}
		}
		if changed != nil { // also at first: what happened before the watch
			k.end("the card was removed", func(s session) bool { return s.now() != s.present })
		}
		select {
		case <-k.moved:
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// source says where a PIN comes from.
type source string

// user says whether the user has entered it himself.
func (s source) user() bool { return s == fromUser || s == atReader }

const (
	fromPage    source = "from the asker"
	fromSession source = "kept"
	fromUser    source = "from the user"
	atReader    source = "entered at the reader"
)

// Enter has a PIN compared; nil: it is right. One is compared for each reader at a time. Errors: those of the wish's functions, of the target and of the prompt; ReaderBusy; RateLimited;
// Forbidden, with RulePINFloor or while the user is not at his screen; Invalid and PINNotEncrypted; PINIncorrect and PINBlocked; PINCanceled and Timeout.
func (k *Keeper) Enter(ctx context.Context, w Wish) (err error) {
	defer w.PIN.Wipe()
	defer w.Next.Wipe()
	if w.Present == nil {
		w.Present = func() *cardbroker.Card { return k.cfg.Present(w.Reader) }
	}
	from := fromPage
	if err = k.begin(ctx, w); err == nil {
		defer k.finish(w.Reader)
		from, err = k.enter(ctx, &w)
	}
	if job, ok := err.(jobError); ok {
		return job.error
	}
	event := cardbroker.Event{Name: cardbroker.EventPINVerified, Origin: w.Origin, Reader: w.Reader, Detail: string(from)}
	if err != nil {
		event.Name, event.Reason, event.Rule = cardbroker.EventPINRefused, cardbroker.ReasonOf(err), cardbroker.RuleOf(err)
	}
	k.cfg.Record(event)
	return err
}

// enter finds the PIN and tries it. Where a page may not, the user is asked himself.
func (k *Keeper) enter(ctx context.Context, w *Wish) (source, error) {
	if err := k.cfg.Free(w.Reader); err != nil {
		return fromPage, err
	}
	pins, from, err := k.find(ctx, w)
	if err != nil {
		return from, err
	}
	err = k.try(ctx, w, pins, from)
	pins.wipe()
	few, ok := err.(fewTries)
	if !ok {
		return from, err
	}
	if k.cfg.Ask == nil && !w.Pad {
		return fromUser, cardbroker.Refusef(cardbroker.Forbidden, cardbroker.RulePINFloor,
			"so few tries are left that the user has to enter the PIN himself, but the agent has no prompt to ask him with")
	}
	if pins, from, err = k.ask(ctx, w, Question{Few: true, Tries: few.left}); err != nil {
		return from, err
	}
	defer pins.wipe()
	return from, k.try(ctx, w, pins, from)
}

// entered is what was entered: the PIN or PUK, and the new PIN where there is to be one.
type entered struct{ pin, next cardbroker.Secret }

func (e entered) wipe() {
	clear(e.pin.Reveal())
	clear(e.next.Reveal())
}

// find returns the PIN: the asker's, one that is kept, or the user's.
func (k *Keeper) find(ctx context.Context, w *Wish) (entered, source, error) {
	if !k.cfg.Policy.Ask && !w.Dialog {
		if !w.PIN.Empty() || !w.Next.Empty() {
			if err := k.attended(); err != nil {
				return entered{}, fromPage, err
			}
			pins, err := k.openAll(ctx, w)
			return pins, fromPage, err
		}
		if !w.Once {
			if pin, err := k.take(ctx, w); err != nil || !pin.Empty() {
				return entered{pin: pin}, fromSession, err
			}
		}
	}
	w.PIN.Wipe()
	w.Next.Wipe()
	return k.ask(ctx, w, k.before(w))
}

// openAll returns what the fields of a wish hold.
func (k *Keeper) openAll(ctx context.Context, w *Wish) (pins entered, err error) {
	if w.PIN.Empty() || w.Next.Empty() != (w.Act == "") {
		return pins, cardbroker.Errorf(cardbroker.Invalid, "a new PIN stands beside the PIN or PUK that it takes the place of, and nowhere else")
	}
	if pins.pin, err = k.open(ctx, w, &w.PIN); err != nil || w.Act == "" {
		return pins, err
	}
	if pins.next, err = k.open(ctx, w, &w.Next); err != nil {
		pins.wipe()
	}
	return pins, err
}

// ask asks the user, but where the reader does that by itself.
func (k *Keeper) ask(ctx context.Context, w *Wish, q Question) (entered, source, error) {
	if w.Pad {
		return entered{}, atReader, nil
	}
	if k.cfg.Ask == nil {
		return entered{}, fromUser, cardbroker.Errorf(cardbroker.PINCanceled, "the agent has no prompt to ask for a PIN with: install zenity or kdialog and start it on a display, or name prompt.command in machine policy")
	}
	said, err := k.cfg.Ask(ctx, q.about(w))
	if err != nil {
		k.refused(w.Origin)
		return entered{}, fromUser, err
	}
	pins, err := w.take(said)
	return pins, fromUser, err
}

// take makes PINs of what the user has said, which it overwrites.
func (w *Wish) take(said []cardbroker.Secret) (pins entered, err error) {
	parts := []*cardbroker.Secret{&pins.pin}
	if w.Act != "" {
		parts = append(parts, &pins.next)
	}
	if len(said) != len(parts) {
		return pins, cardbroker.Errorf(cardbroker.Unavailable, "the prompt for a PIN did not work")
	}
	for i, part := range parts {
		taken, failed := w.Shape.take(said[i].Reveal(), true)
		if *part = taken; err == nil {
			err = failed
		}
	}
	if err != nil {
		pins.wipe()
	}
	return pins, err
}

// about completes a question.
func (q Question) about(w *Wish) Question {
	q.Reader, q.Origin, q.Which, q.Shape, q.Act = w.Reader, w.Origin, w.Which, w.Shape, w.Act
	return q
}

// fewTries says that the user himself is to enter the PIN.
type fewTries struct{ left int }

func (fewTries) Error() string { return "few tries are left" }

// try spends a try of the card, unless it has too few for who asks: fewTries.
func (k *Keeper) try(ctx context.Context, w *Wish, pins entered, from source) error {
	err := k.tryOnce(ctx, w, pins, from)
	if job, ok := err.(jobError); ok && job.changed {
		err = k.tryOnce(ctx, w, pins, from)
	}
	return err
}

func (k *Keeper) tryOnce(ctx context.Context, w *Wish, pins entered, from source) error {
	present := w.Present()
	target, card, err := w.Open(ctx)
	if err != nil {
		return err
	}
	defer target.Close()
	left, known, err := target.Tries(ctx)
	if err != nil {
		return err
	}
	if known && left == 0 {
		return cardbroker.Errorf(cardbroker.PINBlocked, "the PIN is blocked: set a new one with the PUK")
	}
	t := trial{wish: w, card: card, present: present, from: from, pin: pins.pin}
	if err := k.allow(ctx, t, left, known); err != nil {
		return err
	}
	if err := w.Still(); err != nil {
		return err
	}
	if err := k.cfg.Free(w.Reader); err != nil {
		return err
	}
	if from == atReader {
		return k.enterAtReader(ctx, t, target)
	}
	if err := k.attended(); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), verifyLimit)
	defer cancel()
	err = target.Verify(limited, pins.pin.Reveal(), pins.next.Reveal())
	if _, ok := err.(jobError); ok {
		return err
	}
	k.tried(t, err)
	return err
}

// attended says whether PINs are taken at the moment.
func (k *Keeper) attended() error {
	if k.cfg.Attended == nil {
		return nil
	}
	return k.cfg.Attended()
}

// trial is one PIN on its way to one card.
type trial struct {
	wish    *Wish
	card    cardbroker.Card
	present *cardbroker.Card
	from    source
	pin     cardbroker.Secret
}

// same says whether it is about the card that a session was begun with.
func (t trial) same(s session) bool {
	return t.present == s.present && t.present != nil && bytes.Equal(t.card.ATR, s.atr)
}
