// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build cgo || windows

package pcsc

import (
	"context"
	"slices"
	"time"

	"github.com/ebfe/scard"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/pinpad"
	"github.com/cardbroker/cardbroker/sandbox"
)

const (
	plugAndPlay = `\\?PnP?\Notification` // the pseudo reader that tells of readers that come and go
	maxReaders  = 15                     // with the pseudo reader 16, more than which pcsc-lite refuses
	probeLimit  = time.Second            // for the question whether a reader is a PIN pad
	maxMisses   = 20                     // waits in a row that named a reader unknown which is in the list
	waitLimit   = 24 * time.Hour         // pcsc-lite renews a wait without a limit each minute, one with a limit never
)

// watcher follows the readers for one call of Watch. Its goroutine is the only one that waits for changes, as scard keeps the
// names of readers alive for one such call at a time only.
type watcher struct {
	readers  *Readers
	emit     func(sandbox.Event)
	number   uint64
	context  *scard.Context // of this service
	watched  []*watched
	pnp      scard.StateFlag
	complete bool // the end of the list was told
	looks    int  // at what a wait may have missed, since the last change
}

// pauseBefore returns how long after the last change, or the last look, the watcher looks whether the wait that runs has
// missed something; 0: it does nothing any more until the wait returns. The looks are at 50 ms, 1 s and 15 s.
func pauseBefore(look int) time.Duration {
	switch look {
	case 0:
		return 50 * time.Millisecond
	case anew:
		return 950 * time.Millisecond
	case 2:
		return 14 * time.Second
	}
	return 0
}

// anew is the look that begins the wait anew in any case.
const anew = 1

// watched is a reader as it was last seen.
type watched struct {
	name   string
	pinpad bool
	told   bool // emit knows it
	state  scard.StateFlag
	card   *cardbroker.Card
	seat   seat
}

// Watch tells emit of the readers, their cards and all changes. It never connects to a card for that, but asks a new
// reader, without power for its card, whether it is a PIN pad. When the service ends, all readers are removed; Watch goes on
// with the next service if that is there within two seconds, and else returns Unavailable. One Watch runs at a time, another
// is Conflict.
func (r *Readers) Watch(ctx context.Context, emit func(sandbox.Event)) error {
	if !r.watching.CompareAndSwap(false, true) {
		return cardbroker.Errorf(cardbroker.Conflict, "the readers are watched already")
	}
	defer r.watching.Store(false)
	defer r.view.Store(nil)
	w := &watcher{readers: r, emit: emit, number: r.numbers.Add(1)}
	for {
		err := w.serve(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		code := codeOf(err)
		if _, known := err.(*cardbroker.Error); known || !isLost(code) { // there is no service, or no help
			return err
		}
		r.log.Warn("the PC/SC service has ended; waiting for another", "err", err)
		w.remove(nil)
		if err := pause(ctx, 50*time.Millisecond); err != nil { // one that ends at once is not started without pause
			return err
		}
	}
}

// serve watches one service until ctx or the service ends.
func (w *watcher) serve(ctx context.Context) (err error) {
	if w.context, err = establish(ctx); err != nil {
		return err
	}
	defer w.context.Release()
	w.pnp = scard.StateUnaware
	for misses := 0; ; {
		names, err := w.list(ctx)
		if err != nil {
			return w.failed(err)
		}
		if !w.complete && !slices.ContainsFunc(w.watched, func(r *watched) bool { return r.state == scard.StateUnaware }) {
			w.complete = true
			w.emit(sandbox.Event{})
		}
		states := w.states()
		err = w.wait(ctx, states, names)
		switch code := codeOf(err); {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			misses, w.looks = 0, 0
			if err := w.apply(states); err != nil {
				return err
			}
		case code == codeCancelled || code == codeTimeout:
		case code == codeUnknownReader && misses < maxMisses: // it went after it was listed
			misses++
			if err := pause(ctx, 10*time.Millisecond); err != nil {
				return err
			}
		default:
			return w.failed(err)
		}
	}
}

// list takes over which readers there are, again and again until nothing is new: the time between the list and the wait,
// in which a reader can be missed, is to be short. A reader of two slots, for one, brings the second while the first is
// asked what it is.
func (w *watcher) list(ctx context.Context) ([]string, error) {
	for {
		names, err := list(w.context)
		if err != nil {
			return nil, err
		}
		removed, added := w.remove(names), w.add(names)
		if !removed && !added || ctx.Err() != nil {
			return names, nil
		}
		w.looks = 0
	}
}

// failed returns err, explained unless it says that the service has ended.
func (w *watcher) failed(err error) error {
	if code := codeOf(err); !isLost(code) {
		return explain(err, code, opening)
	}
	return err
}

// remove forgets, and tells of, the readers that are not in the list, and says whether there was one.
func (w *watcher) remove(names []string) (any bool) {
	for _, r := range slices.Clone(w.watched) {
		if slices.Contains(names, r.name) {
			continue
		}
		w.watched = slices.DeleteFunc(w.watched, func(other *watched) bool { return other == r })
		w.publish()
		if r.told {
			w.emit(sandbox.Event{Reader: r.name})
		}
		any = true
	}
	return any
}

// add adds the readers of the list that are new, as far as there is room, and says whether there was one. They are told
// when their state is known.
func (w *watcher) add(names []string) bool {
	var added []*watched
	for _, name := range names {
		known := slices.ContainsFunc(w.watched, func(r *watched) bool { return r.name == name })
		if !known && isName(name) && len(w.watched) < maxReaders {
			r := &watched{name: name, seat: seat{reader: w.readers.numbers.Add(1)}}
			w.watched, added = append(w.watched, r), append(added, r)
		}
	}
	if len(added) > 0 {
		w.probe(added)
		w.publish()
	}
	return len(added) > 0
}

// probe finds out which of the readers are PIN pads, of all at the same time. One that does not answer soon is none: it
// may be in another program's transaction, and then waits in C until that ends.
func (w *watcher) probe(readers []*watched) {
	answers := make([]chan bool, len(readers))
	for i, r := range readers {
		answers[i] = make(chan bool, 1)
		go func(name string, answer chan<- bool) { answer <- w.readers.isPINPad(name) }(r.name, answers[i])
	}
	limit := time.NewTimer(probeLimit)
	defer limit.Stop()
	for i, r := range readers {
		select {
		case r.pinpad = <-answers[i]:
		case <-limit.C:
			return
		}
	}
}

// isPINPad asks a reader for its features, over a connection that gives no power to a card.
func (r *Readers) isPINPad(name string) bool {
	joined := r.join()
	defer joined()
	c, err := scard.EstablishContext()
	if err != nil {
		return false
	}
	defer c.Release()
	card, err := c.Connect(name, scard.ShareDirect, scard.ProtocolUndefined)
	if err != nil {
		return false
	}
	joined()
	defer leave(card)
	answer, err := card.Control(scard.CtlCode(uint16(pinpad.GetFeatureRequest&0xFFFF)), nil)
	if err != nil {
		return false
	}
	features, err := pinpad.ParseFeatures(answer)
	_, ok := features.Code(pinpad.VerifyPINDirect)
	return err == nil && ok
}

// states returns what to wait for a change of.
func (w *watcher) states() []scard.ReaderState {
	states := make([]scard.ReaderState, 0, maxReaders+1)
	for _, r := range w.watched {
		states = append(states, scard.ReaderState{Reader: r.name, CurrentState: r.state})
	}
	return append(states, scard.ReaderState{Reader: plugAndPlay, CurrentState: w.pnp})
}

// wait waits for a change.
func (w *watcher) wait(ctx context.Context, states []scard.ReaderState, names []string) error {
	returned, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		w.interrupt(ctx, returned, names)
	}()
	err := w.context.GetStatusChange(states, waitLimit)
	close(returned)
	<-ended
	return err
}

// interrupt cancels the wait when ctx ends, and when it has missed a reader: older services notice only what comes or goes
// during the wait, and not what did right before it. Once after a change it begins the wait anew in any case: pcsc-lite keeps
// the states of all readers in one place for the whole process, where another thread's older ones may have hidden a newer
// one.
func (w *watcher) interrupt(ctx context.Context, returned <-chan struct{}, names []string) {
	for pause := pauseBefore(w.looks); pause > 0; pause = pauseBefore(w.looks) {
		timer := time.NewTimer(pause)
		select {
		case <-returned:
			timer.Stop()
			return
		case <-ctx.Done():
			timer.Stop()
			w.cancel(returned)
			return
		case <-timer.C:
		}
		look := w.looks
		w.looks++
		if look == anew || missed(names) {
			w.cancel(returned)
			return
		}
	}
	select {
	case <-returned:
	case <-ctx.Done():
		w.cancel(returned)
	}
}

// missed says whether the list of readers is another one by now. It asks on a context of its own: the waiting one is locked.
func missed(names []string) bool {
	c, err := scard.EstablishContext()
	if err != nil {
		return false // the wait will see that, too
	}
	defer c.Release()
	now, err := list(c)
	return err == nil && !slices.Equal(now, names)
}

// cancel ends the wait. A cancel that comes before the wait has begun does nothing and says nothing, so it is repeated
// until the wait has returned.
func (w *watcher) cancel(returned <-chan struct{}) {
	for again := time.Millisecond; ; again = min(2*again, 100*time.Millisecond) {
		w.context.Cancel()
		timer := time.NewTimer(again)
		select {
		case <-returned:
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// apply takes over the states that a wait returned, and tells what is new.
func (w *watcher) apply(states []scard.ReaderState) error {
	last := len(states) - 1
	if states[last].EventState&scard.StateUnknown != 0 {
		return cardbroker.Errorf(cardbroker.Unsupported, "the PC/SC service does not tell of new readers")
	}
	w.pnp = states[last].EventState &^ scard.StateChanged
	for i, r := range w.watched {
		w.see(r, states[i])
	}
	return nil
}

// see takes over the state of a reader. The number in its upper half counts cards that came and went.
func (w *watcher) see(r *watched, s scard.ReaderState) {
	before := r.state
	r.state = s.EventState &^ scard.StateChanged
	if r.state == scard.StateUnaware {
		r.state = scard.StateUnknown // else the next wait would return at once
	}
	if s.EventState&(scard.StateUnknown|scard.StateUnavailable) != 0 {
		return // it is going: the list will say so
	}
	card := cardIn(s)
	switch replaced := r.state>>16 != before>>16; {
	case r.told && r.card == nil && card == nil:
	case r.told && r.card != nil && card != nil && replaced:
		w.tell(r, nil)
		w.tell(r, card)
	case r.told && r.card != nil && card != nil && slices.Equal(r.card.ATR, card.ATR):
	default:
		w.tell(r, card)
	}
}

// cardIn returns the card that a reader's state tells of: nil if there is none, without an ATR if it is mute.
func cardIn(s scard.ReaderState) *cardbroker.Card {
	switch {
	case s.EventState&scard.StatePresent == 0:
		return nil
	case s.EventState&scard.StateMute != 0:
		return &cardbroker.Card{}
	}
	return &cardbroker.Card{ATR: s.Atr, Protocol: protocolOf(s.Atr)}
}

// tell tells which card is in the reader.
func (w *watcher) tell(r *watched, card *cardbroker.Card) {
	if card == nil {
		r.seat.card = w.readers.numbers.Add(1)
	}
	r.card, r.told = card, true
	w.publish()
	w.emit(sandbox.Event{Reader: r.name, PINPad: r.pinpad, Present: true, Card: card})
}

// publish lets connections see where they lead.
func (w *watcher) publish() {
	v := &view{watch: w.number, seats: make(map[string]seat, len(w.watched))}
	for _, r := range w.watched {
		v.seats[r.name] = r.seat
	}
	w.readers.view.Store(v)
}
