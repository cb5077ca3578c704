// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package x509_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	stdx509 "crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/x509"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
)

// made returns the DER of a certificate of "Alice", issued by "Some CA".
func made(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	subject := &stdx509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "Alice"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := stdx509.CreateCertificate(rand.Reader, subject, &stdx509.Certificate{Subject: pkix.Name{CommonName: "Some CA"}}, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// ask posts a body to the helper of that name, and returns what it answers as text, JSON, or the reason that it does not.
func ask(t *testing.T, name, body string) string {
	t.Helper()
	for _, route := range (x509.Helpers{}).Routes() {
		if route.Method != "POST" || route.Access != httpserver.Self {
			t.Errorf("%s %s is for %v", route.Method, route.Path, route.Access)
		}
		if route.Path != "/v3/modules/x509/"+name {
			continue
		}
		w := httptest.NewRecorder()
		if err := route.Handle(w, httptest.NewRequest("POST", route.Path, strings.NewReader(body))); err != nil {
			if missing := body == "{}" || body == `{"cert":""}`; missing != strings.HasPrefix(api.Describe(err).Description, "cert: it is missing") {
				t.Errorf("%s of %.40s: %v", name, body, err)
			}
			return string(cardbroker.ReasonOf(err))
		}
		var answer struct{ Data json.RawMessage }
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			t.Fatal(err)
		}
		var text string
		if json.Unmarshal(answer.Data, &text) != nil {
			text = string(answer.Data)
		}
		return text
	}
	t.Fatalf("there is no helper %s", name)
	return ""
}

// TestHelpers has each helper tell what it is for, of PEM as of base64, and refuse all that is no certificate.
func TestHelpers(t *testing.T) {
	der := made(t)
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	for _, cert := range []string{text, base64.StdEncoding.EncodeToString(der)} {
		body, err := json.Marshal(api.X509Request{Cert: cert})
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{"subject-cn": "Alice", "issuer-cn": "Some CA"} {
			if got := ask(t, name, string(body)); got != want {
				t.Errorf("%s = %q, want %q", name, got, want)
			}
		}
		if block, _ := pem.Decode([]byte(ask(t, "pem", string(body)))); block == nil || string(block.Bytes) != string(der) {
			t.Error("pem is not that of the certificate")
		}
		if got := ask(t, "json", string(body)); !strings.Contains(got, `"Alice"`) || !strings.Contains(got, `"Some CA"`) {
			t.Errorf("json is %s", got)
		}
	}
	for _, body := range []string{"", "{}", `{"cert":""}`, `{"cert":"AAAA"}`, `{"cert":"` + base64.StdEncoding.EncodeToString(der[:40]) + `"}`, `{"cert":"AAAA","more":1}`, `[]`} {
		for _, name := range []string{"subject-cn", "issuer-cn", "pem", "json"} {
			if got := ask(t, name, body); got != string(cardbroker.Invalid) {
				t.Errorf("%s of %.40s is %q, want invalid", name, body, got)
			}
		}
	}
}
