// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package election

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/run"
)

const (
	MaxVoters  = maxVoters
	MaxStreams = maxStreams
	StateHead  = stateHead
)

func AppointFrom(voters []api.Voter) []api.Voter { return appoint(voters) }

func RankOf(name string, voters []api.Voter, lives func(string) bool) (int, bool) {
	return rank(name, voters, lives)
}

func BornOf(meta []byte) (uint64, error)   { return bornOf(meta) }
func Passes(packet []byte) bool            { return passes(packet) }
func ReadHead(r io.Reader) ([]byte, error) { return readHead(r) }
func Phrases(log *slog.Logger) io.Writer   { return phrases{log} }
func Phrase(line string) string            { return phrase(line) }
func Meta(born uint64) []byte {
	return (&delegate{e: New(Config{Self: api.Voter{Born: born}})}).NodeMeta(0)
}

// GossipOver has the Elector gossip elsewhere than on loopback. Call it before Run.
func (e *Elector) GossipOver(listen func() (memberlist.NodeAwareTransport, error)) { e.listen = listen }

// Starve has each pause of the Elector's limits take longer, as where its process seldom gets a processor. Call it before Run.
func (e *Elector) Starve(late time.Duration) {
	e.pause = func(ctx context.Context, d time.Duration) bool { return run.Pause(ctx, d+late) }
}

// Merge says why a state of another voter is not taken.
func (e *Elector) Merge(nodes []*memberlist.Node) error { return (&delegate{e: e}).NotifyMerge(nodes) }

// Lives returns who lives as far as we know, by name.
func (e *Elector) Lives() map[string]bool { return e.circle.Load().lives }

// Rank returns how many voters try before us; false: we are no voter.
func (e *Elector) Rank() (int, bool) { return e.rank() }
