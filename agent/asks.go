// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

// maxAsks is how many questions of the broker may be open: it lets its users have fewer.
const maxAsks = 256

// asks are the broker's questions that are being answered. The goroutine that listens to the link owns them.
type asks struct {
	group    *run.Group // of the link
	open     map[string]context.CancelFunc
	finished chan string // ids; as many as can be open
}

func newAsks(group *run.Group) *asks {
	return &asks{group: group, open: map[string]context.CancelFunc{}, finished: make(chan string, maxAsks)}
}

// sweep forgets what has been answered.
func (q *asks) sweep() {
	for {
		select {
		case id := <-q.finished:
			q.end(id)
		default:
			return
		}
	}
}

func (q *asks) end(id string) {
	if stop := q.open[id]; stop != nil {
		stop()
		delete(q.open, id)
	}
}

// asked answers a question of the broker's in a goroutine of its own, for the user may take his time; or ends one that nobody
// waits for any more, as the end of the link ends all.
func (a *Agent) asked(link *socket.Conn, asks *asks, ask api.Ask) {
	asks.sweep()
	_, twice := asks.open[ask.ID]
	switch {
	case ask.Kind == api.AskEnd:
		if stop := asks.open[ask.ID]; stop != nil {
			stop() // and forgotten once it has ended
		}
		return
	case twice || len(asks.open) >= maxAsks:
		full := api.Describe(cardbroker.Errorf(cardbroker.Overloaded, "%d questions are open", len(asks.open)))
		link.WriteJSON(api.FromAgent{Answer: &api.Answer{ID: ask.ID, Error: &full}})
		return
	}
	ctx, stop := context.WithCancel(asks.group.Context())
	asks.open[ask.ID] = stop
	asks.group.Go("ask", func(context.Context) error {
		defer func() { asks.finished <- ask.ID }() // never blocks: there is room for all that can be open
		answer := a.answer(ctx, ask)
		if ctx.Err() == nil {
			link.WriteJSON(api.FromAgent{Answer: &answer}) // a failure is the link's, and shows there
		}
		return nil
	})
}
