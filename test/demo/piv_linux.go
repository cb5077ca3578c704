// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/apdu"
)

// The commands of the PIV application that the demo sends: NIST SP 800-73-4 part 2.
const (
	selectPIV = "00A4040009A0000003080000100000"
	getCHUID  = "00CB3FFF055C035FC10200"
	getCert9E = "00CB3FFF0000055C035FC1010000" // extended length: the certificate in one answer
	verifyPIN = "0020008008313233343536FFFF"
)

// apduLine is a line of `cardbroker reader apdu --json`.
type apduLine struct {
	Response string                                             `json:"response"`
	SW       string                                             `json:"sw"`
	Micros   struct{ Total, Network, Queue, Card, Agent int64 } `json:"us"`
}

// usePIV reads the card and signs with key 9E, which PIV allows without a PIN, in one tunnel; then it tries the PIN.
func (st *story) usePIV(ticket string) error {
	message := []byte("signed through a tunnel")
	digest := sha256.Sum256(message)
	sign := fmt.Sprintf("0087119E%02X7C%02X8200 81%02X%X 00", len(digest)+6, len(digest)+4, len(digest), digest)
	out, err := st.reader(tenant, ticket, "apdu", "-", selectPIV, getCHUID, getCert9E, sign, verifyPIN)
	if err != nil {
		return err
	}
	var answers []timedAnswer
	lines := json.NewDecoder(bytes.NewReader(out.Stdout))
	for _, what := range []string{"SELECT PIV", "GET DATA CHUID", "GET DATA certificate 9E", "GENERAL AUTHENTICATE 9E"} {
		answer := timedAnswer{what: what}
		if err := lines.Decode(&answer.apduLine); err != nil {
			return fmt.Errorf("%s: %w: %s", what, err, out.Stderr)
		}
		st.check(answer.SW == "9000", what, fmt.Sprintf("%d bytes, %s", len(answer.Response)/2, answer.SW))
		answers = append(answers, answer)
	}
	st.answers = append(st.answers, answers...)
	certificate, err := inside(answers[2].Response, 0x53, 0x70)
	if err != nil {
		return fmt.Errorf("the certificate: %w", err)
	}
	signature, err := inside(answers[3].Response, 0x7C, 0x82)
	if err != nil {
		return fmt.Errorf("the signature: %w", err)
	}
	verdict, err := st.openssl(certificate, signature, message)
	if err != nil {
		return err
	}
	st.check(strings.Contains(verdict, "Verified OK"), "openssl verifies the signature with the card's certificate", verdict)
	st.refused(out, cardbroker.RuleFirewall, "VERIFY through the tunnel is refused")
	return nil
}

// inside returns the value of a BER-TLV object of an answer, by the tags that lead to it.
func inside(answer string, path ...apdu.Tag) ([]byte, error) {
	raw, err := hex.DecodeString(answer)
	if err != nil {
		return nil, err
	}
	value, ok := apdu.Find(raw, path...)
	if !ok {
		return nil, fmt.Errorf("no object %X in %s", path, answer)
	}
	return value, nil
}

// openssl verifies an ECDSA signature over message with the certificate's key.
func (st *story) openssl(certificate, signature, message []byte) (string, error) {
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})
	for name, content := range map[string][]byte{"card.pem": text, "signature": signature, "message": message} {
		if err := os.WriteFile(st.Path(name), content, 0o600); err != nil {
			return "", err
		}
	}
	key, err := exec.CommandContext(st.Context(), "openssl", "x509", "-in", st.Path("card.pem"), "-noout", "-pubkey").Output()
	if err != nil {
		return "", fmt.Errorf("openssl x509: %w", err)
	}
	if err := os.WriteFile(st.Path("card.pub"), key, 0o600); err != nil {
		return "", err
	}
	verdict, err := exec.CommandContext(st.Context(), "openssl", "dgst", "-sha256", "-verify", st.Path("card.pub"),
		"-signature", st.Path("signature"), st.Path("message")).CombinedOutput()
	return string(verdict), err
}
