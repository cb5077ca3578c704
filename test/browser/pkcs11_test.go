// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package browser

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/cardbroker/cardbroker/api"
)

// modules is machine policy: under the name that applications know the token by, OpenSC's module, which has PIV cards.
const modules = "modules: {safenet: {preset: opensc, title: Cards of this host}}\n"

// policy writes machine policy and returns its directory.
func (h *host) policy(t *testing.T, text string) string {
	t.Helper()
	dir := h.Path("policy.d")
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		err = os.WriteFile(dir+"/modules.yaml", []byte(text), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// certificates are those of a token as the client hands them on.
type certificates struct {
	Certificates []struct{ Certificate, ID, Subject string }
}

// certificate parses the first one.
func (c certificates) parse(a *application) *x509.Certificate {
	a.h.t.Helper()
	if len(c.Certificates) == 0 {
		a.h.t.Errorf("%s: there is no certificate", a.Name)
		return nil
	}
	der, err := base64.StdEncoding.DecodeString(c.Certificates[0].Certificate)
	if err == nil {
		var certificate *x509.Certificate
		if certificate, err = x509.ParseCertificate(der); err == nil {
			return certificate
		}
	}
	a.h.t.Errorf("%s: the certificate %+v: %v", a.Name, c.Certificates[0], err)
	return nil
}

// token has the application use the card as a token of PKCS#11, and returns its certificate.
func (a *application) token(reader string) []byte {
	t := a.h.t
	t.Helper()
	call := func(data any, format string, args ...any) {
		t.Helper()
		a.call(fmt.Sprintf("client.safenet(%q).", reader)+fmt.Sprintf(format, args...), data)
	}
	var info struct{ Info api.TokenData }
	call(&info, "tokenData()")
	var algorithms api.Algorithms
	call(&algorithms, "allAlgoRefs()")
	if info.Info.Label == "" || len(info.Info.Mechanisms) == 0 || !slices.Contains(algorithms.Ref, "sha256") {
		t.Errorf("%s: the token is %+v, with %v", a.Name, info, algorithms)
	}
	var all struct{ AuthenticationCertificate certificates }
	call(&all, "allCertsExtended(false)")
	var one certificates
	call(&one, "authenticationCertificateExtended(false)")
	certificate := one.parse(a)
	if certificate == nil || len(all.AuthenticationCertificate.Certificates) == 0 {
		t.Fatalf("%s: certificates are %+v", a.Name, all)
	}
	var verified struct{ Verified bool }
	call(&verified, "verifyPin({pin: '123456'})")
	digest := sha256.Sum256([]byte("what " + a.Name + " signs"))
	hash := base64.StdEncoding.EncodeToString(digest[:])
	var signed, bulk struct{ Data string }
	call(&signed, "authenticate({algorithm: 'SHA256', data: %q, pin: '123456', id: %q})", hash, one.Certificates[0].ID)
	signature, err := base64.StdEncoding.DecodeString(signed.Data)
	if err == nil {
		err = rsa.VerifyPKCS1v15(certificate.PublicKey.(*rsa.PublicKey), crypto.SHA256, digest[:], signature)
	}
	if err != nil || !verified.Verified {
		t.Errorf("%s: PIN verified %v, the signature %v", a.Name, verified.Verified, err)
	}
	call(&bulk, "sign({algorithm: 'sha256', data: %q, pin: '123456', id: %q}, true)", hash, one.Certificates[0].ID)
	var valid struct{ Valid bool }
	call(&valid, "validateSignature({algorithm: 'sha256', hash: %q, signedHash: %q, id: %q})", hash, bulk.Data, one.Certificates[0].ID)
	var reset bool
	call(&reset, "resetBulkPin()")
	if !valid.Valid || !reset {
		t.Errorf("%s: the signature %s is valid: %v; the PIN is reset: %v", a.Name, bulk.Data, valid.Valid, reset)
	}
	a.call(fmt.Sprintf("client.generic(%q).sign('safenet', {algorithm: 'sha256', data: %q, pin: '123456'})", reader, hash), &signed)
	a.fails(fmt.Sprintf("client.generic(%q).tokenData('beid')", reader), 202706)
	return certificate.Raw
}
