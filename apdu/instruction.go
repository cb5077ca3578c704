// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package apdu

import "fmt"

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

// InstructionName returns the name of an instruction in the interindustry classes, ISO/IEC 7816-4 §5.4.2, such as READ
// BINARY; of one that has none, "the instruction 5A". An odd code is the same command with BER-TLV data.
func InstructionName(ins byte) string {
	if name := PINCommand(ins); name != "" {
		return name
	}
	switch ins {
	case 0x22:
		return "MANAGE SECURITY ENVIRONMENT"
	case 0x2A, 0x2B:
		return "PERFORM SECURITY OPERATION"
	case 0x46, 0x47:
		return "GENERATE ASYMMETRIC KEY PAIR"
	case 0x70:
		return "MANAGE CHANNEL"
	case 0x82:
		return "EXTERNAL AUTHENTICATE"
	case 0x84:
		return "GET CHALLENGE"
	case 0x86, 0x87:
		return "GENERAL AUTHENTICATE"
	case 0x88:
		return "INTERNAL AUTHENTICATE"
	case 0xA4:
		return "SELECT"
	case 0xB0, 0xB1:
		return "READ BINARY"
	case 0xB2, 0xB3:
		return "READ RECORD"
	case 0xC0:
		return "GET RESPONSE"
	case 0xC2, 0xC3:
		return "ENVELOPE"
	case 0xCA, 0xCB:
		return "GET DATA"
	case 0xD0, 0xD1:
		return "WRITE BINARY"
	case 0xD6, 0xD7:
		return "UPDATE BINARY"
	case 0xDA, 0xDB:
		return "PUT DATA"
	case 0xDC, 0xDD:
		return "UPDATE RECORD"
	case 0xE4:
		return "DELETE FILE"
	case 0x44:
		return "ACTIVATE FILE"
	case 0x04:
		return "DEACTIVATE FILE"
	case 0x0E, 0x0F:
		return "ERASE BINARY"
	}
	return fmt.Sprintf("the instruction %02X", ins)
}
