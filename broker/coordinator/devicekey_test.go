// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
)

// TestCheckDeviceKey: an agent's word goes to its user's pages, and no more than a key does.
func TestCheckDeviceKey(t *testing.T) {
	encode := func(public any) string {
		der, err := x509.MarshalPKIXPublicKey(public)
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	}
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := api.DeviceKey{PEM: encode(&private.PublicKey), Thumbprint: strings.Repeat("A", 43)}
	if err := checkDeviceKey(good); err != nil {
		t.Errorf("checkDeviceKey = %v", err)
	}
	for name, change := range map[string]func(k *api.DeviceKey){
		"nothing":             func(k *api.DeviceKey) { *k = api.DeviceKey{} },
		"no thumbprint":       func(k *api.DeviceKey) { k.Thumbprint = "" },
		"a longer thumbprint": func(k *api.DeviceKey) { k.Thumbprint += "AAAA" },
		"a page":              func(k *api.DeviceKey) { k.PEM = "<script>alert(1)</script>" },
		"a page before":       func(k *api.DeviceKey) { k.PEM = "<script>\n" + k.PEM },
		"a page behind":       func(k *api.DeviceKey) { k.PEM += "<script>" },
		"a certificate":       func(k *api.DeviceKey) { k.PEM = strings.ReplaceAll(k.PEM, "PUBLIC KEY", "CERTIFICATE") },
		"another kind of key": func(k *api.DeviceKey) { k.PEM = encode(&ec.PublicKey) },
		"no key": func(k *api.DeviceKey) {
			k.PEM = string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte{1}}))
		},
		"much":      func(k *api.DeviceKey) { k.PEM = strings.Repeat(" ", 5000) + k.PEM },
		"many keys": func(k *api.DeviceKey) { k.Keys = make([]api.DeviceJWK, 5) },
	} {
		k := good
		change(&k)
		if err := checkDeviceKey(k); cardbroker.ReasonOf(err) != cardbroker.Invalid {
			t.Errorf("%s: checkDeviceKey = %v, want invalid", name, err)
		}
	}
}
