// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package consent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cardbroker/cardbroker"
)

const (
	fileName    = "consents.json"
	damagedName = "consents.json.damaged" // where a file goes that cannot be read; the last one counts
	newName     = "consents.json.new"     // written under the lock, then renamed
	lockName    = "consents.lock"

	fileVersion = 1
	maxFile     = 1 << 20 // bytes
	maxConsents = 1024
	lockTimeout = 2 * time.Second
	lockRetry   = 5 * time.Millisecond
)

// file is the user's consents on disk. Several agents of the user share it: who changes it holds a lock, reads what there
// is, and puts a whole new file in its place. Readers need no lock.
type file struct {
	dir string
	log *slog.Logger
}

type content struct {
	Version  int                  `json:"version"`
	Consents []cardbroker.Consent `json:"consents"`
}

// same says whether the file is still the one that was seen.
func (f file) same(seen fs.FileInfo) bool {
	now, err := os.Lstat(filepath.Join(f.dir, fileName))
	if err != nil || seen == nil {
		return errors.Is(err, fs.ErrNotExist) && seen == nil
	}
	return os.SameFile(now, seen) && now.ModTime().Equal(seen.ModTime()) && now.Size() == seen.Size()
}

// read returns what the file says; nothing if it is not there. What is not exactly as [file.update] writes it is damaged.
func (f file) read() (map[cardbroker.Origin]cardbroker.Consent, fs.FileInfo, error) {
	opened, err := os.Open(filepath.Join(f.dir, fileName))
	if errors.Is(err, fs.ErrNotExist) {
		return map[cardbroker.Origin]cardbroker.Consent{}, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	defer opened.Close()
	info, err := opened.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%w: it is no file", errDamaged)
	}
	text, err := io.ReadAll(io.LimitReader(opened, maxFile+1))
	if err != nil {
		return nil, nil, err
	}
	consents, err := parse(text)
	return consents, info, err
}

// parse reads the file's text strictly.
func parse(text []byte) (map[cardbroker.Origin]cardbroker.Consent, error) {
	if len(text) > maxFile {
		return nil, fmt.Errorf("%w: it is over %d bytes", errDamaged, maxFile)
	}
	var c content
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: it goes on after its end", errDamaged)
	}
	if c.Version != fileVersion || len(c.Consents) > maxConsents {
		return nil, fmt.Errorf("%w: version %d with %d consents", errDamaged, c.Version, len(c.Consents))
	}
	consents := make(map[cardbroker.Origin]cardbroker.Consent, len(c.Consents))
	for i, one := range c.Consents {
		if _, twice := consents[one.Origin]; twice || check(one) != nil {
			return nil, fmt.Errorf("%w: consent %d is none, or there twice", errDamaged, i+1)
		}
		consents[one.Origin] = one
	}
	return consents, nil
}

// check says what is wrong with a consent that was read.
func check(c cardbroker.Consent) error {
	_, err := cardbroker.ParseOrigin(string(c.Origin))
	_, failed := cardbroker.ParseSessionID(string(c.Session))
	if c.By != cardbroker.ConsentByUser || c.Granted.IsZero() || !c.Granted.Before(c.Expires) {
		failed = errDamaged
	}
	return errors.Join(err, failed)
}

// update changes the file under its lock, and returns what it says then. The new content is on disk when update returns; if
// it fails the old one is. A damaged file is set aside; change may be nil.
func (f file) update(ctx context.Context, change func(map[cardbroker.Origin]cardbroker.Consent)) (
	map[cardbroker.Origin]cardbroker.Consent, fs.FileInfo, error,
) {
	unlock, err := f.lock(ctx)
	if err != nil {
		return nil, nil, cardbroker.Wrapf(err, cardbroker.Unavailable, "consents cannot be stored")
	}
	defer unlock()
	consents, info, err := f.read()
	if isDamaged(err) {
		f.log.Warn("the file of consents is damaged: it counts as empty, and is kept as "+damagedName, "err", err)
		consents, info = map[cardbroker.Origin]cardbroker.Consent{}, nil
		err = os.Rename(filepath.Join(f.dir, fileName), filepath.Join(f.dir, damagedName))
	}
	if err == nil && change != nil {
		change(consents)
		info, err = f.write(consents)
	}
	if err != nil {
		return nil, nil, cardbroker.Wrapf(err, cardbroker.Unavailable, "consents cannot be stored")
	}
	return consents, info, nil
}

// write puts a whole new file in the place of the old one, durably.
func (f file) write(consents map[cardbroker.Origin]cardbroker.Consent) (fs.FileInfo, error) {
	if len(consents) > maxConsents {
		return nil, cardbroker.Errorf(cardbroker.RateLimited, "there are %d consents already; revoke some", maxConsents)
	}
	c := content{Version: fileVersion, Consents: []cardbroker.Consent{}}
	for _, o := range slices.Sorted(maps.Keys(consents)) {
		c.Consents = append(c.Consents, consents[o])
	}
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return nil, err
	}
	temp, path := filepath.Join(f.dir, newName), filepath.Join(f.dir, fileName)
	out, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = out.Write(append(text, '\n'))
	if err := errors.Join(err, out.Chmod(0o600), out.Sync(), out.Close()); err != nil {
		os.Remove(temp)
		return nil, err
	}
	if err := os.Rename(temp, path); err != nil {
		return nil, err
	}
	if err := syncDir(f.dir); err != nil {
		return nil, err
	}
	return os.Lstat(path)
}

// lock waits for the file's lock, for a while: whoever holds it is another agent of the user, or hangs.
func (f file) lock(ctx context.Context) (unlock func(), err error) {
	held, err := os.OpenFile(filepath.Join(f.dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	retry := time.NewTicker(lockRetry)
	defer retry.Stop()
	for {
		err := tryLock(held)
		if err == nil {
			return func() { held.Close() }, nil // which ends the lock
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			held.Close()
			return nil, fmt.Errorf("another agent of the user holds the file: %w", err)
		}
	}
}
