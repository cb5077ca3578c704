// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package certs_test

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/certs"
	"github.com/cardbroker/cardbroker/internal/testenv"
)

// made returns a certificate that openssl has made, as PEM.
func made(t testing.TB, key []string, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	newKey := append([]string{"genpkey", "-out", filepath.Join(dir, "key.pem")}, key...)
	request := append([]string{"req", "-x509", "-key", filepath.Join(dir, "key.pem"), "-out", filepath.Join(dir, "cert.pem")}, args...)
	for _, line := range [][]string{newKey, request} {
		if out, err := exec.Command(testenv.Tool(t, "openssl"), line...).CombinedOutput(); err != nil {
			t.Fatalf("openssl %q: %v: %s", line, err, out)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func onCurve(name string) []string {
	return []string{"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:" + name}
}

func parse(t testing.TB, text string) certs.Certificate {
	t.Helper()
	c, err := certs.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// openssl says what openssl says of a certificate.
func openssl(t *testing.T, text string, args ...string) string {
	t.Helper()
	cmd := exec.Command(testenv.Tool(t, "openssl"), append([]string{"x509", "-noout"}, args...)...)
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("openssl %q: %v", args, err)
	}
	_, value, _ := strings.Cut(strings.TrimSuffix(string(out), "\n"), "=")
	return value
}

// TestAgainstOpenSSL compares with openssl what both can say, also of certificates that Go refuses.
func TestAgainstOpenSSL(t *testing.T) {
	for _, tt := range []struct {
		name     string
		key      []string
		args     []string
		kind     string
		bits     int
		readable bool // by crypto/x509
	}{
		{"a person", []string{"-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"},
			[]string{"-subj", "/C=BE/CN=Alice Example (Signature)/SN=Example/GN=Alice/serialNumber=71715100070", "-set_serial", "0x0ABC"}, certs.KeyRSA, 2048, true},
		{"a curve", onCurve("P-521"), []string{"-subj", `/O=A, B \+ C/CN=#x\<y\>;"z" /DC=example/emailAddress=a@b.example`}, certs.KeyEC, 521, true},
		{"a curve that Go does not have", onCurve("brainpoolP384r1"), []string{"-subj", "/CN=HBA"}, certs.KeyEC, 384, false},
		{"a negative serial number", onCurve("P-256"), []string{"-subj", "/CN=old", "-set_serial", "-1311"}, certs.KeyEC, 256, false},
		{"Edwards", []string{"-algorithm", "ED25519"}, []string{"-subj", "/CN=é ü/O= x "}, certs.KeyEd25519, 256, true},
		{"no name", onCurve("P-256"), []string{"-subj", "/"}, certs.KeyEC, 256, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := made(t, tt.key, append([]string{"-days", "10", "-utf8"}, tt.args...)...)
			c := parse(t, text)
			if kind, bits := c.Key(); kind != tt.kind || bits != tt.bits {
				t.Errorf("Key() = %s, %d, want %s, %d", kind, bits, tt.kind, tt.bits)
			}
			if got, want := c.SerialText(), openssl(t, text, "-serial"); got != want {
				t.Errorf("the serial number is %s, openssl says %s", got, want)
			}
			if got, want := c.Subject.String(), openssl(t, text, "-subject", "-nameopt", "RFC2253,-esc_msb,utf8"); got != strings.Replace(want, "GN=", "givenName=", 1) {
				t.Errorf("the subject is %s, openssl says %s", got, want)
			}
			if got := c.NotAfter.Format("Jan _2 15:04:05 2006 MST"); strings.Replace(got, "UTC", "GMT", 1) != openssl(t, text, "-enddate") {
				t.Errorf("it ends at %s, openssl says %s", got, openssl(t, text, "-enddate"))
			}
			if c.Version != 3 || !c.SelfIssued() || c.PEM() != text {
				t.Errorf("it is of version %d, self-issued: %v, as PEM %s", c.Version, c.SelfIssued(), c.PEM())
			}
			if (c.X509 != nil) != tt.readable {
				t.Errorf("crypto/x509 reads it: %v, want %v", c.X509 != nil, tt.readable)
			}
			if again := parse(t, c.Base64()); !slices.Equal(again.DER, c.DER) {
				t.Error("its base64 is another certificate")
			}
		})
	}
}

func TestDescribe(t *testing.T) {
	c := parse(t, made(t, onCurve("P-256"), "-days", "10", "-subj", "/CN=first/O=Example/CN=second",
		"-addext", "keyUsage=digitalSignature,nonRepudiation", "-addext", "extendedKeyUsage=clientAuth,1.3.6.1.4.1.311.20.2.2,1.2.3.4",
		"-addext", "subjectAltName=email:a@b.example,DNS:b.example,IP:192.0.2.1,URI:https://b.example/"))
	d := c.Describe(time.Now())
	hash := sha256.Sum256(c.X509.RawSubjectPublicKeyInfo)
	if d.KeyHash != hex.EncodeToString(hash[:]) || d.KeyType != "ec" || d.KeyBits != 256 || d.Warning != "expires_soon" {
		t.Errorf("Describe() = %+v", d)
	}
	for name, pair := range map[string][2][]string{
		"common names": {d.SubjectCNs, {"second", "first"}},
		"key usages":   {d.KeyUsages, {"digitalSignature", "nonRepudiation"}},
		"purposes":     {d.ExtKeyUsages, {"clientAuth", "smartCardLogon", "1.2.3.4"}},
		"other names":  {d.AlternativeNames, {"email:a@b.example", "dns:b.example", "ip:192.0.2.1", "uri:https://b.example/"}},
	} {
		if !slices.Equal(pair[0], pair[1]) {
			t.Errorf("%s: %q, want %q", name, pair[0], pair[1])
		}
	}
	if !c.CA() { // openssl's own configuration says so
		t.Error("CA() = false")
	}
}

// TestWarning has the moments at which it changes.
func TestWarning(t *testing.T) {
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c := certs.Certificate{NotBefore: from, NotAfter: from.Add(365 * 24 * time.Hour)}
	soon := c.NotAfter.Add(-30 * 24 * time.Hour)
	for at, want := range map[time.Time]certs.Warning{
		from.Add(-1):             certs.NotYetValid,
		from:                     "",
		soon.Add(-1):             "",
		soon:                     certs.ExpiresSoon,
		c.NotAfter:               certs.ExpiresSoon,
		c.NotAfter.Add(1):        certs.Expired,
		time.Unix(0, 0):          certs.NotYetValid,
		from.AddDate(9000, 0, 0): certs.Expired,
	} {
		if got := c.Warning(at); got != want {
			t.Errorf("at %v: %q, want %q", at, got, want)
		}
	}
}

// TestInvalid has what is no certificate; the error says where.
func TestInvalid(t *testing.T) {
	good := parse(t, made(t, onCurve("P-256"), "-subj", "/CN=x"))
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	tbs := []byte(good.X509.RawTBSCertificate)
	issuer := slices.Clone(good.DER)
	issuer[strings.Index(string(issuer), string(good.Issuer.Raw))] = asn1.TagSet
	for name, tt := range map[string]struct {
		text string
		want string
	}{
		"nothing":           {"", "certificate"},
		"words":             {"no certificate!", "base64: byte 2"},
		"a key":             {block("PRIVATE KEY", []byte{1}), "no CERTIFICATE"},
		"half a block":      {good.PEM()[:200], "does not end"},
		"two blocks":        {good.PEM() + good.PEM(), "follows after the certificate, at byte"},
		"cut":               {base64.StdEncoding.EncodeToString(good.DER[:len(good.DER)-1]), "certificate"},
		"something after":   {base64.StdEncoding.EncodeToString(append(slices.Clone(good.DER), 0)), "1 bytes follow"},
		"half of it":        {base64.StdEncoding.EncodeToString(tbs), "tbsCertificate"},
		"a set as a name":   {base64.StdEncoding.EncodeToString(issuer), "issuer"},
		"an empty sequence": {base64.StdEncoding.EncodeToString([]byte{0x30, 0}), "tbsCertificate"},
	} {
		_, err := certs.Parse(tt.text)
		if cardbroker.ReasonOf(err) != cardbroker.Invalid || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want invalid with %q", name, err, tt.want)
		}
	}
	if _, err := certs.Parse(strings.Repeat("A", certs.MaxSize+4)); cardbroker.ReasonOf(err) != cardbroker.TooLarge {
		t.Errorf("a long text: %v, want too_large", err)
	}
	if _, err := certs.ParseDER(make([]byte, certs.MaxSize+1)); cardbroker.ReasonOf(err) != cardbroker.TooLarge {
		t.Errorf("a long DER: %v, want too_large", err)
	}
}

// TestOldStrings has a name in the string types of old cards, and values that are no text.
func TestOldStrings(t *testing.T) {
	good := parse(t, made(t, onCurve("P-256"), "-subj", "/CN=AAAAAAAAAAAA/O=BBBBBBBBBBBB/OU=CCCCCC"))
	der := strings.ReplaceAll(string(good.DER), "\x0c\x0cAAAAAAAAAAAA", "\x14\x0cJos\xe9 M\xfcllers")
	der = strings.ReplaceAll(der, "\x0c\x0cBBBBBBBBBBBB", "\x1e\x0c\x00J\x00o\x00s\x00e\x00\x0a\x00x")
	der = strings.ReplaceAll(der, "\x0c\x06CCCCCC", "\x02\x06\x01CCCCC")
	c, err := certs.ParseDER([]byte(der))
	if err != nil {
		t.Fatal(err)
	}
	if want := `OU=#0206014343434343,O=Jose\0Ax,CN=José Müllers`; c.Subject.String() != want || c.Subject.CN() != "José Müllers" {
		t.Errorf("the name is %s, want %s", c.Subject, want)
	}
}

// FuzzParseDER: nothing panics, and what is read is as crypto/x509 reads it.
func FuzzParseDER(f *testing.F) {
	good := parse(f, made(f, onCurve("P-256"), "-subj", "/CN=x/O=y"))
	f.Add(good.DER)
	f.Add([]byte{0x30, 0x03, 0x30, 0x01, 0xa0})
	f.Fuzz(func(t *testing.T, der []byte) {
		c, err := certs.ParseDER(der)
		if err != nil {
			if reason := cardbroker.ReasonOf(err); reason != cardbroker.Invalid && reason != cardbroker.TooLarge {
				t.Fatalf("ParseDER = %v", err)
			}
			if _, err := x509.ParseCertificate(der); err == nil && len(der) <= certs.MaxSize {
				t.Fatalf("crypto/x509 reads what ParseDER does not")
			}
			return
		}
		d := c.Describe(time.Now())
		if c.X509 != nil && (c.X509.Version != d.Version || c.X509.SerialNumber.Cmp(c.Serial) != 0 || !c.X509.NotAfter.Equal(d.NotAfter)) {
			t.Fatalf("it is %+v, crypto/x509 says version %d, serial %v, until %v", d, c.X509.Version, c.X509.SerialNumber, c.X509.NotAfter)
		}
	})
}
