// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pki_test

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/test/softtoken"
)

// TestCertificates lists them by kind, in the forms that existing clients know.
func TestCertificates(t *testing.T) {
	b := newBed(t, config.PINPolicy{})
	var all map[string]api.TokenCertificates
	b.want("", "GET", "cert-list", nil, &all)
	for name, want := range map[string]struct{ ids, subject, warning string }{
		"authenticationCertificate": {"01", "CN=authentication,O=Tests\\, Ltd", ""},
		"nonRepudiationCertificate": {"02", "CN=signature,O=Tests\\, Ltd", "expires_soon"},
		"encryptionCertificate":     {"03", "CN=encryption,O=Tests\\, Ltd", "expired"},
		"issuerCertificate":         {"11", "CN=issuing,O=Tests\\, Ltd", ""},
		"intermediateCertificates":  {"11", "CN=issuing,O=Tests\\, Ltd", ""},
		"rootCertificate":           {"10", "CN=root,O=Tests\\, Ltd", ""},
	} {
		rows := all[name].Certificates
		if len(rows) != 1 || rows[0].ID != want.ids || rows[0].Subject != want.subject || rows[0].Warning != want.warning {
			t.Errorf("%s is %+v, want id %s of %s, warning %q", name, rows, want.ids, want.subject, want.warning)
		}
	}
	row := all["authenticationCertificate"].Certificates[0]
	der, err := base64.StdEncoding.DecodeString(row.Certificate)
	if err != nil || string(der) != string(b.Token.Certificate(softtoken.Authentication).Raw) {
		t.Errorf("the certificate is another one: %v", err)
	}
	if row.Exponent != "010001" || len(row.Remainder) != 512 || row.SerialNumber != "1001" || len(row.HashSubPubKey) != 64 ||
		row.HashIssPubKey != all["issuerCertificate"].Certificates[0].HashSubPubKey || row.ExpiresInDays != 364 {
		t.Errorf("the row is %+v", row)
	}
	if days := all["encryptionCertificate"].Certificates[0].ExpiresInDays; days != -2 { // since more than a day
		t.Errorf("the certificate that has expired expires in %d days", days)
	}
}

// TestOneKind asks for certificates of one kind, and for none that is there.
func TestOneKind(t *testing.T) {
	b := newBed(t, config.PINPolicy{})
	for path, id := range map[string]string{
		"authentication-cert": "01", "nonrepudiation-cert": "02", "encryption-cert": "03", "issuer-cert": "11", "intermediate-certs": "11", "root-cert": "10",
	} {
		var found api.TokenCertificates
		b.want("", "GET", path, nil, &found)
		if len(found.Certificates) != 1 || found.Certificates[0].ID != id || !strings.HasPrefix(path, strings.ToLower(found.Certificates[0].Type)) {
			t.Errorf("%s is %+v", path, found)
		}
	}
	b.Token.Forget()
	if s := b.want("", "GET", "root-cert", nil, nil); string(s.Data) != "{}" {
		t.Errorf("without certificates it is %s: existing clients look into an empty list", s.Data)
	}
	if s := b.want("", "GET", "cert-list", nil, nil); string(s.Data) != "{}" {
		t.Errorf("without certificates the list is %s", s.Data)
	}
	for _, path := range []string{"picture", "address", "all-data", "biometric"} {
		b.want(cardbroker.Unsupported, "GET", path, nil, nil)
	}
}

// TestFilter narrows the list.
func TestFilter(t *testing.T) {
	b := newBed(t, config.PINPolicy{})
	for filter, want := range map[string][]string{
		"authentication":                   {"authenticationCertificate"},
		"root,issuer":                      {"issuerCertificate", "rootCertificate"},
		"rootCertificate,encryption-cert":  {"encryptionCertificate", "rootCertificate"},
		"intermediateCertificates":         {"intermediateCertificates"},
		"nonrepudiation-cert,INTERMEDIATE": {"intermediateCertificates", "nonRepudiationCertificate"},
	} {
		var all map[string]json.RawMessage
		b.want("", "GET", "cert-list?filter="+filter, nil, &all)
		var names []string
		for name := range all {
			names = append(names, name)
		}
		slices.Sort(names)
		if !slices.Equal(names, want) {
			t.Errorf("filter=%s: %q, want %q", filter, names, want)
		}
	}
	b.want(cardbroker.Invalid, "GET", "cert-list?filter=photo", nil, nil)
}

// TestInfo is the token in the form of existing clients.
func TestInfo(t *testing.T) {
	b := newBed(t, config.PINPolicy{})
	var info api.TokenInfo
	b.want("", "GET", "info", nil, &info)
	if info.InfoType != 1 || info.Module.Name != "card" || info.Info.Slot != "7" || info.Info.SerialNumber != "4711" || !info.Info.Flags.LoginRequired ||
		info.Info.Flags.UserPINCountLow || len(info.Info.Mechanisms) != 5 || !info.Info.Mechanisms[1].Flags.Sign || info.Info.Mechanisms[4].Mechanism != "0x80000001" {
		t.Errorf("the token is %+v", info)
	}
	var refs api.Algorithms
	b.want("", "GET", "supported-algorithms", nil, &refs)
	want := "sha1 sha256 sha384 sha512 rsassa_pkcs1_sha1 ecdsa_sha1 rsassa_pkcs1_sha256 rsassa_pss_sha256 ecdsa_sha256 " +
		"rsassa_pkcs1_sha384 ecdsa_sha384 rsassa_pkcs1_sha512 ecdsa_sha512"
	if got := strings.Join(refs.Ref, " "); got != want {
		t.Errorf("the algorithms are %s, want %s", got, want)
	}
	b.on("few")
	b.want("", "GET", "supported-algorithms", nil, &refs)
	if got, want := strings.Join(refs.Ref, " "), "sha256 rsassa_pkcs1_sha256"; got != want { // by a mechanism that makes the same signature
		t.Errorf("where policy allows CKM_SHA256_RSA_PKCS alone the algorithms are %s, want %s", got, want)
	}
}

// TestModules lists them with their slots; a slot's id stands where a reader's may, until another token is in it.
func TestModules(t *testing.T) {
	b := newBed(t, config.PINPolicy{})
	var modules api.Modules
	b.want("", "GET", "/cb/v1/modules", nil, &modules)
	if m := modules.Modules; len(m) != 3 || m[0].Name != "card" || m[0].State != "idle" || m[0].Library != nil || m[2].State != "running" || m[2].Library == nil {
		t.Errorf("the modules are %+v", m)
	}
	b.want("", "GET", "/cb/v1/modules?library=true", nil, &modules)
	if modules.Modules[0].Library == nil {
		t.Errorf("the modules are %+v", modules)
	}
	for _, module := range []string{"card", "soft"} {
		var slots api.Slots
		b.want("", "GET", "/cb/v1/modules/"+module+"/slots", nil, &slots)
		if len(slots.Slots) != 2 || (slots.Slots[0].Reader == b.Reader()) != (module == "card") || slots.Slots[0].Token == nil || slots.Slots[1].Token != nil {
			t.Fatalf("the slots are %+v", slots)
		}
		b.want("", "GET", "/cb/v1/modules/"+module+"/slots?present=true", nil, &slots)
		if len(slots.Slots) != 1 {
			t.Errorf("the slots with a token are %+v", slots)
		}
		own := "/v3/modules/" + module + "/apps/token/readers/" + string(slots.Slots[0].ID) + "/info"
		b.want("", "GET", own, nil, nil)
		var of api.TokenData
		b.want("", "GET", "/cb/v1/modules/"+module+"/slots/"+string(slots.Slots[0].ID)+"/token", nil, &of)
		if of.Label != "soft" {
			t.Errorf("the token is %+v", of)
		}
		b.Token.Change(func(s *softtoken.State) { s.Serial += "0" })
		b.want(cardbroker.ReaderUnknown, "GET", own, nil, nil)
	}
	var atrs []api.KnownATR
	b.want("", "GET", "/atrs", nil, &atrs)
	if len(atrs) != 1 || atrs[0] != (api.KnownATR{ATR: "3B80*", Module: "card", ModuleDescription: "Cards"}) {
		t.Errorf("the ATRs are %+v", atrs)
	}
}

// TestPlaces: which reader has which token, and why there is none.
func TestPlaces(t *testing.T) {
	b := newBed(t, config.PINPolicy{})
	path := func(module, id string) string { return "/v3/modules/" + module + "/apps/token/readers/" + id + "/info" }
	b.want(cardbroker.ObjectUnknown, "GET", path("none", string(b.Reader())), nil, nil)
	b.want(cardbroker.ReaderUnknown, "GET", path("card", "0000000000000000"), nil, nil)
	b.want(cardbroker.ObjectUnknown, "GET", path("card", string(b.Empty())), nil, nil)
	b.Token.Change(func(s *softtoken.State) { s.Present = false })
	b.want(cardbroker.CardUnexpected, "GET", path("card", string(b.Reader())), nil, nil)
	b.want(cardbroker.CardAbsent, "GET", path("soft", string(b.Reader())), nil, nil)
	b.Remove()
	b.want(cardbroker.CardAbsent, "GET", path("card", string(b.Reader())), nil, nil)
}

// TestUnserved: what existing clients call and is not served is answered in words.
func TestUnserved(t *testing.T) {
	b := newBed(t, config.PINPolicy{})
	for _, call := range []struct {
		method, path, says string
		reason             cardbroker.Reason
	}{
		{"POST", "/v3/modules/fileexchange/apps/file/create-type", "no files", cardbroker.Unsupported},
		{"GET", "/v3/modules/rawprint/apps/print/printer-list", "printing", cardbroker.Unsupported},
		{"POST", "/v3/modules/vdds/cmd/exec", "no programs", cardbroker.Unsupported},
		{"GET", "/v3/modules/truststore/certs-list", "certificate store", cardbroker.Unsupported},
		{"GET", "/v3/modules/simplesign/", "simplesign", cardbroker.Unsupported},
		{"POST", "/v3/modules/wacom-stu/sign", "signature pads", cardbroker.Unsupported},
		{"GET", "/v3/modules/emv/apps/payment/readers/0000000000000000/data", "payment", cardbroker.Unsupported},
		{"GET", "/v3/modules/card/apps/token/info", "name its reader", cardbroker.Unsupported},
		{"GET", "/logs/push", "logs", cardbroker.Unsupported},
		{"GET", "/ds/transactions", "distribution service", cardbroker.Unsupported},
		{"GET", "/v3/modules/pkcs11/apps/token/config", "machine policy", cardbroker.Forbidden},
		{"POST", "/v3/modules/pkcs11/apps/token/config", "machine policy", cardbroker.Forbidden},
		{"PATCH", "/v3/modules/pkcs11/apps/token/config/reset", "machine policy", cardbroker.Forbidden},
	} {
		var body any
		if call.method != "GET" {
			body = fields{"linux": "/tmp/evil.so"}
		}
		if s := b.want(call.reason, call.method, call.path, body, nil); !strings.Contains(s.Description, call.says) {
			t.Errorf("%s %s is answered %q, want %q", call.method, call.path, s.Description, call.says)
		}
	}
}
