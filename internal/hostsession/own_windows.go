// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package hostsession

import (
	"golang.org/x/sys/windows"

	"github.com/cardbroker/cardbroker"
)

// Own returns "sid:" and the user's SID: sessions of one user are not told apart yet.
func Own() cardbroker.SessionID {
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return "sid:unknown"
	}
	return cardbroker.SessionID("sid:" + user.User.Sid.String())
}
