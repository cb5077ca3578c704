// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package contract_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/testenv"
)

// certificatesSeen asks the helpers for certificates what is in one.
func (h *host) certificatesSeen(agent asked) {
	der := testenv.NewAuthority(h.t).Issue(h.t, "alice", x509.ExtKeyUsageClientAuth).Certificate[0]
	armoured := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	parsed, err := x509.ParseCertificate(der)
	h.check(err)
	for _, text := range []string{armoured, base64.StdEncoding.EncodeToString(der)} {
		request, err := json.Marshal(api.X509Request{Cert: text})
		h.check(err)
		for path, want := range map[string]string{"pem": armoured, "subject-cn": parsed.Subject.CommonName, "issuer-cn": parsed.Issuer.CommonName} {
			var answer struct{ Data string }
			agent.ask("POST", "/v3/modules/x509/"+path, body(string(request))).want(200, "").into(&answer)
			if answer.Data != want {
				h.t.Errorf("%s is %q, want %q", path, answer.Data, want)
			}
		}
		var answer struct{ Data api.X509Certificate }
		agent.ask("POST", "/v3/modules/x509/json", body(string(request))).want(200, "").into(&answer)
		if c := answer.Data; c.Subject != parsed.Subject.String() || c.KeyType != "ec" || len(c.ExtKeyUsages) != 1 {
			h.t.Errorf("json is %+v", c)
		}
	}
	var kept api.Cache
	agent.ask("GET", "/cb/v1/cache").want(200, "").into(&kept)
	if kept.Certificates == "" || kept.Memory != 0 || kept.Files != 0 {
		h.t.Errorf("the cache is %+v", kept)
	}
	agent.ask("POST", "/cb/v1/cache/clear").want(200, "")
	agent.ask("POST", "/v3/modules/x509/json", body(`{"cert":"AAAA"}`)).want(400, cardbroker.Invalid)
	agent.ask("POST", "/v3/modules/x509/json", body(`{"cert":"`+strings.Repeat("A", 70<<10)+`"}`)).want(413, cardbroker.TooLarge)
}
