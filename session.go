// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardbroker

import "strconv"

// UserID is a user as the kernel names him: a uid on Unix, a SID on Windows. It is comparable; two UserIDs are the same
// user if and only if they are equal. It never comes from a user name.
type UserID struct {
	UID uint32 // Unix; 0 (root) on Windows, where SID decides
	SID string // Windows, as S-1-5-…; empty on Unix
}

// String returns the SID, or the uid in decimal.
func (u UserID) String() string {
	if u.SID != "" {
		return u.SID
	}
	return strconv.FormatUint(uint64(u.UID), 10)
}

// SessionID names one logon of a user on the Host: "7" (logind, audit), "uid:1000" where the system has no sessions.
// On Unix an agent chooses its own, so it only routes among the agents of one user; the uid is the boundary.
type SessionID string

// maxName is the length of the longest SessionID and Tenant, in bytes.
const maxName = 64

// ParseSessionID accepts 1 to 64 letters, digits and any of ". _ : - #".
func ParseSessionID(s string) (SessionID, error) {
	if len(s) == 0 || len(s) > maxName {
		return "", Errorf(Invalid, "session id has %d characters, want 1 to %d", len(s), maxName)
	}
	if i := indexOther(s, "._:-#"); i >= 0 {
		return "", Errorf(Invalid, "session id: character %d is not a letter, a digit or one of . _ : - #", i+1)
	}
	return SessionID(s), nil
}

// Tenant is who stands behind an application: the name under which a back end is authenticated.
type Tenant string

// ParseTenant accepts 1 to 64 letters, digits and any of ". _ -".
func ParseTenant(s string) (Tenant, error) {
	if len(s) == 0 || len(s) > maxName {
		return "", Errorf(Invalid, "tenant name has %d characters, want 1 to %d", len(s), maxName)
	}
	if i := indexOther(s, "._-"); i >= 0 {
		return "", Errorf(Invalid, "tenant name: character %d is not a letter, a digit or one of . _ -", i+1)
	}
	return Tenant(s), nil
}

// indexOther returns the index of the first byte of s that is neither an ASCII letter, a digit nor in also, or -1.
func indexOther(s, also string) int {
next:
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			continue
		}
		for j := range len(also) {
			if c == also[j] {
				continue next
			}
		}
		return i
	}
	return -1
}
