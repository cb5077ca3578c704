// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package issuer

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/cardbroker/cardbroker"
)

// keyPrefix begins every API key, so that people and scanners recognise one that lies about.
const keyPrefix = "cbk1."

// How often one key is exchanged: a token lives for minutes and is used many times.
const (
	perSecond = 10
	burst     = 100
)

// APIKey is what is known of an API key.
type APIKey struct {
	ID       string // TENANT/8 hexadecimal digits
	Tenant   cardbroker.Tenant
	Enrolled time.Time
}

// named says whether name is the key's id or its tenant.
func (k APIKey) named(name string) bool { return name == k.ID || name == string(k.Tenant) }

// newAPISecret makes an API key: a prefix and 256 random bits.
func newAPISecret() cardbroker.Secret {
	return cardbroker.NewSecret(append([]byte(keyPrefix), cardbroker.RandomSecret().Reveal()...))
}

// entry is an API key in the table. It never changes, but for the allowance.
type entry struct {
	key  APIKey
	hash [32]byte
	rate *rate.Limiter // exchanges
}

func newEntry(key APIKey, hash [32]byte) *entry {
	return &entry{key: key, hash: hash, rate: rate.NewLimiter(perSecond, burst)}
}

// row is the JSON of an entry in the ledger, under the key's id.
type row struct {
	Tenant   cardbroker.Tenant `json:"tenant"`
	Hash     string            `json:"hash"` // SHA-256, hexadecimal
	Enrolled time.Time         `json:"enrolled"`
}

func (e *entry) row() ([]byte, error) {
	return json.Marshal(row{Tenant: e.key.Tenant, Hash: hex.EncodeToString(e.hash[:]), Enrolled: e.key.Enrolled})
}

// parseRow reads what row wrote.
func parseRow(id string, text []byte) (*entry, error) {
	var r row
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return nil, damaged(id)
	}
	hash, err := hex.DecodeString(r.Hash)
	if err != nil || len(hash) != 32 || !strings.HasPrefix(id, string(r.Tenant)+"/") {
		return nil, damaged(id)
	}
	if _, err := cardbroker.ParseTenant(string(r.Tenant)); err != nil {
		return nil, damaged(id)
	}
	return newEntry(APIKey{ID: id, Tenant: r.Tenant, Enrolled: r.Enrolled}, [32]byte(hash)), nil
}

func damaged(id string) error {
	return cardbroker.Errorf(cardbroker.Internal, "the store is damaged: it does not say whose API key %q is", id)
}
