// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cardbroker/cardbroker"
)

// schema is the version of what stands in the file. A program reads its own and none that is newer.
const schema = 1

// The names in the file.
const (
	metaBucket   = "meta"
	schemaKey    = "schema" // 4 bytes, big-endian
	epochKey     = "epoch"  // 8 bytes, big-endian
	saltKey      = "salt"   // 32 bytes
	auditKey     = "audit"  // 8 bytes, big-endian, and 32: the head of the audit log; not there before its first record
	agentsBucket = "agents"
)

// row is the JSON of one agent.
type row struct {
	Port    cardbroker.Port      `json:"port"`
	UID     uint32               `json:"uid"`
	SID     string               `json:"sid,omitempty"`
	Session cardbroker.SessionID `json:"session"`
	State   cardbroker.State     `json:"state"` // as of the last change that was kept: STALE is not
	PID     int                  `json:"pid,omitempty"`
	Since   time.Time            `json:"since"`
	Route   cardbroker.Route     `json:"route,omitempty"`
	Claim   string               `json:"claim,omitempty"` // hexadecimal, left out of dumps
}

func newRow(r cardbroker.Record) row {
	return row{
		Port:    r.Agent.Port,
		UID:     r.Agent.Key.User.UID,
		SID:     r.Agent.Key.User.SID,
		Session: r.Agent.Key.Session,
		State:   r.Agent.State,
		PID:     r.Agent.PID,
		Since:   r.Agent.Since.UTC(),
		Route:   r.Agent.Route,
		Claim:   hex.EncodeToString(r.Claim[:]),
	}
}

// record checks the row, which passed its checksum: what is wrong with it was written so.
func (r row) record() (cardbroker.Record, error) {
	record := cardbroker.Record{Agent: cardbroker.Agent{
		Key:   cardbroker.AgentKey{User: cardbroker.UserID{UID: r.UID, SID: r.SID}, Session: r.Session},
		Port:  r.Port,
		State: r.State,
		PID:   r.PID,
		Since: r.Since,
		Route: r.Route,
	}}
	if _, err := cardbroker.ParseSessionID(string(r.Session)); err != nil {
		return record, err
	}
	if r.State != cardbroker.Reserved && r.State != cardbroker.Registered && r.State != cardbroker.Stale {
		return record, fmt.Errorf("unknown state %q", r.State)
	}
	claim, err := hex.DecodeString(r.Claim)
	if err != nil || len(claim) != len(record.Claim) {
		return record, errors.New("the claim's hash is not 64 hexadecimal digits")
	}
	copy(record.Claim[:], claim)
	return record, nil
}

func portKey(port cardbroker.Port) []byte { return binary.BigEndian.AppendUint16(nil, uint16(port)) }

// put writes a value under its checksum.
func put(b *bbolt.Bucket, key, content []byte) error {
	return b.Put(key, append(binary.BigEndian.AppendUint32(nil, checksum(key, content)), content...))
}

// content returns a copy of what put wrote, or an error if it is not that any more.
func content(key, value []byte) ([]byte, error) {
	if len(value) < crc32.Size {
		return nil, errors.New("missing or cut off")
	}
	sum, content := binary.BigEndian.Uint32(value), value[crc32.Size:]
	if sum != checksum(key, content) {
		return nil, errors.New("the checksum is wrong")
	}
	return bytes.Clone(content), nil
}

func checksum(key, content []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(key, table), table, content)
}

// create fills an empty file.
func create(tx *bbolt.Tx) error {
	meta, err := tx.CreateBucket([]byte(metaBucket))
	if err != nil {
		return err
	}
	if _, err := tx.CreateBucket([]byte(agentsBucket)); err != nil {
		return err
	}
	salt := make([]byte, 32)
	rand.Read(salt) // never fails
	return errors.Join(
		put(meta, []byte(schemaKey), binary.BigEndian.AppendUint32(nil, schema)),
		put(meta, []byte(epochKey), binary.BigEndian.AppendUint64(nil, 0)),
		put(meta, []byte(saltKey), salt),
	)
}

// read returns everything in the file, checked.
func (s *Store) read(tx *bbolt.Tx) (cardbroker.Snapshot, error) {
	var snapshot cardbroker.Snapshot
	meta, agents := tx.Bucket([]byte(metaBucket)), tx.Bucket([]byte(agentsBucket))
	if meta == nil || agents == nil {
		return snapshot, s.foreign()
	}
	version, err := s.meta(meta, schemaKey, 4)
	if err != nil {
		return snapshot, err
	}
	if v := binary.BigEndian.Uint32(version); v > schema {
		return snapshot, cardbroker.Errorf(cardbroker.Unsupported,
			"the store %s was made by a newer version (schema %d, this one reads %d): upgrade, or restore a backup", s.path, v, schema)
	}
	epoch, err := s.meta(meta, epochKey, 8)
	if err != nil {
		return snapshot, err
	}
	salt, err := s.meta(meta, saltKey, len(snapshot.Salt))
	if err != nil {
		return snapshot, err
	}
	snapshot.Epoch = binary.BigEndian.Uint64(epoch)
	copy(snapshot.Salt[:], salt)
	snapshot.Records, err = s.records(agents)
	return snapshot, err
}

func (s *Store) meta(b *bbolt.Bucket, key string, size int) ([]byte, error) {
	value, err := content([]byte(key), b.Get([]byte(key)))
	if err == nil && len(value) != size {
		err = fmt.Errorf("%d bytes, want %d", len(value), size)
	}
	if err != nil {
		return nil, s.damaged(err, "its "+key)
	}
	return value, nil
}

func (s *Store) records(b *bbolt.Bucket) ([]cardbroker.Record, error) {
	var records []cardbroker.Record
	holders := make(map[cardbroker.AgentKey]cardbroker.Port)
	err := b.ForEach(func(key, value []byte) error {
		r, err := decode(key, value)
		if err == nil && !bytes.Equal(b.Get(key), value) { // ForEach reads leaves only, Get the branches too
			err = errors.New("it cannot be found by its key")
		}
		if err != nil {
			return s.damaged(err, fmt.Sprintf("the record of port %s", portName(key)))
		}
		if other, ok := holders[r.Agent.Key]; ok {
			return s.damaged(errors.New("one agent has both"), fmt.Sprintf("the records of ports %d and %d", other, r.Agent.Port))
		}
		holders[r.Agent.Key] = r.Agent.Port
		records = append(records, r)
		return nil
	})
	return records, err
}

func decode(key, value []byte) (cardbroker.Record, error) {
	text, err := content(key, value)
	if err != nil {
		return cardbroker.Record{}, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	var r row
	if err := decoder.Decode(&r); err != nil {
		return cardbroker.Record{}, err
	}
	if !bytes.Equal(portKey(r.Port), key) {
		return cardbroker.Record{}, fmt.Errorf("it speaks of port %d", r.Port)
	}
	return r.record()
}

// portName is how an error names the key of a record.
func portName(key []byte) string {
	if len(key) != 2 {
		return fmt.Sprintf("%#x", key)
	}
	return fmt.Sprint(binary.BigEndian.Uint16(key))
}
