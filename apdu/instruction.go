// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package apdu

// PINCommand returns the name of an instruction whose data may hold a PIN or PUK, or "": ISO/IEC 7816-4 §11.6. The odd
// code of each is the same command with BER-TLV data. It holds for every class.
func PINCommand(ins byte) string {
	switch ins {
	case 0x20, 0x21:
		return "VERIFY"
	case 0x24, 0x25:
		return "CHANGE REFERENCE DATA"
	case 0x26, 0x27:
		return "DISABLE VERIFICATION REQUIREMENT"
	case 0x28, 0x29:
		return "ENABLE VERIFICATION REQUIREMENT"
	case 0x2C, 0x2D:
		return "RESET RETRY COUNTER"
	}
	return ""
}
