// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package virtualreader

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
)

// maxTokenAnswer is the longest answer with a token that is read, in bytes.
const maxTokenAnswer = 64 << 10

// tokens exchanges the tenant's API key at each broker, when a request needs a token and the one that is there is about to
// expire. It keeps no timer: a client that is not used asks for nothing.
type tokens struct {
	key    func(ctx context.Context) (cardbroker.Secret, error)
	http   *http.Client
	broker map[string]*heldToken // immutable
}

// heldToken is a broker's token.
type heldToken struct {
	turn chan struct{} // capacity 1: who puts something in may exchange
	held atomic.Pointer[token]
}

type token struct {
	text  cardbroker.Secret
	until time.Time // monotonic; then another one is due
}

func newTokens(c Config, client *Client) *tokens {
	t := &tokens{key: c.APIKey, http: client.http, broker: make(map[string]*heldToken)}
	for _, broker := range client.brokers {
		t.broker[broker] = &heldToken{turn: make(chan struct{}, 1)}
	}
	return t
}

// get returns a token that is good for a request to the broker now.
func (t *tokens) get(ctx context.Context, broker string) (cardbroker.Secret, error) {
	b := t.broker[broker]
	if held := b.held.Load(); held.good() {
		return held.text, nil
	}
	select {
	case b.turn <- struct{}{}:
	case <-ctx.Done():
		return cardbroker.Secret{}, ctx.Err()
	}
	defer func() { <-b.turn }()
	if held := b.held.Load(); held.good() { // another one has exchanged meanwhile
		return held.text, nil
	}
	fresh, err := t.exchange(ctx, broker)
	if err != nil {
		return cardbroker.Secret{}, err
	}
	b.held.Store(fresh)
	return fresh.text, nil
}

// refused forgets the broker's token if err says that it is not good any more, and says whether another one is worth a try: the
// broker may have discarded its signing keys. It was refused before anything else was looked at.
func (t *tokens) refused(broker string, err error) bool {
	switch cardbroker.RuleOf(err) {
	case cardbroker.RuleToken, cardbroker.RuleTokenTime:
		return t.broker[broker].held.Swap(nil) != nil
	}
	return false
}

// good says whether the token is there and may still be used.
func (t *token) good() bool { return t != nil && time.Now().Before(t.until) }

// exchange asks the broker for a token. Its life counts from before the request, by our own clock.
func (t *tokens) exchange(ctx context.Context, broker string) (*token, error) {
	key, err := t.key(ctx)
	if err != nil {
		return nil, err
	}
	asked := time.Now()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https"+strings.TrimPrefix(broker, "wss")+"/cb/v1/tokens", nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+string(key.Reveal()))
	response, err := t.http.Do(request)
	if err != nil {
		return nil, dialError(ctx, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, api.ReadError(response)
	}
	defer response.Body.Close()
	var answer api.Token
	if err := json.NewDecoder(io.LimitReader(response.Body, maxTokenAnswer)).Decode(&answer); err != nil || answer.Token == "" {
		return nil, cardbroker.Errorf(cardbroker.Unavailable, "the answer is not a token")
	}
	life := time.Duration(answer.Seconds) * time.Second
	return &token{text: cardbroker.NewSecret([]byte(answer.Token)), until: asked.Add(life - life/5)}, nil
}
