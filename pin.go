// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardbroker

// PINMode says what becomes of PINs in a tunnel. The zero value is PINDeny.
type PINMode uint8

// The modes, of which machine policy chooses one for each tenant.
const (
	PINDeny        PINMode = iota // no command that carries a PIN
	PINAgent                      // the agent asks its user and builds the command: the reader has a pin pad
	PINPassthrough                // the back end knows the PIN and sends it
)

// ParsePINMode accepts deny, agent and passthrough.
func ParsePINMode(s string) (PINMode, error) {
	for mode := PINDeny; mode <= PINPassthrough; mode++ {
		if s == mode.String() {
			return mode, nil
		}
	}
	return PINDeny, Errorf(Invalid, "%q is not a PIN mode: want deny, agent or passthrough", s)
}

// String returns the name.
func (m PINMode) String() string {
	switch m {
	case PINDeny:
		return "deny"
	case PINAgent:
		return "agent"
	case PINPassthrough:
		return "passthrough"
	}
	return "unknown"
}
