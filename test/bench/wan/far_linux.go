// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package wan

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/test/bench/agents"
	"github.com/cardbroker/cardbroker/virtualreader"
	"github.com/cardbroker/cardbroker/virtualreader/script"
)

// RTTs returns how far away the back ends of these measurements are.
func RTTs() []time.Duration { return []time.Duration{0, 50 * time.Millisecond, 100 * time.Millisecond} }

// Card is how long a card takes for a command.
const Card = 30 * time.Millisecond

// Site is a broker's door and what opens tunnels there.
type Site struct {
	Door   string                                              // address and port
	Client func(address string) (*virtualreader.Client, error) // a back end that finds the door elsewhere
	Ticket func() string
}

// open opens a tunnel through a link.
func (s Site) open(ctx context.Context, l *Link, o virtualreader.Options) (*virtualreader.Tunnel, error) {
	client, err := s.Client(l.Address)
	if err != nil {
		return nil, err
	}
	return client.Open(ctx, virtualreader.TicketReader, s.Ticket(), o)
}

// Taken is what commands took that a back end sent so many at a time.
type Taken struct {
	Whole time.Duration
	Card  time.Duration // all commands, as the card's end says
	Waits time.Duration // what cannot be saved: a round trip for each time that it sent something
	How   string        // where the delay came from
}

// Commands has a card execute count commands of [Card] each, for back ends at all distances, and for each number of commands
// that are sent at a time: more than one as a script. All at once, as they mostly wait. What is returned is by distance, then by number.
func (s Site) Commands(ctx context.Context, count int, atATime []int) ([][]Taken, error) {
	group := run.New(ctx)
	defer group.Stop()
	all := make([][]Taken, len(RTTs()))
	measure := run.New(group.Context())
	for i, rtt := range RTTs() {
		p, err := NewPinger(group, rtt)
		if err != nil {
			return nil, err
		}
		trip, err := p.Least()
		if err != nil {
			return nil, err
		}
		l, err := NewLink(group, s.Door, rtt)
		if err != nil {
			return nil, err
		}
		all[i] = make([]Taken, len(atATime))
		for j, n := range atATime {
			t, err := s.open(group.Context(), l, virtualreader.Options{})
			if err != nil {
				return nil, err
			}
			defer t.Close()
			measure.Go("commands", func(ctx context.Context) error {
				taken, err := commands(ctx, t, count, n)
				taken.Waits, taken.How = time.Duration((count+n-1)/n)*trip, l.How()
				all[i][j] = taken
				return err
			})
		}
	}
	return all, measure.Wait()
}

// commands sends count commands, so many at a time.
func commands(ctx context.Context, t *virtualreader.Tunnel, count, atATime int) (taken Taken, err error) {
	command := agents.DelayCommand(Card)
	if _, err := t.Transmit(ctx, agents.DelayCommand(0)); err != nil { // connects to the card
		return taken, err
	}
	start := time.Now()
	for sent := 0; sent < count; {
		n := min(atATime, count-sent)
		card, err := send(ctx, t, command, n)
		if err != nil {
			return taken, err
		}
		taken.Card += card
		sent += n
	}
	taken.Whole = time.Since(start)
	return taken, nil
}

// send sends a command alone, or several times as one script, and returns what the card took.
func send(ctx context.Context, t *virtualreader.Tunnel, command []byte, times int) (time.Duration, error) {
	if times == 1 {
		answer, err := t.Transmit(ctx, command)
		return answer.Card, err
	}
	result, err := t.Run(ctx, script.Script{Steps: slices.Repeat([]script.Step{{Command: command}}, times)}, nil)
	if err == nil && (result.Outcome != script.OK || len(result.Steps) != times) {
		err = fmt.Errorf("a script of %d steps ended after %d: %s", times, len(result.Steps), result.Outcome)
	}
	return result.Times.Card, err
}
