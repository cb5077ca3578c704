// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"time"

	"github.com/cardbroker/cardbroker"
)

// Token answers POST /cb/v1/tokens: what a back end shows at the door instead of its API key. Seconds is its life from now, for
// back ends whose clock is another.
type Token struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
	Seconds int       `json:"seconds"`
}

// APIKey is an API key of an enrolled tenant. Nobody can tell the key from it.
type APIKey struct {
	ID       string            `json:"id"` // TENANT/8 hexadecimal digits
	Tenant   cardbroker.Tenant `json:"tenant"`
	Enrolled time.Time         `json:"enrolled"`
}

// NewAPIKey is the one answer that holds the key itself.
type NewAPIKey struct {
	APIKey
	Key string `json:"key"`
}

// SigningKey is a key that the broker signs tokens by.
type SigningKey struct {
	ID   string     `json:"kid"`
	From *time.Time `json:"from"` // when it begins to sign; null: it is next
	End  *time.Time `json:"end"`  // when it is forgotten; null: it is needed
}

// APIKeys answers GET /local/v1/tokens.
type APIKeys struct {
	Keys    []APIKey     `json:"keys"`
	Signing []SigningKey `json:"signing"` // in the order of their use
}

// Enrol asks for an API key: the body of POST /local/v1/tokens/enrol.
type Enrol struct {
	Tenant string `json:"tenant"`
}

// KeyName names API keys: one by its id, or those of a tenant.
type KeyName struct {
	Name string `json:"name"`
}

// Revoked answers POST /local/v1/tokens/revoke.
type Revoked struct {
	Revoked []string `json:"revoked"` // ids
}

// Rotate asks for another signing key: the body of POST /local/v1/tokens/rotate.
type Rotate struct {
	Discard bool `json:"discard"` // all that there were are known to others
}
