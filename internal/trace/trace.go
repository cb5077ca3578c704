// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package trace is the record of what a back end said to a card during a lease: a file of JSON lines, a header and then one
// line for each command, with times and without secrets. A trace can be played as a card ([Play]). The package decides what
// is a secret; it never sees a connection.
package trace

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/apdu"
)

// version is the form of the file. Mark is how a trace begins, and nothing else does.
const (
	version = 1
	Mark    = `{"cardbroker_trace":`
)

// Header is the first line: the card, and when the trace began.
type Header struct {
	Version  int       `json:"cardbroker_trace"`
	Time     time.Time `json:"time"`
	Reader   string    `json:"reader"`
	ATR      string    `json:"atr"`      // in hexadecimal
	Protocol string    `json:"protocol"` // T0 or T1
}

// Entry is one command and its answer.
type Entry struct {
	Time      time.Time
	Command   []byte            // as it was asked for
	Unknown   []Range           // bytes of Command that were put in at the card's end, and are not known here
	Data      []byte            // of the answer
	SW        apdu.StatusWord   // the last one
	Failed    cardbroker.Reason // in place of an answer
	Gathered  bool              // Data were fetched in several answers
	Sensitive bool              // neither the data of the command nor those of the answer are to be written
	Card      time.Duration
	Total     time.Duration
}

// Range is Length bytes from Offset on.
type Range struct{ Offset, Length int }

// line is an entry as it is written. Of a redacted command, it has the header, how many bytes of data follow it, and a tag that
// is the same for the same command within this trace, and means nothing outside of it.
type line struct {
	Time     time.Time         `json:"time"`
	Command  string            `json:"command,omitempty"` // in hexadecimal; .. is a byte that is not known
	Header   string            `json:"header,omitempty"`
	Lc       int               `json:"lc,omitempty"`
	Tag      string            `json:"tag,omitempty"`
	Response *string           `json:"response,omitempty"` // without the status word; missing: redacted
	SW       string            `json:"sw,omitempty"`
	Error    cardbroker.Reason `json:"error,omitempty"`
	Gathered bool              `json:"gathered,omitempty"`
	Micros   times             `json:"us"`
}

// times are in µs.
type times struct {
	Total int64 `json:"total"`
	Card  int64 `json:"card"`
}

// Writer writes a trace. One goroutine uses it.
type Writer struct {
	file     *os.File
	encoder  *json.Encoder
	begun    bool     // there is a header
	key      [32]byte // of the tags; it is never written
	redacted bool     // the last command was: what is fetched after it belongs to it
}

// Create makes the file, mode 0600. One that is there already is Invalid and stays as it is.
func Create(path string) (*Writer, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if os.IsExist(err) {
		return nil, cardbroker.Errorf(cardbroker.Invalid, "the trace %s is there already; it is not overwritten", path)
	}
	if err != nil {
		return nil, cardbroker.Wrapf(err, cardbroker.Invalid, "cannot make the trace %s", path)
	}
	w := &Writer{file: file, encoder: json.NewEncoder(file)}
	rand.Read(w.key[:])
	return w, nil
}

// Begin writes the header.
func (w *Writer) Begin(reader string, card cardbroker.Card) error {
	w.begun = true
	return w.write(Header{Version: version, Time: time.Now().UTC(), Reader: reader,
		ATR: upper(card.ATR), Protocol: card.Protocol.String()})
}

// Add writes an entry.
func (w *Writer) Add(e Entry) error {
	l := line{Time: e.Time.UTC(), Error: e.Failed, Gathered: e.Gathered,
		Micros: times{Total: e.Total.Microseconds(), Card: e.Card.Microseconds()}}
	command, err := apdu.ParseCommand(e.Command)
	secret := err != nil || e.Sensitive || redacts(command) || w.redacted && command.INS == insGetResponse
	w.redacted = secret
	if secret {
		l.Header, l.Lc, l.Tag = upper(e.Command[:min(4, len(e.Command))]), len(command.Data), w.tag(e.Command)
	} else {
		l.Command = masked(e.Command, e.Unknown)
	}
	if e.Failed == "" {
		l.SW = e.SW.String()
		if data := upper(e.Data); !secret {
			l.Response = &data
		}
	}
	return w.write(l)
}

func (w *Writer) write(v any) error {
	if err := w.encoder.Encode(v); err != nil {
		return cardbroker.Wrapf(err, cardbroker.Unavailable, "cannot write the trace")
	}
	return nil
}

// Close closes the file, and removes it if the trace has not begun.
func (w *Writer) Close() error {
	clear(w.key[:])
	err := w.file.Close()
	if !w.begun {
		err = errors.Join(err, os.Remove(w.file.Name()))
	}
	return err
}

// tag tells redacted commands of one trace apart. Nobody has the key, so that no PIN can be tried against it.
func (w *Writer) tag(command []byte) string {
	mac := hmac.New(sha256.New, w.key[:])
	mac.Write(command)
	return hex.EncodeToString(mac.Sum(nil)[:8])
}

// insGetResponse is GET RESPONSE, ISO/IEC 7816-4 §11.5.1.
const insGetResponse = 0xC0

// redacts says whether a command, of whatever class, may carry a PIN or a key: the commands with PINs, but for a question
// without data for the tries left; ENVELOPE, which may wrap one; PUT DATA, and GlobalPlatform's PUT KEY and STORE DATA.
func redacts(c apdu.Command) bool {
	switch c.INS {
	case 0xC2, 0xC3, 0xDA, 0xDB, 0xD8, 0xE2:
		return true
	}
	return apdu.PINCommand(c.INS) != "" && len(c.Data) > 0
}

// Redacts says whether a trace would hide the data of a command: it is for whoever shows commands elsewhere.
func Redacts(command []byte) bool {
	c, err := apdu.ParseCommand(command)
	return err != nil || redacts(c)
}

func upper(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }

// masked writes a command, and .. for the data bytes that are not known.
func masked(command []byte, unknown []Range) string {
	text := []byte(upper(command))
	c, err := apdu.ParseCommand(command)
	if err != nil {
		return string(text)
	}
	at := 5 // of the data field
	if c.Extended {
		at = 7
	}
	for _, r := range unknown {
		for i := at + r.Offset; i < at+r.Offset+r.Length && 2*i+1 < len(text); i++ {
			text[2*i], text[2*i+1] = '.', '.'
		}
	}
	return string(text)
}
