// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package hostsession

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/windows"

	"github.com/cardbroker/cardbroker"
)

// Own returns the session of this process: "wts:", its number and the LUID of the logon, for numbers are used again after a
// logoff; else "sid:" and the user's SID.
func Own() Session {
	token := windows.GetCurrentProcessToken()
	var number uint32
	err := windows.ProcessIdToSessionId(windows.GetCurrentProcessId(), &number)
	logon, ok := logonLUID(token)
	if err == nil && ok {
		return Session{ID: cardbroker.SessionID(fmt.Sprintf("wts:%d-%x", number, logon)), Kind: WTS}
	}
	user, err := token.GetTokenUser()
	if err != nil {
		return Session{ID: "sid:unknown", Kind: None}
	}
	return Session{ID: cardbroker.SessionID("sid:" + user.User.Sid.String()), Kind: None}
}

// logonLUID returns the logon that a token is of: TOKEN_STATISTICS.AuthenticationId, unique until the next start of Windows.
func logonLUID(token windows.Token) (uint64, bool) {
	var statistics [56]byte // TokenId LUID, AuthenticationId LUID, …
	var n uint32
	err := windows.GetTokenInformation(token, windows.TokenStatistics, &statistics[0], uint32(len(statistics)), &n)
	luid := binary.LittleEndian.Uint64(statistics[8:16])
	return luid, err == nil && n >= 16 && luid != 0
}
