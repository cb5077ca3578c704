// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package issuer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/jose"
)

// maxKeyFile is the longest file that is read, in bytes; a key takes 400.
const maxKeyFile = 64 << 10

// keyRow is the JSON of one signing key in the file.
type keyRow struct {
	Key  []byte    `json:"key"` // PKCS #8, base64
	Made time.Time `json:"made"`
	From time.Time `json:"from,omitzero"`
	End  time.Time `json:"end,omitzero"`
}

// readRing reads the file of the signing keys. Where there is none it returns nil. Errors: Invalid, others can read the file;
// Internal, it is damaged. No error holds a part of it.
func readRing(path string) (ring, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, cardbroker.Wrapf(err, cardbroker.Invalid, "cannot read the signing keys %s", path)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, cardbroker.Wrapf(err, cardbroker.Invalid, "cannot read the signing keys %s", path)
	}
	if err := private(info); err != nil {
		return nil, cardbroker.Wrapf(err, cardbroker.Invalid,
			"the signing keys %s are open to others (%v): move them away, and new ones are made", path, err)
	}
	var rows []keyRow
	if info.Size() > maxKeyFile || json.NewDecoder(file).Decode(&rows) != nil || len(rows) < 2 {
		return nil, brokenRing(path)
	}
	r := make(ring, len(rows))
	for i, row := range rows {
		key, err := jose.ParseSigningKey(cardbroker.NewSecret(row.Key))
		if err != nil || row.From.IsZero() != (i == len(rows)-1) || row.End.IsZero() != (i >= len(rows)-2) {
			return nil, brokenRing(path)
		}
		r[i] = link{key: key, made: row.Made, from: row.From, end: row.End}
	}
	return r, nil
}

func brokenRing(path string) error {
	return cardbroker.Errorf(cardbroker.Internal, "the signing keys %s are damaged: move them away, and new ones are made", path)
}

// writeRing makes the file last with these keys: after a crash or a loss of power it is the old one or the new one.
func writeRing(path string, r ring) (err error) {
	rows := make([]keyRow, len(r))
	for i, l := range r {
		private, err := l.key.Private()
		if err != nil {
			return err
		}
		rows[i] = keyRow{Key: private.Reveal(), Made: l.made, From: l.from, End: l.end}
	}
	text, err := json.Marshal(rows)
	if err != nil {
		return errors.New("cannot write down the signing keys")
	}
	defer clear(text)
	file, err := os.CreateTemp(filepath.Dir(path), ".new-keys-*") // 0600
	if err != nil {
		return unwritable(err, path)
	}
	defer os.Remove(file.Name()) // gone where all went well
	_, err = file.Write(text)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return unwritable(err, path)
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return unwritable(err, path)
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return unwritable(err, path)
	}
	return nil
}

func unwritable(err error, path string) error {
	return cardbroker.Wrapf(fmt.Errorf("cannot write: %w", err), cardbroker.Unavailable, "the signing keys %s cannot be written", path)
}
