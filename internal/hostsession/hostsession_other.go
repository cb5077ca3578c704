// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package hostsession

import "github.com/cardbroker/cardbroker"

// OfCgroup is always false: this system has no cgroups.
func OfCgroup(id uint64) (cardbroker.SessionID, bool) { return "", false }

// Place is where a process stands among the sessions of its user. On this system nothing is known of it.
type Place struct {
	Session cardbroker.SessionID
	Display string
}

// PlaceOf is always false.
func PlaceOf(int, cardbroker.UserID) (Place, bool) { return Place{}, false }

// Unknown is the place of a process of which nothing is known.
func Unknown() Place { return Place{} }

// Nearest is always false.
func Nearest(Place, []Place) (int, bool) { return 0, false }

// Holders is always empty: this system does not say who holds a socket.
func Holders(map[uint32]cardbroker.UserID) map[uint32][]Holder { return nil }

// Holder is a process that holds a socket.
type Holder struct{}

// Holds is always false.
func (Holder) Holds() bool { return false }

// Place is always false.
func (Holder) Place(cardbroker.UserID) (Place, bool) { return Place{}, false }

// OwnDisplay is always empty.
func OwnDisplay() string { return "" }
