// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/test/loginbed"
	"github.com/cardbroker/cardbroker/test/pcscbed"
	"github.com/cardbroker/cardbroker/test/stage"
	"github.com/cardbroker/cardbroker/test/tokenbed"
)

// withFake has a user's agent run with modules by the name of what their library does.
func withFake(t *testing.T, modules map[string]string) *holder {
	t.Helper()
	testenv.Tool(t, "gcc")
	h, alice, _ := newAttack(t)
	h.setPolicy("passthrough")
	library := h.Path("fake.so")
	if err := tokenbed.Fake(h.Context(), library); err != nil {
		t.Fatal(err)
	}
	policy := "consent: {allow: [" + softPage + "]}\nmodules:\n"
	for name, does := range modules {
		policy += fmt.Sprintf("  %s: {library: %s, env: ['FAKE=%s']}\n", name, library, does)
	}
	if err := os.WriteFile(h.Path("policy.d", "c.yaml"), []byte(policy), 0o644); err != nil {
		t.Fatal(err)
	}
	h.start()
	u := &holder{host: h, p: alice}
	u.service, u.line = h.logon(alice)
	u.at = fmt.Sprintf("127.0.0.1:%d", u.line.Port)
	return u
}

// first returns the first token of a module.
func (u *holder) first(module, page string) place {
	u.t.Helper()
	var slots api.Slots
	u.call(page, "", "GET", "/cb/v1/modules/"+module+"/slots?present=true", nil, &slots)
	if len(slots.Slots) == 0 {
		u.t.Fatalf("%s has no slot", module)
	}
	return place{u, module, string(slots.Slots[0].ID), page}
}

// TestKeypad has a page ask for what wants a PIN of tokens whose PIN is entered at their reader (CKF_PROTECTED_AUTHENTICATION_PATH): no PIN comes
// from the page, from the user's prompt, or to the library, which would refuse it.
func TestKeypad(t *testing.T) {
	alice := withFake(t, map[string]string{"keypad": "keypad", "refused": "keypad cancel", "wrong": "keypad wrong final"})
	alice.answers(alice.p, "exit 1") // the prompt is not to be asked
	pad := alice.first("keypad", softPage)
	var verified api.PINVerified
	if pad.does("", "verify-pin", fields{}, &verified); !verified.Verified {
		t.Error("a PIN that was entered at the reader is not verified")
	}
	pad.does("", "verify-pin", fields{"osDialog": true}, nil)
	pad.does("", "change-pin", fields{}, nil)
	pad.does("invalid", "verify-pin", fields{"pin": alice.pkcs1("123456")}, nil)
	alice.first("refused", softPage).does("pin_canceled", "verify-pin", fields{}, nil)
	a := alice.first("wrong", softPage).does("pin_incorrect", "verify-pin", fields{}, nil)
	if !strings.Contains(string(a.Body), `"retries":1`) {
		t.Errorf("a wrong PIN before the last try is answered %s", a.Body)
	}
	if _, err := os.Stat(alice.p.Home + "/told"); err == nil {
		t.Error("the prompt was asked")
	}
}

// TestDoctorStarts: the doctor has the agent start its modules, names the one that hangs, and ends in time; what its agent has started ends with it.
func TestDoctorStarts(t *testing.T) {
	alice := withFake(t, map[string]string{"good": "", "bad": "uninitialised", "hung": "stuck"})
	begun := time.Now()
	d, status := alice.diagnose(alice.p, "--policy", alice.policy)
	if took := time.Since(begun); status != 4 || took > 15*time.Second {
		t.Errorf("the doctor ends with %d after %v, want 4 within 15 s", status, took)
	}
	alice.finds(d, "module", "ok", "the module good is at")
	alice.finds(d, "module", "fail", "the module bad hangs, crashes, or does not start: the module bad does not run")
	alice.finds(d, "module", "fail", alice.Path("fake.so")+" does not start: C_Initialize says CKR_GENERAL_ERROR")
	alice.finds(d, "module", "fail", "the module hung hangs, crashes, or does not start: it hangs, or starts slowly")

	for _, path := range []string{"/cb/v1/modules?library=true", "/cb/v1/modules/bad/slots"} { // a page was told the rest, too
		if a := alice.call(softPage, anyReason, "GET", path, nil, nil); strings.Contains(string(a.Body), "fake.so") || strings.Contains(string(a.Body), "CKR") {
			t.Errorf("a page is told of a module that does not start: %s", a.Body)
		}
	}

	var said struct{ Modules []api.Module }
	alice.run(alice.p, 0, &said, "agent", "status", "--socket", alice.socket, "--state", alice.p.Home+"/state")
	states := map[string]string{}
	for _, m := range said.Modules {
		states[m.Name] = m.State
	}
	if len(states) != 3 || states["good"] != "running" || states["hung"] != "idle" {
		t.Errorf("the status has the modules %+v", said.Modules)
	}
	left := alice.process("fake.so")
	alice.service.Stop()
	alice.until("the end of its modules", func() bool { return stage.Ended(left) && alice.look("fake.so") == 0 })
}

// TestModuleNamesPIN: what a module prints of a PIN, and says of it when it crashes, is nowhere: not in an answer, nor what the doctor says, nor the log.
func TestModuleNamesPIN(t *testing.T) {
	alice := withFake(t, map[string]string{"bad": "print abort"})
	pin := tokenbed.Digits(8)
	bad := alice.first("bad", softPage)
	for range 5 { // until it is not started again at once
		bad.does(anyReason, "verify-pin", fields{"pin": alice.pkcs1(pin)}, nil)
	}
	alice.call(program, "", "GET", "/cb/v1/modules?library=true", nil, nil)
	d, _ := alice.diagnose(alice.p, "--policy", alice.policy)
	told, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	alice.service.Stop()
	logs, _ := filepath.Glob(alice.Path("*.log"))
	all := append(alice.said, told...)
	for _, log := range logs {
		text, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text...)
	}
	if !strings.Contains(string(all), "C_Initialize") || !strings.Contains(string(all), "indeterminate") {
		t.Errorf("the module did not print, or not crash: %.2000s", all)
	}
	for name, form := range forms(pin) {
		if bytes.Contains(all, form) {
			t.Errorf("the PIN is there, as %s", name)
		}
	}
}

// TestAwayEndsModules leads alice away from her session, as a real logind tells it, in the middle of what her pages do with her cards. With the lock
// PIN sessions and sessions of remote loading end; when she leaves, the modules' processes, too, and new ones serve her when she is back.
func TestAwayEndsModules(t *testing.T) {
	bed := loginbed.New(t)
	alice, bob := holders(t, tokenPolicy)
	alice.start()
	leader := exec.Command("sleep", "1000")
	if err := leader.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { leader.Process.Kill(); leader.Wait() })
	hers := bed.Login(int(alice.p.Cred.Uid), leader.Process.Pid, "seat0")
	his := bed.Login(int(bob.p.Cred.Uid), alice.ready.PID, "seat0")
	hers.Call("ActivateSession")
	alice.p.Env = []string{"DBUS_SYSTEM_BUS_ADDRESS=" + bed.Address}
	alice.p.Cgroup = alice.scope(alice.p, hers.ID)
	alice.begin(pcscbed.Card{})
	t.Cleanup(func() { alice.service.Stop() })
	is := func(presence string) {
		t.Helper()
		alice.await("alice "+presence, func(s api.Session) bool { return *s.UID == alice.p.Cred.Uid && s.Presence == presence })
	}
	is("present")
	soft, card := alice.soft(softPage), alice.inReader(cardPage)
	soft.signs("x", "sign?bulk=true", wish("x", alice.pkcs1(alice.hsm.PIN)))
	soft.signs("y", "sign?bulk=true", wish("y", ""))
	alice.call(cardPage, "", "GET", "/cb/v1/modules/opensc/slots", nil, nil)
	process, other := alice.process("libsofthsm2.so"), alice.process("opensc-pkcs11")
	loading := card.opens()

	hers.SetLockedHint(true)
	is("locked")
	loading.told("session_unknown", "no active session: the session is locked")
	loading.told("session_unknown", "invalid sessionID") // why is told once
	soft.does("pin_canceled", "sign?bulk=true", wish("z", ""), nil)
	if alice.look("libsofthsm2.so") != process {
		t.Error("a lock has ended the process of a module")
	}
	hers.SetLockedHint(false)
	is("present")

	soft.signs("x", "sign?bulk=true", wish("x", alice.pkcs1(alice.hsm.PIN)))
	loading = card.opens()
	his.Call("ActivateSession")
	is("away")
	alice.until("the end of the modules", func() bool { return stage.Ended(process) && stage.Ended(other) })
	loading.told("forbidden", "the session is disconnected")
	hers.Call("ActivateSession")
	is("present")
	loading.told("session_unknown", "no active session: the session is disconnected")

	alice.until("the card", func() bool { return len(alice.cards(alice.p)) == 1 })
	alice.answers(alice.p, "exit 1")
	soft.does("pin_canceled", "sign?bulk=true", wish("z", ""), nil) // its PIN session has ended
	soft.signs("z", "sign", wish("z", alice.pkcs1(alice.hsm.PIN)))
	if next := alice.process("libsofthsm2.so"); next == process {
		t.Error("the module's process is the one that was there before she left")
	}
}

// loading is a page's session of remote loading.
type loading struct {
	place
	body fields
}

// opens has the page open a session.
func (l place) opens() loading {
	l.t.Helper()
	var id string
	s := loading{place: l}
	s.post("", "open-session", fields{"timeout": 600}, &id)
	s.body = fields{"command": "00200080", "sessionId": id}
	s.post("", "command", s.body, nil)
	return s
}

func (s loading) post(want, action string, body fields, v any) answer {
	s.t.Helper()
	return s.call(s.page, want, "POST", "/v3/modules/remoteloading/apps/hsm/readers/"+s.id+"/"+action, body, v)
}

// told has the page send a command, and wants it refused for that reason, in these words.
func (s loading) told(reason, words string) {
	s.t.Helper()
	if a := s.post(reason, "command", s.body, nil); !strings.Contains(string(a.Body), words) {
		s.t.Errorf("the session's command is answered %s, want %q", a.Body, words)
	}
}
