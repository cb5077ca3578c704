// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/testenv"
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
	if took := time.Since(begun); status != 4 || took > 30*time.Second {
		t.Errorf("the doctor ends with %d after %v, want 4 within 30 s", status, took)
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
		if stands(all, form) > 0 {
			t.Errorf("the PIN is there, as %s", name)
		}
	}
}
