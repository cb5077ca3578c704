// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package browser

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/test/pcscbed"
)

// session is a user's with a card of his own in a reader, and two applications that use the Trust1Connector client: one in jsdom and
// one in a browser.
type session struct {
	*user
	cards        []string // which cards his agents have
	certificate  []byte   // of the card
	applications []*application
}

// sessions logs both users on, each with a PC/SC service, a card and a browser of his own.
func (h *host) sessions() []*session {
	h.t.Helper()
	h.needsPCSC()
	policy := h.policy(h.t, modules)
	var all []*session
	for i := range h.users {
		all = append(all, &session{user: &h.users[i]})
	}
	h.each(all, func(s *session) {
		if bed := s.bed(); bed != nil {
			s.cards = []string{"--pcsc-socket", bed.Socket(), "--policy", policy}
		}
	})
	for _, s := range all {
		s.logon(s.cards...)
		s.browse()
		if err := s.Grant(app, "loopbackNetwork"); err != nil {
			h.t.Fatal(err)
		}
		s.applications = []*application{
			{user: s.user, page: s.jsdom("https://app2.example/"), origin: "https://app2.example"}, {user: s.user, page: s.open(app), origin: app},
		}
	}
	h.t.Log(all[0].Version)
	return all
}

// needsPCSC skips a test where agents cannot reach PC/SC, or there is none.
func (h *host) needsPCSC() {
	h.t.Helper()
	if err := pcscbed.Supported(); err != nil {
		testenv.Skip(h.t, err.Error())
	}
	testenv.Tool(h.t, "gcc")
}

// bed gives the user a PC/SC service with a card in its first reader; nil: the test has failed.
func (u *user) bed() *pcscbed.Bed {
	bed, err := pcscbed.Start(u.h.Context(), pcscbed.Config{
		Dir: u.h.Path("bed-" + u.Name), UID: int(u.Cred.Uid), GID: int(u.Cred.Gid), Readers: 2, Card: filepath.Join(os.Getenv(programs), "vcard"),
	})
	if err != nil {
		u.h.t.Error(err)
		return nil
	}
	u.h.t.Cleanup(func() { bed.Stop() })
	if err := bed.Insert(u.h.Context(), 0, pcscbed.Card{}); err != nil {
		u.h.t.Error(err)
	}
	return bed
}

// each has all users do something at the same time.
func (h *host) each(all []*session, do func(s *session)) {
	h.t.Helper()
	var doing sync.WaitGroup
	for _, s := range all {
		doing.Go(func() { do(s) })
	}
	doing.Wait()
	if h.t.Failed() {
		h.t.FailNow()
	}
}

// TestTrust1Connector: applications that are written for the Trust1Connector run with its client as it is published, in jsdom and in
// Chromium, those of two users at the same time.
func TestTrust1Connector(t *testing.T) {
	h := setStage(t)
	all := h.sessions()
	h.each(all, func(s *session) {
		for _, a := range s.applications {
			a.start()
			a.consents()
			reader := a.readers()
			a.remoteLoading(reader)
			s.certificate = a.token(reader)
			a.unserved(reader)
			a.returns()
		}
	})
	if bytes.Equal(all[0].certificate, all[1].certificate) {
		t.Error("two users have the same card")
	}
	for _, s := range all { // on another port
		before := s.port
		if err := s.service.Stop(); err != nil {
			t.Error(err)
		}
		s.session = "next"
		s.logon(s.cards...)
		if s.port == before {
			t.Errorf("%s: the next agent has the port of the last", s.Name)
		}
	}
	h.each(all, func(s *session) {
		for _, a := range s.applications {
			a.returns()
			a.readers()
		}
		for _, other := range all {
			if other != s {
				s.applications[0].stray(other.port)
				s.applications[1].stray(other.port)
			}
		}
		last := s.applications[1] // of two tries that are left none is a page's
		last.fails(fmt.Sprintf("client.safenet(%q).verifyPin({pin: '654321'})", last.readers()), 208715)
	})
}
