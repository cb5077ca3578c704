// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/virtualreader"
)

// provider is an identity provider as docs/tenants.md wants it.
type provider struct {
	key *ecdsa.PrivateKey
	n   int
}

// publish writes its key set.
func (p *provider) publish(h *host, file string) {
	h.t.Helper()
	point, err := p.key.PublicKey.Bytes()
	if err != nil {
		h.t.Fatal(err)
	}
	half := func(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
	set := fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","use":"sig","kid":"k","x":"%s","y":"%s"}]}`, half(point[1:33]), half(point[33:]))
	if err := os.WriteFile(h.Path(file), []byte(set), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

// issue writes a new token to a file.
func (p *provider) issue(h *host, file, audience string, from time.Time) {
	h.t.Helper()
	p.n++
	text := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			h.t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	input := text(map[string]any{"alg": "ES256", "kid": "k", "typ": "JWT"}) + "." + text(map[string]any{
		"iss": "https://idp.example", "aud": audience, "sub": "5f0e", "jti": fmt.Sprint(p.n),
		"iat": from.Unix(), "exp": from.Add(5 * time.Minute).Unix(), "azp": "card-backend", "scope": "profile email"})
	digest := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, p.key, digest[:])
	if err != nil {
		h.t.Fatal(err)
	}
	signature := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	token := input + "." + base64.RawURLEncoding.EncodeToString(signature) + "\n"
	if err := os.WriteFile(h.Path(file), []byte(token), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// TestTenants follows docs/tenants.md: its openssl commands make the certificates; then back ends come with them, and with JWTs.
func TestTenants(t *testing.T) {
	h, alice, _ := newAttack(t)
	document, err := os.ReadFile("../../docs/tenants.md")
	if err != nil {
		t.Fatal(err)
	}
	commands := regexp.MustCompile(`(?m)^    ((openssl|printf) .*)$`).FindAllStringSubmatch(string(document), -1)
	if len(commands) != 4 {
		t.Fatalf("docs/tenants.md has %d commands for certificates, want 4", len(commands))
	}
	for _, command := range commands {
		shell := exec.CommandContext(h.Context(), "sh", "-c", command[1])
		shell.Dir = h.Path()
		if out, err := shell.CombinedOutput(); err != nil {
			t.Fatalf("%s: %s", command[1], out)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	idp := &provider{key: key}
	idp.publish(h, "keys.json")
	h.config = "tenants:\n  acme:\n    certificates: [{ca: " + h.Path("ca.pem") + ", name: backend.acme.example}]\n" +
		"  issuer:\n    jwt: {issuer: https://idp.example, audience: cardbroker, subject: 5f0e, keys_file: " + h.Path("keys.json") + "}\n    addresses: [127.0.0.0/8]\n"
	h.refusesToTrustOthers("keys.json", "ca.pem")
	h.start()
	h.tenantPolicy("standing: ['cardbroker *']")
	h.logon(alice)
	h.until("the standing offer", func() bool { return len(h.offered("issuer")) == 1 })
	reader := string(h.offered("issuer")[0].ID)

	door := []string{"--broker", h.ready.Backend, "--ca", h.Path("door.pem")}
	byJWT := append(door, "--token-file", h.Path("jwt"))
	byCertificate := append(door, "--cert", h.Path("backend.pem"), "--key", h.Path("backend.key"))
	ask := func(status int, flags []string, args ...string) (said string) {
		t.Helper()
		out, err := h.Run(nil, "cardbroker", append(append([]string{"reader"}, args...), append(flags, "--json")...)...)
		if err != nil {
			t.Fatal(err)
		}
		if out.Status != status {
			t.Errorf("%v: exit status %d, want %d: %s", args, out.Status, status, out.Stderr)
		}
		return string(out.Stdout) + string(out.Stderr)
	}
	apdu := []string{"apdu", reader, "80EE0000020102"}
	if said := ask(0, byCertificate, "list"); !strings.Contains(said, `"readers":[]`) {
		t.Errorf("acme sees %s, want nothing", said)
	}
	ask(3, byCertificate, apdu...) // it is acme, and that reader is the issuer's

	idp.issue(h, "jwt", "cardbroker", time.Now())
	if said := ask(0, byJWT, "list"); !strings.Contains(said, reader) {
		t.Errorf("the issuer sees %s, want its reader", said)
	}
	h.showsLease(reader, "jwt")
	idp.issue(h, "jwt", "cardbroker", time.Now())
	ask(0, byJWT, apdu...)
	if said := ask(3, byJWT, apdu...); !strings.Contains(said, "opened a tunnel already") {
		t.Errorf("a token that opened a tunnel: %s", said)
	}
	h.broker.Kill()
	h.start()
	h.until("the standing offer again", func() bool { return len(h.offered("issuer")) == 1 })
	ask(3, byJWT, apdu...) // the broker that was killed has kept that
	ask(0, byJWT, "list")

	idp.issue(h, "jwt", "somebody else", time.Now())
	refused := ask(3, byJWT, "list")
	foreign := h.read("jwt")
	for what, make := range map[string]func(){
		"another provider's": func() {
			other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			(&provider{key: other}).issue(h, "jwt", "cardbroker", time.Now())
		},
		"none": func() { os.WriteFile(h.Path("jwt"), []byte("0123456789abcdef"), 0o600) },
	} {
		make()
		if said := ask(3, byJWT, "list"); said != refused {
			t.Errorf("%s is answered %s, want %s", what, said, refused)
		}
	}
	h.refusesLate("none", "", "unknown", "0123456789abcdef", "of another provider", strings.TrimSpace(foreign))
	idp.issue(h, "jwt", "cardbroker", time.Now().Add(2*time.Hour+time.Minute))
	var body api.ErrorBody
	json.Unmarshal([]byte(ask(3, byJWT, "list")), &body)
	if body.Rule != cardbroker.RuleTokenTime || !regexp.MustCompile(`2h0?[01]m\d+s ahead of this host's clock`).MatchString(body.Description) {
		t.Errorf("a provider whose clock is ahead: %+v, want by how much", body)
	}
}

func (h *host) read(file string) string {
	h.t.Helper()
	text, err := os.ReadFile(h.Path(file))
	if err != nil {
		h.t.Fatal(err)
	}
	return string(text)
}

// refusesToTrustOthers: what others can change says nothing of who a tenant is.
func (h *host) refusesToTrustOthers(files ...string) {
	h.t.Helper()
	if err := os.WriteFile(h.Path("open.yaml"), []byte(h.config), 0o600); err != nil {
		h.t.Fatal(err)
	}
	for _, file := range files {
		os.Chmod(h.Path(file), 0o666)
		out, err := h.Run(nil, "cardbroker", "host", "run", "--config", h.Path("open.yaml"), "--state", h.Path("open"), "--socket", h.Path("run", "open.sock"),
			"--listen", "127.0.0.1:0", "--backend-listen", "127.0.0.1:0", "--backend-cert", h.Path("door.pem"), "--backend-key", h.Path("door.key"))
		if err != nil || out.Status != 2 || !strings.Contains(string(out.Stderr), "others could change") {
			h.t.Errorf("with a %s that everybody can write: %v, exit status %d: %s", file, err, out.Status, out.Stderr)
		}
		os.Chmod(h.Path(file), 0o644)
	}
}

// showsLease: administrators see how the tenant of a lease has shown who it is, and where its back end is.
func (h *host) showsLease(reader, method string) {
	h.t.Helper()
	client, err := virtualreader.New(virtualreader.Config{Brokers: []string{h.ready.Backend}, TLS: h.doorTLS(),
		Token: cardbroker.NewSecret([]byte(strings.TrimSpace(h.read("jwt"))))})
	if err != nil {
		h.t.Fatal(err)
	}
	tunnel, err := client.Open(h.Context(), reader, "", virtualreader.Options{})
	if err != nil {
		h.t.Fatal(err)
	}
	defer tunnel.Close()
	h.until("the lease", func() bool {
		var leases api.Leases
		h.run(nil, 0, &leases, "host", "leases", "--socket", h.socket)
		if len(leases.Leases) == 1 && (leases.Leases[0].Method != method || !strings.HasPrefix(leases.Leases[0].Backend, "127.0.0.1:")) {
			h.t.Fatalf("the lease is %+v, want method %s and the back end's address", leases.Leases[0], method)
		}
		return len(leases.Leases) == 1
	})
}

// refusesLate: no credential that is not good is told from another by the time of its refusal, and no connection is resumed.
func (h *host) refusesLate(tokens ...string) {
	h.t.Helper()
	config := h.doorTLS()
	config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	client := http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	for i := 0; i < len(tokens); i += 2 {
		request, err := http.NewRequestWithContext(h.Context(), http.MethodGet, "https://"+h.door()+"/cb/v1/readers", nil)
		if err != nil {
			h.t.Fatal(err)
		}
		if tokens[i+1] != "" {
			request.Header.Set("Authorization", "Bearer "+tokens[i+1])
		}
		asked := time.Now()
		answer, err := client.Do(request)
		if err != nil {
			h.t.Fatal(err)
		}
		if took := time.Since(asked); took < 100*time.Millisecond || answer.StatusCode != http.StatusUnauthorized {
			h.t.Errorf("%s: %s after %v, want 401 after 100ms", tokens[i], answer.Status, took)
		}
		io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		if answer.TLS.DidResume || answer.TLS.Version != tls.VersionTLS13 {
			h.t.Errorf("%s: resumed %v, version %x", tokens[i], answer.TLS.DidResume, answer.TLS.Version)
		}
	}
}
