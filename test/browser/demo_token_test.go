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
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/test/tokenbed"
)

// newHSM gives the user a SoftHSM, before he logs on.
func (u *user) newHSM() *tokenbed.HSM {
	t := u.h.t
	t.Helper()
	if err := tokenbed.Supported(); err != nil {
		testenv.Skip(t, err.Error())
	}
	testenv.Tool(t, "gcc")
	dir := u.Home + "/hsm"
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	hsm, err := tokenbed.NewHSM(u.h.Context(), dir)
	if err == nil {
		err = tokenbed.Give(dir, int(u.Cred.Uid), int(u.Cred.Gid))
	}
	if err != nil {
		t.Fatal(err)
	}
	return hsm
}

// signsBySoftHSM uses a token that is in no reader.
func (d demoPage) signsBySoftHSM(hsm *tokenbed.HSM) {
	d.h.t.Helper()
	d.see("", "list", hsm.Label+" Token in no reader, by SoftHSM")
	d.run("[...by('list').querySelectorAll('label')].find(l => l.innerText.startsWith('" + hsm.Label + "')).querySelector('input').click()")
	d.see("token", "details", "Label "+hsm.Label)
	d.h.says(d.Page, "[...document.querySelectorAll('section')].filter(s => s.checkVisibility()).map(s => s.id).join()", "connection,consent,readers,card,sign")
	d.run(fmt.Sprintf("fill('verify', {pin: %q}); press('verify')", hsm.PIN))
	d.see("", "card", "The PIN is right")
	d.run("press('load')")
	d.see("certificates", "certificates", "CN=token 01")
	d.signs("softhsm", "01", hsm.PIN)
	d.run("fill('signing', {pin: '000000'}); press('signing')")
	d.see("wrong-token", "sign", "The PIN is wrong. Enter the right PIN.")
	d.run(fmt.Sprintf("fill('signing', {pin: %q}); press('signing')", hsm.PIN))
	d.see("last", "sign", "So few tries are left that the user has to enter the PIN himself") // a page is wrong once
	d.see("", "sign", "no web page may use up its last tries")
	d.refused("403")
}

// signs signs a text, and looks at the signature with the certificate's key: the page says that it is good, and so do we.
func (d demoPage) signs(module, id, pin string) {
	t := d.h.t
	t.Helper()
	d.run(fmt.Sprintf("fill('signing', {text: 'I agree to that.', id: %q, pin: %q}); press('signing')", id, pin))
	d.see("signed-"+module, "signing", "Signed, and verified: ")
	d.h.says(d.Page, "by('signing').elements.pin.value", "")
	signature, err := hex.DecodeString(d.h.do(d.Page, "by('signing').querySelector('output code').innerText"))
	if err != nil {
		t.Fatal(err)
	}
	agent := strings.Replace(d.h.users[0].agent, "localhost", "127.0.0.1", 1)
	certificate := d.h.do(d.Page, fmt.Sprintf(`(async () => {
		const place = by('list').querySelector(':checked').value;
		const {data} = await (await fetch('%s/v3/modules/%s/apps/token/readers/' + place + '/cert-list')).json();
		return Object.values(data).flatMap(kind => kind.certificates ?? []).find(c => c.id === '%s').certificate;
	})()`, agent, module, id))
	if err := judge(certificate, "I agree to that.", signature); err != nil {
		t.Errorf("the page says that the signature %X by %s is good: %v", signature, module, err)
	}
}

// judge says whether a signature of a text (RSASSA-PKCS1-v1_5 with SHA-256) is one by a certificate's key; the certificate is base64 of DER.
func judge(certificate, text string, signature []byte) error {
	der, err := base64.StdEncoding.DecodeString(certificate)
	if err != nil {
		return err
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	key, ok := parsed.PublicKey.(*rsa.PublicKey)
	if !ok {
		return fmt.Errorf("the key is a %T", parsed.PublicKey)
	}
	digest := sha256.Sum256([]byte(text))
	return rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], signature)
}

// refused takes what the browser complains of: refusals with statuses of HTTP that are expected, and nothing else.
func (d demoPage) refused(statuses ...string) {
	d.h.t.Helper()
	for _, line := range d.Told() {
		if !slices.ContainsFunc(statuses, func(status string) bool { return strings.Contains(line, status) }) {
			d.h.t.Errorf("the browser says %q, want refusals %v only", line, statuses)
		}
	}
}

// TestDemoCard: the demo with a card behind pcscd, which OpenSC's module signs with, in the first of two readers. The page asked about
// both at once, and showed the empty one, for good, where that answer came first; and what it heard twice of the card took away what the
// user had done meanwhile.
func TestDemoCard(t *testing.T) {
	h := setStage(t)
	h.needsPCSC()
	alice := &h.users[0]
	bed := alice.bed()
	if bed == nil {
		t.FailNow()
	}
	alice.logon("--pcsc-socket", bed.Socket(), "--policy", h.policy(t, modules))
	alice.browse()
	d := alice.demo()
	d.run(fmt.Sprintf("by('broker').value = %q; press('connect')", h.broker))
	d.see("", "consent", "This page may not use your cards yet")
	d.run(slow)
	d.run("press('ask')")
	alice.run(nil, "agent", "consent", "approve", h.do(d.Page, "location.origin"))
	d.see("pcsc", "details", "Modules safenet")
	d.run("press('load')")
	d.see("", "certificates", "CN=Software card 9a")
	d.signs("safenet", "01", "123456")
	d.Told()
	d.run("fill('signing', {pin: '654321'}); press('signing')")
	d.see("", "sign", "The PIN is wrong. Enter the right PIN.")
	d.refused("403")
	d.run("fill('verify', {pin: '654321'}); press('verify')")
	d.see("wrong-card", "card", "The PIN is wrong. Tries left: 1. Enter the right PIN.")
	d.run("letGo()")
	d.see("", "list", bed.Readers()[1])
	d.see("", "card", "The PIN is wrong. Tries left: 1. Enter the right PIN.")
	if err := bed.Remove(h.Context(), 0); err != nil {
		t.Fatal(err)
	}
	d.see("removed", "list", bed.Readers()[0]+" No card")
	d.h.says(d.Page, "by('card').hidden + ' ' + by('sign').hidden", "true true")
}
