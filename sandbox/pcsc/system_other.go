// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !windows

package pcsc

import (
	"cmp"
	"os"
)

// codeUnsupported is SCARD_E_UNSUPPORTED_FEATURE of pcsc-lite. The same number is SCARD_E_UNEXPECTED on Windows.
const codeUnsupported uint32 = 0x8010001F

// systemMeanings adds nothing: pcsc-lite has no other numbers.
func systemMeanings() []meaning { return nil }

func isSystemLost(uint32) bool { return false }

// place says where the service is looked for: pcsc-lite's socket.
func place() string { return cmp.Or(os.Getenv("PCSCLITE_CSOCK_NAME"), "/run/pcscd/pcscd.comm") }
