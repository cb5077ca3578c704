// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package tenant

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/jose"
)

const (
	maxKeyText   = 256 << 10 // bytes of a key set
	fetchTimeout = 5 * time.Second
	fetchWait    = time.Minute      // between two fetches of one set
	freshFor     = 10 * time.Minute // then a set is fetched again when it is needed: a key may have been taken out
	staleFor     = 24 * time.Hour   // since the last fetch that worked; then the issuer is not believed any more
	fileWait     = time.Second      // between two looks at a file
)

// KeySet is a set that is always the same.
type KeySet struct{ Set jose.KeySet }

// Keys returns the set.
func (k KeySet) Keys(context.Context, string) (jose.KeySet, error) { return k.Set, nil }

// FileKeys reads a set from a file, again when the file has changed.
type FileKeys struct {
	path string
	log  *slog.Logger
	read atomic.Pointer[fileSet]
	look atomic.Int64 // when the file is looked at again, Unix nanoseconds
}

type fileSet struct {
	set  jose.KeySet
	time time.Time
	size int64
}

// NewFileKeys reads the file once. Errors: Invalid.
func NewFileKeys(path string, log *slog.Logger) (*FileKeys, error) {
	k := &FileKeys{path: path, log: log}
	got, err := k.load()
	if err != nil {
		return nil, err
	}
	k.read.Store(&got)
	return k, nil
}

// Keys returns what the file holds; while that is broken, what it held before.
func (k *FileKeys) Keys(context.Context, string) (jose.KeySet, error) {
	now, due := time.Now(), k.look.Load()
	if now.UnixNano() < due || !k.look.CompareAndSwap(due, now.Add(fileWait).UnixNano()) {
		return k.read.Load().set, nil
	}
	have := k.read.Load()
	info, err := os.Stat(k.path)
	if err == nil && info.ModTime().Equal(have.time) && info.Size() == have.size {
		return have.set, nil
	}
	got, err := k.load()
	if err != nil {
		k.log.Warn("cannot use the key set; the old one stays", "err", err)
		return have.set, nil
	}
	k.read.Store(&got)
	return got.set, nil
}

func (k *FileKeys) load() (fileSet, error) {
	info, err := os.Stat(k.path)
	if err == nil && info.Size() > maxKeyText {
		return fileSet{}, cardbroker.Errorf(cardbroker.Invalid, "the key set %s has over %d bytes", k.path, maxKeyText)
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(k.path)
	}
	if err != nil {
		return fileSet{}, cardbroker.Wrapf(err, cardbroker.Invalid, "cannot read the key set %s", k.path)
	}
	set, err := jose.ParseKeySet(text)
	if err != nil {
		return fileSet{}, fmt.Errorf("%s: %w", k.path, err)
	}
	return fileSet{set: set, time: info.ModTime(), size: info.Size()}, nil
}

// URLKeys fetches a set over HTTPS: when a key is looked for that it does not have, or after ten minutes, but at most once a
// minute, whoever asks. While that fails the old set is good for a day.
type URLKeys struct {
	url    string
	client *http.Client
	log    *slog.Logger
	turn   chan struct{} // capacity 1: who puts something in may fetch
	state  atomic.Pointer[fetched]
}

type fetched struct {
	set         jose.KeySet
	got, tried  time.Time // the last fetch that worked, the last one
	everFetched bool
}

// NewURLKeys returns keys that have not been fetched yet. roots are who may vouch for the server; nil: who the system trusts.
func NewURLKeys(url string, roots *x509.CertPool, log *slog.Logger) *URLKeys {
	k := &URLKeys{url: url, log: log, turn: make(chan struct{}, 1), client: &http.Client{
		Timeout: fetchTimeout,
		Transport: &http.Transport{
			Proxy:           http.ProxyFromEnvironment,
			TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			IdleConnTimeout: fetchTimeout,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	k.state.Store(&fetched{})
	return k
}

// Keys returns the set. Errors: Unavailable, there is none yet, or it is too old; what ctx ends with.
func (k *URLKeys) Keys(ctx context.Context, kid string) (jose.KeySet, error) {
	if k.state.Load().goodEnough(kid, time.Now()) {
		return k.state.Load().usable(time.Now())
	}
	select {
	case k.turn <- struct{}{}:
	case <-ctx.Done():
		return jose.KeySet{}, ctx.Err()
	}
	defer func() { <-k.turn }()
	if s := k.state.Load(); !s.goodEnough(kid, time.Now()) { // else another one has fetched meanwhile
		k.refetch(context.WithoutCancel(ctx), *s) // an asker who leaves would cost the next ones a minute
	}
	return k.state.Load().usable(time.Now())
}

// goodEnough says whether no fetch is wanted, or none may be made.
func (f *fetched) goodEnough(kid string, now time.Time) bool {
	return now.Sub(f.tried) < fetchWait || f.everFetched && f.set.Has(kid) && now.Sub(f.got) < freshFor
}

func (f *fetched) usable(now time.Time) (jose.KeySet, error) {
	if !f.everFetched || now.Sub(f.got) > staleFor {
		return jose.KeySet{}, cardbroker.Errorf(cardbroker.Unavailable, "the issuer's keys cannot be fetched")
	}
	return f.set, nil
}

// refetch notes what a fetch has brought. It has the turn.
func (k *URLKeys) refetch(ctx context.Context, s fetched) {
	s.tried = time.Now()
	set, err := k.fetch(ctx)
	if err != nil {
		k.log.Warn("cannot fetch the issuer's keys", "err", err)
	} else {
		s.set, s.got, s.everFetched = set, s.tried, true
	}
	k.state.Store(&s)
}

func (k *URLKeys) fetch(ctx context.Context) (jose.KeySet, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, nil)
	if err != nil {
		return jose.KeySet{}, err
	}
	response, err := k.client.Do(request)
	if err != nil {
		return jose.KeySet{}, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return jose.KeySet{}, fmt.Errorf("%s answers %s", k.url, response.Status)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxKeyText+1))
	if err != nil {
		return jose.KeySet{}, err
	}
	if len(text) > maxKeyText {
		return jose.KeySet{}, fmt.Errorf("%s answers with over %d bytes", k.url, maxKeyText)
	}
	return jose.ParseKeySet(text)
}
