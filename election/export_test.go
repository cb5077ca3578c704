// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package election

import "github.com/hashicorp/memberlist"

// GossipOver has the Elector gossip elsewhere than on loopback. Call it before Run.
func (e *Elector) GossipOver(listen func() (memberlist.NodeAwareTransport, error)) { e.listen = listen }

// Lives returns who lives as far as we know, by name.
func (e *Elector) Lives() map[string]bool { return e.circle.Load().lives }

// Rank returns how many voters try before us; false: we are no voter.
func (e *Elector) Rank() (int, bool) { return e.rank() }
