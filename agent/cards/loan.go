// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cards

import (
	"context"
	"strings"

	"github.com/cardbroker/cardbroker"
)

// Loan is a reader's turn that a program outside this sandbox has, the process of a PKCS#11 module: it reaches the card by a
// connection of its own.
//
// A share of it belongs to who took the turn ([Sandbox.Lend]), and to each question that came in beside him ([Sandbox.LendSlot]); it
// ends with the last of them. It outlives the child: the back ends of the next one wait, too.
type Loan struct {
	card *Card // that has the turn, and makes no connection before the end; its link may be another with each child

	// Owned by the loop.
	shares int
	shut   bool // who took the turn has closed it: nobody comes in any more
}

// Lend takes the reader's turn for a program outside this sandbox (a PKCS#11 module's process): the back end's connection makes
// way as in [Sandbox.Turn], and none of ours is made. Whatever the program leaves, no back end finds: [Loan.Close] resets the card,
// and should that fail, the next connection of a back end does. The back end is CardReset. Errors as of Turn.
func (s *Sandbox) Lend(ctx context.Context, reader string) (*Loan, error) {
	c, err := s.again(func() (*Card, error) {
		c := s.newCard(reader, local, cardbroker.ShareShared)
		c.lent = true
		return s.open(ctx, c)
	})
	if err != nil {
		return nil, err
	}
	loan := &Loan{card: c, shares: 1}
	return loan, s.tell(func(st *state) { st.lend(loan) })
}

// Close resets the card and ends the turn, or this share of it. It waits for that, but no longer than [Card.Close] does. A second
// Close does nothing. Errors: Timeout, and what the reset fails with.
func (l *Loan) Close() error {
	last := false
	l.card.sandbox.tell(func(st *state) {
		if !l.shut {
			l.shut = true
			last = st.endShare(l)
		}
	})
	if !last {
		return nil
	}
	err := l.card.Close(cardbroker.ResetCard)
	switch cardbroker.ReasonOf(err) {
	case cardbroker.CardAbsent, cardbroker.CardRemoved, cardbroker.ReaderUnknown, cardbroker.Unavailable: // else the next connection resets it
		return nil
	}
	return err
}

// LendSlot lends what a PKCS#11 slot of that description may reach, for one question to its module: the reader that it names, or all
// that have a card, of those that it may name: several whose names are too long for it, or any if it names none. An empty description is
// the list of slots, for which the module looks at all cards and uses no PIN: then it is the readers that a back end shares. A reader that
// is lent already is shared in that, until who took it closes it. giveBack waits for nobody. Errors as of Lend.
func (s *Sandbox) LendSlot(ctx context.Context, description string) (giveBack func(), err error) {
	var ends []func()
	giveBack = func() {
		for _, end := range ends {
			end()
		}
	}
	names, err := s.reached(ctx, description)
	for _, name := range names { // by name, so that no two wait for each other
		var end func()
		if end, err = s.share(ctx, name); err != nil {
			break
		}
		ends = append(ends, end)
	}
	if err != nil {
		giveBack()
		return nil, err
	}
	return giveBack, nil
}

// reached returns the names of the readers that LendSlot is about.
func (s *Sandbox) reached(ctx context.Context, description string) (names []string, err error) {
	if description = strings.TrimSpace(description); description == "" {
		return names, s.tell(func(st *state) {
			for _, r := range st.readers {
				if l := st.process.links[r.stream]; l.claimed && !l.sole {
					names = append(names, r.Name)
				}
			}
		})
	}
	readers, err := s.Readers(ctx)
	return mayReach(description, readers), err
}

// mayReach returns the names of those of all readers that a slot of that description may be in.
func mayReach(description string, readers []cardbroker.Reader) (names []string) {
	var named []cardbroker.Reader
	for _, r := range readers {
		if isNamed(description, r.Name) {
			named = append(named, r)
		}
	}
	if len(named) == 1 {
		return []string{named[0].Name}
	}
	if len(named) > 1 { // the description has no room for what tells them apart
		readers = named
	}
	for _, r := range readers {
		if r.Card != nil {
			names = append(names, r.Name)
		}
	}
	return names
}

// maxDescription is the length of CK_SLOT_INFO's slotDescription, in bytes, PKCS#11 v2.40 §3.2.
const maxDescription = 64

// isNamed says whether a slot's description names a reader: it is the reader's name, as far as there is room, or begins with it.
func isNamed(description, reader string) bool {
	reader = strings.TrimSpace(reader[:min(len(reader), maxDescription)])
	return description == reader || strings.HasPrefix(description, reader+" ")
}

// share comes in beside who has the reader on loan, or takes it.
func (s *Sandbox) share(ctx context.Context, reader string) (end func(), err error) {
	var loan *Loan
	err = s.tell(func(st *state) {
		if l := st.loans[reader]; l != nil && !l.shut {
			loan = l
			l.shares++
		}
	})
	if err == nil && loan == nil {
		loan, err = s.Lend(ctx, reader)
		return func() { loan.end(true) }, err
	}
	return func() { loan.end(false) }, err
}

// end ends a share, and waits for nobody. first is whether it is that of who took the turn.
func (l *Loan) end(first bool) {
	last := false
	l.card.sandbox.tell(func(st *state) {
		l.shut = l.shut || first
		last = st.endShare(l)
	})
	if last {
		l.card.closed.Store(true)
		l.card.disconnect(cardbroker.ResetCard)
	}
}

// lend takes note of a loan. Should its child have ended meanwhile, it is carried to the next one.
func (st *state) lend(l *Loan) {
	st.loans[l.card.reader] = l
	if st.process != nil {
		st.carry(st.process)
	}
}

// endShare says whether it was the last.
func (st *state) endShare(l *Loan) (last bool) {
	if l.shares--; l.shares > 0 {
		return false
	}
	delete(st.loans, l.card.reader)
	return true
}

// carry gives who has a reader on loan from an earlier child the turn with this one, before anybody can ask for it.
func (st *state) carry(p *process) {
	for _, r := range st.readers {
		loan := st.loans[r.Name]
		if loan == nil || loan.card.link.process == p {
			continue
		}
		l := p.links[r.stream]
		select {
		case l.turn <- struct{}{}:
			l.by.Store(int32(local))
			l.turns++
			p.Uses++
			loan.card.link, loan.card.number = l, r.number
		default: // it was another reader's, which has just gone
		}
	}
}
