// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardbroker_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
)

// wantHidden checks that text does not show the secret, in any of the ways in which bytes get into text.
func wantHidden(t *testing.T, way, text, secret string) {
	t.Helper()
	shapes := []string{secret, hex.EncodeToString([]byte(secret)), fmt.Sprint([]byte(secret)), base64.StdEncoding.EncodeToString([]byte(secret))}
	for _, shape := range shapes {
		if strings.Contains(strings.ToLower(text), strings.ToLower(shape)) {
			t.Errorf("%s shows the secret as %q: %q", way, shape, text)
		}
	}
}

// fmt calls no methods on unexported fields: a Secret that kept its bytes in one of its own was printed whole as soon as
// a struct with an unexported Secret was logged.
func TestSecretHidesItself(t *testing.T) {
	const pin = "73915082"
	secret := cardbroker.NewSecret([]byte(pin))
	holder := struct {
		Name   string
		Secret cardbroker.Secret
		hidden cardbroker.Secret
	}{"x", secret, secret}

	values := map[string]any{"value": secret, "pointer": &secret, "field": holder, "list": []cardbroker.Secret{secret},
		"key": map[string]cardbroker.Secret{"a": secret}, "ticket": cardbroker.Ticket{Secret: secret}}
	for name, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%08b", "%T"} {
			wantHidden(t, name+" with "+verb, fmt.Sprintf(verb, v), pin)
		}
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
		wantHidden(t, name+" in a log", log.String(), pin)
		text, _ := json.Marshal(v)
		wantHidden(t, name+" in JSON", string(text), pin)
	}
	if got := holder.hidden.Reveal(); string(got) != pin {
		t.Errorf("Reveal() = %q, want %q", got, pin)
	}
}

func TestSecretIsNotMarshalled(t *testing.T) {
	if text, err := json.Marshal(cardbroker.NewSecret([]byte("1234"))); err == nil {
		t.Errorf("json.Marshal = %s, want an error", text)
	}
}

func TestSecretMatches(t *testing.T) {
	secret, other := cardbroker.RandomSecret(), cardbroker.RandomSecret()
	var empty cardbroker.Secret
	tests := []struct {
		name   string
		secret cardbroker.Secret
		hash   [32]byte
		want   bool
	}{
		{"its own hash", secret, secret.Hash(), true},
		{"another's", secret, other.Hash(), false},
		{"no hash", secret, [32]byte{}, false},
		{"empty against its own hash", empty, empty.Hash(), false},
		{"empty against no hash", empty, [32]byte{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.secret.Matches(tt.hash); got != tt.want {
				t.Errorf("Matches() = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestRandomSecret(t *testing.T) {
	a, b := cardbroker.RandomSecret(), cardbroker.RandomSecret()
	if raw, err := base64.RawURLEncoding.DecodeString(string(a.Reveal())); err != nil || len(raw) != 32 {
		t.Errorf("RandomSecret() is %d bytes (%v), want base64url of 32", len(raw), err)
	}
	if string(a.Reveal()) == string(b.Reveal()) {
		t.Error("two random secrets are equal")
	}
}

func TestSecretEmpty(t *testing.T) {
	if cardbroker.NewSecret([]byte("123456")).Empty() {
		t.Error("a secret of six bytes is empty")
	}
	if !(cardbroker.Secret{}).Empty() {
		t.Error("the zero Secret is not empty")
	}
}
