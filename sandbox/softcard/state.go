// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package softcard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"

	"github.com/cardbroker/cardbroker"
)

const (
	stateVersion = 1
	guidSize     = 16
	maxStateFile = 64 << 10 // bytes
)

// state is what the card remembers without power.
type state struct {
	Version int            `json:"version"`
	GUID    []byte         `json:"guid,omitempty"` // 16 bytes, made when first asked for
	PIN     secret         `json:"pin"`
	PUK     secret         `json:"puk"`
	Keys    map[string]key `json:"keys"` // by slot.name, made when first asked for
}

// newState is the state of a new card.
func newState() state {
	return state{
		Version: stateVersion,
		PIN:     secret{Tries: maxTries},
		PUK:     secret{Tries: maxTries},
		Keys:    make(map[string]key),
	}
}

func (s *state) secret(reference byte) *secret {
	if reference == referencePUK {
		return &s.PUK
	}
	return &s.PIN
}

// store keeps the state of a card: in a file, or in memory only.
type store struct {
	file  string // "": none
	log   *slog.Logger
	state state
}

// openStore reads the state from the file. Nothing is written until the state changes.
func openStore(file string, log *slog.Logger) (*store, error) {
	s := &store{file: file, log: log, state: newState()}
	if file == "" {
		return s, nil
	}
	data, err := readPrivate(file, maxStateFile)
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	if s.state, err = parseState(data); err != nil {
		return nil, cardbroker.Errorf(cardbroker.Invalid, "the software card's file %s is damaged: %v", file, err)
	}
	return s, nil
}

// update changes the state, on disk before in memory. Where that fails it changes nothing, writes the cause to the log
// and returns false. change works on a copy, but for the keys themselves, which it may only add or replace.
func (s *store) update(change func(*state)) bool {
	next := s.state
	next.Keys = maps.Clone(s.state.Keys)
	change(&next)
	if s.file != "" {
		data, err := json.MarshalIndent(next, "", "\t")
		if err == nil {
			err = replaceFile(s.file, append(data, '\n'))
		}
		if err != nil {
			s.log.Error("cannot save the state of the software card", "err", err)
			return false
		}
	}
	s.state = next
	return true
}

// parseState reads a whole state file. Its errors name the place and repeat no secret.
func parseState(data []byte) (state, error) {
	s := state{PIN: secret{Tries: -1}, PUK: secret{Tries: -1}} // so that neither can be missing
	if err := decode(data, &s); err != nil {
		return state{}, err
	}
	if err := s.PIN.check(); err != nil {
		return state{}, fmt.Errorf("pin.%w", err)
	}
	if err := s.PUK.check(); err != nil {
		return state{}, fmt.Errorf("puk.%w", err)
	}
	if s.GUID != nil && len(s.GUID) != guidSize {
		return state{}, fmt.Errorf("guid has %d bytes, want %d", len(s.GUID), guidSize)
	}
	if s.Keys == nil {
		return state{}, errors.New("keys are missing")
	}
	for name, key := range s.Keys {
		i := slices.IndexFunc(slots(), func(s slot) bool { return s.name == name })
		if i < 0 {
			return state{}, fmt.Errorf("keys.%q is no slot", name)
		}
		if err := key.load(slots()[i]); err != nil {
			return state{}, fmt.Errorf("keys.%s.%w", name, err)
		}
		s.Keys[name] = key
	}
	return s, nil
}

// decode reads JSON of our version, with no unknown fields and nothing after it.
func decode(data []byte, s *state) error {
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return at(data, err, 0)
	}
	if head.Version != stateVersion {
		return fmt.Errorf("version is %d, want %d", head.Version, stateVersion)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(s); err != nil {
		return at(data, err, d.InputOffset())
	}
	return nil
}

// at puts the line and column of a JSON error before it; offset is for errors that do not know their own.
func at(data []byte, err error, offset int64) error {
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		offset = e.Offset
	} else if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		offset = e.Offset
	}
	before := data[:min(int(offset), len(data))]
	line := 1 + bytes.Count(before, []byte("\n"))
	column := len(before) - bytes.LastIndexByte(before, '\n') - 1
	return fmt.Errorf("line %d, column %d: %w", line, column, err)
}

// check says which field of a secret is out of range.
func (s secret) check() error {
	switch {
	case s.Tries < 0 || s.Tries > maxTries:
		return fmt.Errorf("tries is %d, want 0 to %d", s.Tries, maxTries)
	case s.Salt == nil && s.Hash == nil && s.Cost == 0:
		return nil
	case len(s.Salt) != saltSize:
		return fmt.Errorf("salt has %d bytes, want %d", len(s.Salt), saltSize)
	case len(s.Hash) != hashSize:
		return fmt.Errorf("hash has %d bytes, want %d", len(s.Hash), hashSize)
	case s.Cost < 1 || s.Cost > maxCost:
		return fmt.Errorf("cost is %d, want 1 to %d", s.Cost, maxCost)
	}
	return nil
}
