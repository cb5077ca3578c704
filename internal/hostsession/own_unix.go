// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix && !linux

package hostsession

import (
	"os"
	"strconv"

	"github.com/cardbroker/cardbroker"
)

// Own returns "uid:" and the user's number: sessions of one user are not told apart.
func Own() cardbroker.SessionID { return cardbroker.SessionID("uid:" + strconv.Itoa(os.Geteuid())) }
