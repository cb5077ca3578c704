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

// pinModes are the names of the modes in policy files.
var pinModes = [...]string{PINDeny: "deny", PINAgent: "agent", PINPassthrough: "passthrough"}

// ParsePINMode accepts deny, agent and passthrough.
func ParsePINMode(s string) (PINMode, error) {
	for mode, name := range pinModes {
		if s == name {
			return PINMode(mode), nil
		}
	}
	return PINDeny, Errorf(Invalid, "%q is not a PIN mode: want deny, agent or passthrough", s)
}

// String returns the name.
func (m PINMode) String() string {
	if int(m) < len(pinModes) {
		return pinModes[m]
	}
	return "unknown"
}
