// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/test/sealed"
	"github.com/cardbroker/cardbroker/test/tokenbed"
)

// program is the origin of who is no web page.
const program = ""

// newHSM gives alice a SoftHSM, which needs no reader, and returns the policy of its module.
func (st *story) newHSM() (policy string, err error) {
	if err := tokenbed.Supported(); err != nil {
		st.note("no SoftHSM: the demo %v", err)
		return "", nil
	}
	alice := &st.Users[0]
	dir := alice.Home + "/hsm"
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	if st.hsm, err = tokenbed.NewHSM(st.Context(), dir); err != nil {
		return "", err
	}
	return "  softhsm: " + st.hsm.Module() + "\n", tokenbed.Give(dir, int(alice.Cred.Uid), int(alice.Cred.Gid))
}

// tokens has a page and a program of alice's use the tokens of PKCS#11 modules, over REST.
func (st *story) tokens() error {
	if _, err := st.askConsent(&st.Users[0]); err != nil {
		return err
	}
	reader, err := st.insertedReader()
	if err != nil {
		return err
	}
	card := held{st, "opensc", reader, shop, pin}
	if st.policy == "" {
		st.scene("A web page encrypts alice's PIN, and her card compares it")
		st.note("PKCS#11 modules, and with them signatures, are not shown: only root can make machine policy")
		return card.tellsTries()
	}
	st.scene("A web page signs with alice's card through its PKCS#11 module: the PIN is encrypted in the page")
	if err := st.modules(); err != nil {
		return err
	}
	if err := card.uses(); err != nil {
		return err
	}
	if err := card.tellsTries(); err != nil || st.hsm == nil {
		return err
	}
	st.scene("A program signs with a token that is in no reader")
	var slots api.Slots
	if _, err := st.asks(&st.Users[0], program, http.MethodGet, "/cb/v1/modules/softhsm/slots?present=true", nil, &slots); err != nil {
		return err
	}
	i := slices.IndexFunc(slots.Slots, func(s api.Slot) bool { return s.Reader == "" && s.Token != nil && s.Token.Label == st.hsm.Label })
	if !st.check(i >= 0, "alice's SoftHSM has a token in a slot, which has an id", st.hsm.Label) {
		return nil
	}
	return (held{st, "softhsm", string(slots.Slots[i].ID), program, st.hsm.PIN}).uses()
}

// modules lists them as the page sees them, and as bob's agent has alice's.
func (st *story) modules() error {
	var list api.Modules
	said, err := st.asks(&st.Users[0], shop, http.MethodGet, "/cb/v1/modules?library=true", nil, &list)
	if err != nil {
		return err
	}
	var seen []string
	for _, m := range list.Modules {
		if m.Library != nil {
			seen = append(seen, fmt.Sprintf("%s (%s)", m.Name, m.Library.Description))
		}
	}
	st.check(len(seen) == len(list.Modules) && len(seen) > 0, "it sees the modules of policy, by name", strings.Join(seen, ", "))
	st.check(!bytes.Contains(said.Body, []byte(".so")), "and no path of a library", "")
	if st.hsm == nil {
		return nil
	}
	said, err = st.asks(&st.Users[1], program, http.MethodGet, "/cb/v1/modules/softhsm/slots?present=true", nil, nil)
	st.check(reasonOf(said) == cardbroker.Unavailable, "bob's agent has no way to alice's SoftHSM, which is in her home", fmt.Sprintf("%d %s", said.Status, reasonOf(said)))
	return err
}

// held is one of alice's tokens, and who uses it: a page by its origin, or a program.
type held struct {
	*story
	module, id  string
	origin, pin string
}

// uses reads the certificates, signs, lets openssl verify that, and tries a wrong PIN.
func (h held) uses() error {
	var list map[string]struct{ Certificates []api.TokenCertificate }
	if _, err := h.does(http.MethodGet, "cert-list", nil, &list); err != nil {
		return err
	}
	own := list["authenticationCertificate"].Certificates
	i := slices.IndexFunc(own, func(c api.TokenCertificate) bool { return c.Exponent != "" }) // RSA: openssl takes the signature as it is
	if !h.check(i >= 0, "it reads the certificates", fmt.Sprintf("%d kinds, of which %d to log in by", len(list), len(own))) {
		return nil
	}
	by := own[i]
	message := []byte("signed through REST and " + h.module)
	if err := h.signs(by, message, "a signature by "+by.Subject+", with the encrypted PIN, is good"); err != nil {
		return err
	}
	wrong, err := h.encrypt("000000")
	if err != nil {
		return err
	}
	said, err := h.does(http.MethodPost, "sign", wish(by.ID, message, wrong), nil)
	if err != nil {
		return err
	}
	h.check(reasonOf(said) == cardbroker.PINIncorrect, "a wrong PIN is refused", fmt.Sprintf("%d %s", said.Status, reasonOf(said)))
	if said, err = h.does(http.MethodPost, "sign", wish(by.ID, message, h.pin), nil); err != nil {
		return err
	}
	h.check(reasonOf(said) == cardbroker.PINNotEncrypted, "a PIN in clear is refused, whether it is right or not", fmt.Sprintf("%d %s", said.Status, reasonOf(said)))
	return nil
}

// tellsTries has the card itself compare PINs, without a module: it tells how many tries are left. Then it is the right one's turn, for which
// alice is asked at her desk, where policy says how.
func (h held) tellsTries() error {
	what, dialog, right := "the right one, encrypted likewise, is right", false, h.pin
	if h.policy != "" {
		what, dialog, right = "the page has alice asked at her desk, and she enters the right one", true, ""
	}
	said, err := h.compare("000000", false)
	if err != nil {
		return err
	}
	var body api.ErrorBody
	json.Unmarshal(said.Body, &body)
	h.check(body.Reason == cardbroker.PINIncorrect && body.Retries != nil, "asked without a module, the card tells how many tries are left", said.text())
	if said, err = h.compare(right, dialog); err != nil {
		return err
	}
	var verified api.PINVerified
	json.Unmarshal(said.Body, &verified)
	h.check(verified.Verified, what, said.text())
	return nil
}

// compare has the card compare a PIN of its PIV application; with dialog one that the agent asks for.
func (h held) compare(pin string, dialog bool) (said got, err error) {
	body := map[string]any{"reference": "80", "aid": "A000000308", "osDialog": dialog}
	if !dialog {
		if body["pin"], err = h.encrypt(pin); err != nil {
			return said, err
		}
	}
	return h.asks(&h.Users[0], h.origin, http.MethodPost, "/cb/v1/readers/"+h.id+"/verify-pin", body, nil)
}

// signs has the token sign, and openssl judge.
func (h held) signs(by api.TokenCertificate, message []byte, what string) error {
	encrypted, err := h.encrypt(h.pin)
	if err != nil {
		return err
	}
	var signed api.TokenSignature
	said, err := h.does(http.MethodPost, "sign", wish(by.ID, message, encrypted), &signed)
	if err != nil || signed.Data == "" {
		h.check(false, what, string(said.Body))
		return err
	}
	certificate, err := base64.StdEncoding.DecodeString(by.Certificate)
	if err != nil {
		return err
	}
	signature, err := base64.StdEncoding.DecodeString(signed.Data)
	if err != nil {
		return err
	}
	verdict, err := h.openssl(certificate, signature, message)
	h.verified(verdict, what)
	return err
}

// encrypt encrypts a PIN for the token: as our SDK does in a page, and for a program as existing clients do.
func (h held) encrypt(pin string) (string, error) {
	alice := &h.Users[0]
	if h.origin == program {
		var text string
		if _, err := h.asks(alice, program, http.MethodGet, "/device-key", nil, &text); err != nil {
			return "", err
		}
		return sealed.PKCS1(text, []byte(pin))
	}
	var keys api.DeviceKeys
	if _, err := h.asks(alice, h.origin, http.MethodGet, "/cb/v1/device-key", nil, &keys); err != nil {
		return "", err
	}
	var challenge api.PINChallenge
	if _, err := h.asks(alice, h.origin, http.MethodPost, "/cb/v1/pin-challenges", struct{}{}, &challenge); err != nil {
		return "", err
	}
	return sealed.JWE(keys.Keys[0], sealed.NewHeader(keys.Keys[0], h.id, challenge.Nonce), []byte(pin))
}

// does makes a call of the token.
func (h held) does(method, call string, body, v any) (got, error) {
	return h.asks(&h.Users[0], h.origin, method, "/v3/modules/"+h.module+"/apps/token/readers/"+h.id+"/"+call, body, v)
}

// wish is the body of a request for a signature.
func wish(id string, message []byte, pin string) map[string]any {
	digest := sha256.Sum256(message)
	return map[string]any{"algorithm": "sha256", "id": id, "data": base64.StdEncoding.EncodeToString(digest[:]), "pin": pin}
}
