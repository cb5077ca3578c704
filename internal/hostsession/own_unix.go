// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix && !linux

package hostsession

import (
	"context"
	"os"
	"strconv"

	"github.com/cardbroker/cardbroker"
)

type process struct{}

// Own returns "uid:" and the user's number: sessions of one user are not told apart.
func Own() Session {
	return Session{ID: cardbroker.SessionID("uid:" + strconv.Itoa(os.Geteuid())), Kind: None}
}

// Watch is Unsupported: this system tells nothing of its sessions.
func (s Session) Watch(context.Context, func(Event)) error {
	return cardbroker.Errorf(cardbroker.Unsupported, "this system tells nothing of its sessions")
}
