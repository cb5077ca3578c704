// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker/agent/home"
)

// What the directory may hold; the oldest files make room.
const (
	maxFiles = 64
	maxBytes = 4 << 20
	maxFile  = 512 << 10 // a list that is longer is not kept

	dirName    = "cache"
	tempPrefix = ".new-"
	tempAge    = time.Minute // a temporary file that is older was left behind
	nameSize   = 16          // bytes of each half of a name
)

// cardID is what a list on disk is kept by.
type cardID struct{ module, serial, atr string }

// disk is a directory of sealed lists, one file each: the name is an HMAC of the place where the card was seen last, and one of
// the card's id. Agents of the user on this host share it; each file is put there as a whole. What cannot be read is removed.
type disk struct {
	dir    string
	sealer sealer
	names  []byte // HMAC key
	age    time.Duration
	log    *slog.Logger
	warned atomic.Bool
}

func newDisk(cfg Config) *disk {
	key := func(use string) []byte {
		k, err := hkdf.Key(sha256.New, cfg.Secret.Reveal(), []byte(cfg.Host), "cardbroker certificates "+use, sha256.Size)
		if err != nil {
			panic("BUG: " + err.Error())
		}
		return k
	}
	return &disk{dir: filepath.Join(cfg.Dir, dirName), sealer: newSealer(key("seal"), cfg.User), names: key("names"), age: cfg.Policy.Age, log: cfg.Log}
}

// name hashes parts so that the name tells nothing.
func (d *disk) name(parts ...string) string {
	mac := hmac.New(sha256.New, d.names)
	mac.Write(join(parts...))
	return hex.EncodeToString(mac.Sum(nil)[:nameSize])
}

func (d *disk) idName(id cardID) string   { return d.name("card", id.module, id.serial, id.atr) }
func (d *disk) placeName(at place) string { return d.name("place", at.module, at.reader) }

// file is a file of the directory that has the form of ours.
type file struct {
	place, id string // the halves of its name
	size      int64
	written   time.Time
}

func (f file) name() string { return f.place + "-" + f.id }

// files lists the directory, the oldest first, and removes what is none of ours, or too old: others may be of another host, whose
// profile this is.
func (d *disk) files() []file {
	if info, err := os.Lstat(d.dir); err != nil || !home.Private(info) {
		return nil
	}
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return nil
	}
	var found []file
	now := time.Now()
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			continue
		}
		at, id, ok := strings.Cut(entry.Name(), "-")
		age := now.Sub(info.ModTime())
		switch {
		case strings.HasPrefix(entry.Name(), tempPrefix) && age < tempAge: // another agent writes
		case !ok || !isName(at) || !isName(id) || !info.Mode().IsRegular() || age > d.age:
			d.remove(entry.Name())
		default:
			found = append(found, file{at, id, info.Size(), info.ModTime()})
		}
	}
	slices.SortFunc(found, func(a, b file) int { return a.written.Compare(b.written) })
	return found
}

func isName(text string) bool {
	raw, err := hex.DecodeString(text)
	return err == nil && len(raw) == nameSize
}

// load returns the list of a card. One that was seen in another place is from now on of this one.
func (d *disk) load(id cardID, at place, now time.Time) (kept, bool) {
	own := file{place: d.placeName(at), id: d.idName(id)}
	for _, f := range slices.Backward(d.files()) {
		if f.id != own.id {
			continue
		}
		text, err := d.read(f.name())
		var k kept
		if err == nil {
			k, err = d.sealer.open(text, id, now)
		}
		if err != nil {
			d.log.Debug("certificates that were kept are of no use", "err", err)
			d.remove(f.name())
			continue
		}
		if f.place != own.place {
			os.Rename(filepath.Join(d.dir, f.name()), filepath.Join(d.dir, own.name())) // else it is read anew one day
		}
		return k, true
	}
	return kept{}, false
}

func (d *disk) read(name string) ([]byte, error) {
	f, err := os.Open(filepath.Join(d.dir, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if len(text) > maxFile {
		err = errSealed
	}
	return text, err
}

// store puts a list in the place of what there was of the card. A list that is not stored costs nothing but time.
func (d *disk) store(id cardID, at place, k kept) {
	text := d.sealer.seal(id, k)
	if len(text) > maxFile {
		return
	}
	own := file{place: d.placeName(at), id: d.idName(id)}
	if err := d.write(own.name(), text); err != nil {
		if !d.warned.Swap(true) {
			d.log.Warn("certificates of cards are not kept", "err", err)
		}
		return
	}
	files := d.files()
	var total int64
	for _, f := range files {
		total += f.size
	}
	for i, f := range files {
		if len(files)-i > maxFiles || total > maxBytes || f.id == own.id && f.place != own.place {
			d.remove(f.name())
			total -= f.size
		}
	}
}

// write puts a whole file in the place of the old one.
func (d *disk) write(name string, text []byte) error {
	if err := os.Mkdir(d.dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if info, err := os.Lstat(d.dir); err != nil || !home.Private(info) {
		return errors.Join(errors.New("the directory "+d.dir+" is open to others; remove it"), err)
	}
	f, err := os.CreateTemp(d.dir, tempPrefix+"*") // 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(d.dir, name))
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// dropPlace removes the lists of cards that were seen in a place last, but for that of one card.
func (d *disk) dropPlace(at place, but string) {
	name := d.placeName(at)
	for _, f := range d.files() {
		if f.place == name && f.id != but {
			d.remove(f.name())
		}
	}
}

// dropAll empties the directory, and removes it.
func (d *disk) dropAll() {
	for _, f := range d.files() {
		d.remove(f.name())
	}
	os.Remove(d.dir) // if it is empty
}

func (d *disk) remove(name string) {
	if err := os.RemoveAll(filepath.Join(d.dir, name)); err != nil {
		d.log.Debug("a file of the cache stays", "err", err)
	}
}
