// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/test/sealed"
	"github.com/cardbroker/cardbroker/test/stage"
)

// deviceKey asks for a device key until it is made.
func (h *host) deviceKey(p *stage.Person, at string) string {
	h.t.Helper()
	var body struct{ Data string }
	h.until("a device key", func() bool {
		a := h.ask(p, "tcp4", at, request("GET", at, "/device-key", ""))
		if a.Status != 200 && a.reason() != "unavailable" {
			h.t.Fatalf("/device-key is answered %d %s", a.Status, a.Body)
		}
		return a.Status == 200 && json.Unmarshal(a.Body, &body) == nil
	})
	return body.Data
}

// TestDeviceKeyIsTheCallersOwn has two users ask the broker for the device key a thousand times at once: each gets his own, which
// is the one that his own agent says, whatever the other does.
func TestDeviceKeyIsTheCallersOwn(t *testing.T) {
	h, alice, bob := newAttack(t)
	h.start()
	broker := h.ready.Listen[0]
	if a := h.ask(alice, "tcp4", broker, request("GET", broker, "/device-key", "")); a.reason() != "no_agent no_agent" {
		t.Errorf("without an agent /device-key is answered %d %s", a.Status, a.Body)
	}
	own := map[*stage.Person]string{}
	for _, p := range []*stage.Person{alice, bob} {
		_, line := h.logon(p)
		own[p] = h.deviceKey(p, fmt.Sprintf("127.0.0.1:%d", line.Port))
		if got := h.deviceKey(p, broker); got != own[p] {
			t.Errorf("the broker has the key\n%s of %s, his agent has\n%s", got, p.Name, own[p])
		}
		var agent api.OwnAgent
		var keys api.DeviceKeys
		at := fmt.Sprintf("127.0.0.1:%d", line.Port)
		json.Unmarshal(h.ask(p, "tcp4", broker, request("GET", broker, "/cb/v1/agent", "")).Body, &agent)
		json.Unmarshal(h.ask(p, "tcp4", at, request("GET", at, "/cb/v1/device-key", "")).Body, &keys)
		if len(keys.Keys) != 2 || keys.Thumbprint == "" || keys.Thumbprint != keys.Keys[0].KeyID || agent.DeviceKeyThumbprint != keys.Thumbprint {
			t.Errorf("the broker says the thumbprint %q, the agent has the keys %+v", agent.DeviceKeyThumbprint, keys)
		}
	}
	if own[alice] == own[bob] {
		t.Fatal("two agents have one key")
	}
	const askers, each = 5, 100
	var wg sync.WaitGroup
	for p, key := range own {
		for range askers {
			conn := h.mustDial(p, "tcp4", broker)
			wg.Go(func() { h.askAgain(conn, broker, key, each) })
		}
	}
	wg.Wait()
}

// askAgain asks for the device key over one connection, at a rate that the broker allows.
func (h *host) askAgain(conn net.Conn, broker, want string, times int) {
	tick := time.NewTicker(60 * time.Millisecond)
	defer tick.Stop()
	for range times {
		<-tick.C
		a, err := exchange(conn, request("GET", broker, "/device-key", ""))
		var body struct{ Data string }
		if err != nil || a.Status != 200 || json.Unmarshal(a.Body, &body) != nil || body.Data != want {
			h.t.Errorf("/device-key is answered %d %s, %v; want\n%s", a.Status, a.Body, err, want)
			return
		}
	}
}

// piv is the body of verify-pin for the PIN of the software card.
func piv(pin string) string {
	return `{"reference":"80","aid":"A000000308","pin":"` + pin + `"}`
}

// verifyPIN has a program of the user ask for a PIN to be compared.
func (h *host) verifyPIN(p *stage.Person, at, reader, body string) answer {
	h.t.Helper()
	return h.ask(p, "tcp4", at, request("POST", at, "/cb/v1/readers/"+reader+"/verify-pin", body))
}

// readerAt returns the id of the one reader of an agent.
func (h *host) readerAt(p *stage.Person, at string) string {
	h.t.Helper()
	var list struct{ Data []api.CardReader }
	json.Unmarshal(h.ask(p, "tcp4", at, request("GET", at, "/v3/readers", "")).Body, &list)
	if len(list.Data) != 1 {
		h.t.Fatalf("readers = %+v, want one", list)
	}
	return string(list.Data[0].ID)
}

// TestVerifyPIN encrypts a PIN as docs/pin.md shows, with openssl, and as a JWE, and sees what becomes of it.
func TestVerifyPIN(t *testing.T) {
	openssl := testenv.Tool(t, "openssl")
	h, alice, _ := newAttack(t)
	h.setPolicy("deny")
	h.start()
	_, line := h.logon(alice)
	at := fmt.Sprintf("127.0.0.1:%d", line.Port)
	key, reader := h.deviceKey(alice, at), h.readerAt(alice, at)
	if err := os.WriteFile(h.Path("device.pem"), []byte(key), 0o644); err != nil {
		t.Fatal(err)
	}
	encrypt := func(pin string) string {
		cmd := exec.Command("/bin/sh", "-c", openssl+" pkeyutl -encrypt -pubin -inkey "+h.Path("device.pem")+" -pkeyopt rsa_padding_mode:pkcs1 | base64 -w0")
		cmd.Stdin = strings.NewReader(pin)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	var keys api.DeviceKeys
	json.Unmarshal(h.ask(alice, "tcp4", at, request("GET", at, "/cb/v1/device-key", "")).Body, &keys)
	seal := func(key api.DeviceJWK, pin string) string {
		var c api.PINChallenge
		json.Unmarshal(h.ask(alice, "tcp4", at, request("POST", at, "/cb/v1/pin-challenges", "")).Body, &c)
		text, err := sealed.JWE(key, sealed.NewHeader(key, reader, c.Nonce), []byte(pin))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	h.answers(alice, "echo 123456")
	for _, test := range []struct{ name, body, want string }{
		{"by openssl", piv(encrypt("123456")), "200"},
		{"a JWE to the P-256 key", piv(seal(keys.Keys[0], "123456")), "200"},
		{"a JWE to the RSA key", piv(seal(keys.Keys[1], "123456")), "200"},
		{"wrong", piv(encrypt("654321")), `403 pin_incorrect 2`},
		{"in clear", piv("123456"), "412 pin_not_encrypted pin_clear"},
		{"too long", piv(encrypt("123456789")), "400 invalid"},
		{"asked for", `{"reference":"80","aid":"A000000308"}`, "200"},
		{"no such PIN", `{"reference":"99","aid":"A000000308"}`, "412 object_unknown"},
		{"no such application", `{"reference":"80","aid":"A000000309"}`, "412 object_unknown"},
	} {
		a := h.verifyPIN(alice, at, reader, test.body)
		got := strings.TrimSpace(fmt.Sprint(a.Status, " ", a.reason()))
		var body api.ErrorBody
		if json.Unmarshal(a.Body, &body); body.Retries != nil {
			got += fmt.Sprint(" ", *body.Retries)
		}
		if got != test.want {
			t.Errorf("%s: %s %s, want %s", test.name, got, a.Body, test.want)
		}
	}
}
