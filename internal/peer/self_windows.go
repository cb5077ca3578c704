// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"golang.org/x/sys/windows"

	"github.com/cardbroker/cardbroker"
)

// Self returns the user of this process's token; the zero UserID, which is nobody on Windows, if it cannot be read.
func Self() cardbroker.UserID {
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return cardbroker.UserID{}
	}
	return cardbroker.UserID{SID: user.User.Sid.String()}
}
