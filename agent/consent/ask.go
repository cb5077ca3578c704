// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package consent

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cardbroker/cardbroker"
)

// How the user is asked. A page must not be able to wear him out.
const (
	AskTimeout   = time.Minute // from the first that asks to the answer
	holdTime     = time.Minute // that a no, or no answer, counts for
	maxQuestions = 8           // origins at a time
	maxHeld      = 256         // origins; more are forgotten, the oldest first
	maxStrikes   = 3           // in a row, whatever the origins; then nobody is asked for as long as a no counts
)

// question is an origin that somebody waits for.
type question struct {
	Question
	deadline time.Time
	askers   map[chan answer]bool
	shown    bool
	stop     context.CancelFunc // of the prompt; nil: it is not shown, or could not be
}

// answer is what becomes of a question.
type answer struct {
	consent cardbroker.Consent
	err     error
}

// Ask returns the consent to an origin: the one that there is, or the user's answer. However many ask for one origin, he is
// asked once, and one origin at a time. It ends with ctx; the question ends with the last that asks. Errors: ConsentRequired
// for a no, no answer within a minute, or a no of the last minute; Forbidden by policy; Overloaded.
func (b *Book) Ask(ctx context.Context, q Question) (cardbroker.Consent, error) {
	if b.cfg.Policy.Denies(q.Origin) {
		b.cfg.Record(refusedEvent(q.Origin, cardbroker.RuleConsentPolicy))
		return cardbroker.Consent{}, deniedByPolicy()
	}
	if c, ok := b.Current(q.Origin); ok {
		return c, nil
	}
	asker := make(chan answer, 1)
	defer b.leave(asker) // also what was entered although its asker had just left
	err := b.loop.Do(ctx, func(s *state) error { return b.enter(s, q, asker) })
	if err != nil {
		return cardbroker.Consent{}, err
	}
	select {
	case a := <-asker:
		return a.consent, a.err
	case <-ctx.Done():
		return cardbroker.Consent{}, ctx.Err()
	}
}

// enter adds an asker to the question for its origin.
func (b *Book) enter(s *state, q Question, asker chan answer) error {
	now := time.Now()
	if c, ok := b.Current(q.Origin); ok {
		asker <- answer{consent: c}
		return nil
	}
	if i := s.find(q.Origin); i >= 0 {
		s.questions[i].askers[asker] = true
		return nil
	}
	switch {
	case now.Before(s.held[q.Origin]):
		return refused()
	case s.tired(now):
		return tiredOf()
	case len(s.questions) >= maxQuestions:
		return cardbroker.Errorf(cardbroker.Overloaded, "the user is being asked for %d origins already", maxQuestions)
	}
	q.Days = int(b.cfg.Policy.Life(q.Days) / (24 * time.Hour))
	s.questions = append(s.questions, &question{Question: q, deadline: now.Add(AskTimeout), askers: map[chan answer]bool{asker: true}})
	return nil
}

// leave takes an asker off his question, which ends with the last.
func (b *Book) leave(asker chan answer) {
	b.loop.Must(func(s *state) error { // fails only when all ends
		i := slices.IndexFunc(s.questions, func(q *question) bool { return q.askers[asker] })
		if i < 0 {
			return nil
		}
		q := s.questions[i]
		delete(q.askers, asker)
		if len(q.askers) == 0 {
			if q.shown { // else a page could have windows open and close for ever
				s.strikes = append(s.strikes, time.Now())
			}
			s.end(i)
		}
		return nil
	})
}

func (s *state) find(o cardbroker.Origin) int {
	return slices.IndexFunc(s.questions, func(q *question) bool { return q.Origin == o })
}

// end takes a question, and its prompt, away.
func (s *state) end(i int) {
	if stop := s.questions[i].stop; stop != nil {
		stop()
	}
	s.questions = slices.Delete(s.questions, i, i+1)
}

// settle answers all who ask for an origin, if there are any.
func (b *Book) settle(s *state, o cardbroker.Origin, a answer) {
	i := s.find(o)
	if i < 0 {
		return
	}
	for asker := range s.questions[i].askers {
		asker <- a // capacity 1, and this is the only answer
	}
	s.end(i)
}

// tired says whether the user has been asked in vain so often that he is left alone.
func (s *state) tired(now time.Time) bool {
	s.strikes = slices.DeleteFunc(s.strikes, func(at time.Time) bool { return !now.Before(at.Add(holdTime)) })
	return len(s.strikes) >= maxStrikes
}

// refuse answers all who ask for an origin, and who will within a minute, with no; those who ask for others as well, if the
// user has had enough.
func (b *Book) refuse(s *state, o cardbroker.Origin, now time.Time) {
	if len(s.held) >= maxHeld {
		s.forget(now)
	}
	s.held[o] = now.Add(holdTime)
	s.strikes = append(s.strikes, now)
	b.cfg.Record(refusedEvent(o, cardbroker.RuleOriginUnconsented))
	b.settle(s, o, answer{err: refused()})
	for s.tired(now) && len(s.questions) > 0 {
		b.settle(s, s.questions[0].Origin, answer{err: tiredOf()})
	}
}

// forget makes room among the refusals.
func (s *state) forget(now time.Time) {
	oldest, at := cardbroker.Origin(""), time.Time{}
	for o, until := range s.held {
		switch {
		case !now.Before(until):
			delete(s.held, o)
		case at.IsZero() || until.Before(at):
			oldest, at = o, until
		}
	}
	if len(s.held) >= maxHeld {
		delete(s.held, oldest)
	}
}

// show asks the first question, unless it is being asked.
func (b *Book) show(s *state) {
	if len(s.questions) == 0 || s.questions[0].shown || b.jobs == nil {
		return
	}
	q := s.questions[0]
	q.shown = true
	if b.cfg.Prompter == nil {
		return
	}
	ctx, stop := context.WithDeadline(b.jobs.Context(), q.deadline)
	q.stop = stop
	asked := q.Question
	b.jobs.Go("prompt", func(context.Context) error {
		defer stop()
		yes, err := b.cfg.Prompter.AskConsent(ctx, asked)
		if err != nil && ctx.Err() == nil {
			b.cfg.Log.Warn("the user cannot be asked for consent; his page and the command line still can", "origin", asked.Origin, "err", err)
		}
		if err != nil {
			return nil
		}
		b.loop.Must(func(s *state) error { return b.answered(s, q, yes) })
		return nil
	})
}

// answered takes the prompt's answer to a question, unless it has been settled otherwise.
func (b *Book) answered(s *state, q *question, yes bool) error {
	if !slices.Contains(s.questions, q) {
		return nil
	}
	if !yes {
		b.refuse(s, q.Origin, time.Now())
		return nil
	}
	consent := b.newConsent(q.Question, time.Now())
	s.changes = append(s.changes, &change{origin: q.Origin, consent: &consent, done: make(chan error, 1)})
	return nil
}

func refused() error {
	return cardbroker.Refusef(cardbroker.ConsentRequired, cardbroker.RuleOriginUnconsented, "the user has not consented to this origin")
}

func tiredOf() error {
	return cardbroker.Refusef(cardbroker.ConsentRequired, cardbroker.RuleOriginUnconsented,
		"the user did not consent %d times in a row and is not asked for a while", maxStrikes)
}

func refusedEvent(o cardbroker.Origin, rule cardbroker.Rule) cardbroker.Event {
	return cardbroker.Event{Name: cardbroker.EventConsentRefused, Origin: o, Rule: rule}
}

// errDamaged is the cause of what is wrong with a file's content.
var errDamaged = errors.New("damaged")

func isDamaged(err error) bool { return errors.Is(err, errDamaged) }
