// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package tokens

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	_ "crypto/sha1"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/test/pcscbed"
	"github.com/cardbroker/cardbroker/test/tokenbed"
)

// signsAll has the token sign by each of its algorithms, and compares each signature with the certificate, by ourselves and by validate.
func (p *page) signsAll(id, pin string, names ...string) {
	p.t.Helper()
	var all map[string]api.TokenCertificates
	p.ask("GET", "cert-list", nil, "", &all)
	var key any
	for _, of := range all {
		for _, c := range of.Certificates {
			if c.ID == id {
				der, err := base64.StdEncoding.DecodeString(c.Certificate)
				if err != nil {
					p.t.Fatal(err)
				}
				parsed, err := x509.ParseCertificate(der)
				if err != nil {
					p.t.Fatal(err)
				}
				key = parsed.PublicKey
			}
		}
	}
	body := fields{"id": id, "pin": p.pin(pin)}
	for _, scheme := range names {
		for name, hash := range map[string]crypto.Hash{"sha1": crypto.SHA1, "sha256": crypto.SHA256, "sha384": crypto.SHA384, "sha512": crypto.SHA512} {
			h := hash.New()
			h.Write([]byte("what is signed"))
			digest := h.Sum(nil)
			body["algorithm"], body["data"] = scheme+name, base64.StdEncoding.EncodeToString(digest)
			var signature api.TokenSignature
			p.ask("POST", "sign?bulk=true", body, "", &signature)
			delete(body, "pin") // the first signature has begun a PIN session
			raw, err := base64.StdEncoding.DecodeString(signature.Data)
			if err != nil || !fits(key, scheme, hash, digest, raw) {
				p.t.Errorf("%s%s by key %s: %x is no signature: %v", scheme, name, id, raw, err)
			}
			for _, flip := range []byte{0, 1} {
				raw[len(raw)/3] ^= flip
				var valid api.SignatureValid
				p.ask("POST", "validate", fields{"id": id, "algorithm": scheme + name, "hash": body["data"], "signedHash": base64.StdEncoding.EncodeToString(raw)}, "", &valid)
				if valid.Valid != (flip == 0) {
					p.t.Errorf("%s%s by key %s: valid is %v for a signature of which %d bit is changed", scheme, name, id, valid.Valid, flip)
				}
			}
		}
	}
	p.ask("GET", "/v3/modules/"+p.module+"/apps/token/reset-bulk-pin", nil, "", nil)
}

func fits(key any, scheme string, hash crypto.Hash, digest, signature []byte) bool {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if scheme == "rsassa_pss_" {
			return rsa.VerifyPSS(key, hash, digest, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
		return rsa.VerifyPKCS1v15(key, hash, digest, signature) == nil
	case *ecdsa.PublicKey:
		half := len(signature) / 2
		return half == 32 && ecdsa.Verify(key, digest, new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:]))
	}
	return false
}

// TestSoftHSM signs by every key and scheme, changes the PIN, blocks nothing, and sets it by the PUK.
func TestSoftHSM(t *testing.T) {
	if err := tokenbed.Supported(); err != nil {
		testenv.Skip(t, err.Error())
	}
	h, err := tokenbed.NewHSM(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p := newPage(t, config.Module{Name: "softhsm", Title: "SoftHSM", Library: h.Library, Env: []string{"SOFTHSM2_CONF=" + h.Conf}, Read: h.Read, Write: h.Write}, "", "")
	var info api.TokenInfo
	p.ask("GET", "info", nil, "", &info)
	if info.Info.Label != h.Label || !info.Info.Flags.LoginRequired || len(info.Info.Mechanisms) < 10 {
		t.Errorf("the token is %+v", info)
	}
	p.signsAll("01", h.PIN, "", "rsassa_pkcs1_", "rsassa_pss_")
	p.signsAll("02", h.PIN, "", "ecdsa_")
	p.docs(h.PIN)
	p.ask("POST", "verify-pin", fields{"pin": p.pin(h.PIN)}, "", nil)
	fresh, last := tokenbed.Digits(10), tokenbed.Digits(6)
	p.ask("POST", "change-pin", fields{"pin": p.pin(h.PIN), "newPin": p.pin(fresh)}, "", nil)
	p.ask("POST", "verify-pin", fields{"pin": p.pin(fresh)}, "", nil)
	p.ask("POST", "reset-pin", fields{"puk": p.pin(h.PUK), "pin": p.pin(last)}, "", nil)
	p.ask("POST", "verify-pin", fields{"pin": p.pin(last)}, "", nil)
	// One wrong PIN, and one wrong PUK, are all that a page has where a token does not tell its tries; so they come last.
	p.ask("POST", "verify-pin", fields{"pin": p.pin(h.PIN)}, cardbroker.PINIncorrect, nil)
	p.ask("POST", "reset-pin", fields{"puk": p.pin(last), "pin": p.pin(last)}, cardbroker.PINIncorrect, nil)
}

// docs runs what docs/tokens-pkcs11.md shows.
func (p *page) docs(pin string) {
	p.t.Helper()
	for _, tool := range []string{"curl", "openssl"} {
		testenv.Tool(p.t, tool)
	}
	text, err := os.ReadFile("../../docs/tokens-pkcs11.md")
	if err != nil {
		p.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```sh\n")
	code, _, _ := strings.Cut(rest, "```")
	shell := exec.CommandContext(p.t.Context(), "/bin/sh", "-ec", code)
	shell.Dir = p.t.TempDir()
	shell.Env = []string{"PATH=/usr/bin:/bin", "AGENT=http://" + p.Address, "MODULE=" + p.module, "TOKEN=" + p.token, "KEY=01", "PIN=" + pin}
	out, err := shell.CombinedOutput()
	if want := "Verified OK\n{\"success\":true,\"data\":{\"valid\":true}}\n"; err != nil || string(out) != want {
		p.t.Errorf("the shell says %s, %v, want %s", out, err, want)
	}
}

// TestOpenSC signs with the PIV card in a reader, which is told apart by its labels, and follows its removal.
func TestOpenSC(t *testing.T) {
	libraries, err := filepath.Glob("/usr/lib/*/opensc-pkcs11.so")
	if err != nil || len(libraries) == 0 {
		testenv.Skip(t, "needs OpenSC's module")
	}
	if err := pcscbed.Supported(); err != nil {
		testenv.Skip(t, err.Error())
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "bed") // short: there is a socket below
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	b, err := pcscbed.Start(ctx, pcscbed.Config{Dir: filepath.Join(dir, "bed"), Readers: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Stop()
	if err := b.Insert(ctx, 0, pcscbed.Card{}); err != nil {
		t.Fatal(err)
	}
	p := newPage(t, config.Module{Name: "opensc", Title: "OpenSC", Library: libraries[0], PCSC: true, Read: []string{"/etc/opensc"}}, b.Socket(), b.Readers()[0])
	for kind, id := range map[string]string{"authentication-cert": "01", "nonrepudiation-cert": "02", "encryption-cert": "03"} {
		var of api.TokenCertificates
		p.ask("GET", kind, nil, "", &of)
		if len(of.Certificates) == 0 || of.Certificates[0].ID != id {
			t.Errorf("%s is %+v, want id %s", kind, of, id)
		}
	}
	p.signsAll("01", "123456", "", "rsassa_pss_")
	p.signsAll("02", "123456", "")
	p.ask("POST", "authenticate", fields{"algorithm": "sha256", "hashed": false, "data": "AAAA", "pin": p.pin("123456")}, "", nil)
	p.ask("POST", "sign", fields{"algorithm": "sha256", "hashed": false, "data": "AAAA", "pin": p.pin("000000")}, cardbroker.PINIncorrect, nil)
	if err := b.Remove(ctx, 0); err != nil {
		t.Fatal(err)
	}
	p.Remove()
	p.ask("GET", "info", nil, cardbroker.CardAbsent, nil)
}
