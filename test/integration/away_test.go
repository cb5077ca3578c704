// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/test/loginbed"
	"github.com/cardbroker/cardbroker/test/pcscbed"
	"github.com/cardbroker/cardbroker/test/stage"
)

// atSeat has alice sit at a seat, with her card and her agent, as a real logind tells it; bob leads her away by activating his session.
func atSeat(t *testing.T) (alice *holder, hers, his *loginbed.Login) {
	bed := loginbed.New(t)
	alice, bob := holders(t, tokenPolicy)
	alice.start()
	leader := exec.Command("sleep", "1000")
	if err := leader.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { leader.Process.Kill(); leader.Wait() })
	hers = bed.Login(int(alice.p.Cred.Uid), leader.Process.Pid, "seat0")
	his = bed.Login(int(bob.p.Cred.Uid), alice.ready.PID, "seat0")
	hers.Call("ActivateSession")
	alice.p.Env = []string{"DBUS_SYSTEM_BUS_ADDRESS=" + bed.Address}
	alice.p.Cgroup = alice.scope(alice.p, hers.ID)
	alice.begin(pcscbed.Card{})
	t.Cleanup(func() { alice.service.Stop() })
	alice.is("present")
	return alice, hers, his
}

// is waits until the user is present, locked or away.
func (u *holder) is(presence string) {
	u.t.Helper()
	u.await(u.p.Name+" "+presence, func(s api.Session) bool { return *s.UID == u.p.Cred.Uid && s.Presence == presence })
}

// meanwhile reads the table of docs/sessions.md that says what is answered while the user is locked out or away: by what is asked.
func meanwhile(t *testing.T) map[string]map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/sessions.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]map[string]string{}
	_, table, _ := strings.Cut(string(text), "| of pages and programs | locked | away |\n|---|---|---|\n")
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if len(cells) != 3 {
			break
		}
		rows[strings.TrimPrefix(cells[0], "| ")] = map[string]string{"locked": cells[1], "away": strings.TrimSuffix(cells[2], " |"), "present": "answered"}
	}
	return rows
}

// TestMeanwhile asks for each row of that table while alice is there, has locked her screen and is away.
func TestMeanwhile(t *testing.T) {
	alice, hers, his := atSeat(t)
	soft, card := alice.soft(softPage), alice.inReader(cardPage)
	at := func(l place, page string) place { l.page = page; return l }
	types := func(pin string) { alice.answers(alice.p, "printf %s "+pin) }
	slots := "/cb/v1/modules/" + soft.module + "/slots"
	verify := "/cb/v1/readers/" + card.id + "/verify-pin"
	command := fields{"commands": []string{choosePIV, "0020008008" + fmt.Sprintf("%x", alice.pin)}}
	var signature api.TokenSignature
	soft.does("", "sign", wish("x", alice.pkcs1(alice.hsm.PIN)), &signature)
	validate := fields{"algorithm": "sha256", "id": "01", "hash": wish("x", "")["data"], "signedHash": signature.Data}
	asks := map[string]func() []answer{
		"lists of readers and modules; the device key": func() []answer {
			return []answer{
				alice.call(softPage, anyReason, "GET", "/v3/readers", nil, nil), alice.call(softPage, anyReason, "GET", "/cb/v1/modules", nil, nil),
				alice.call(softPage, anyReason, "GET", "/device-key", nil, nil),
			}
		},
		"what a token is, its slots and certificates, kept ones too": func() []answer {
			return []answer{
				soft.does(anyReason, "info", nil, nil), soft.does(anyReason, "cert-list", nil, nil), card.does(anyReason, "cert-list", nil, nil),
				alice.call(softPage, anyReason, "GET", slots, nil, nil), alice.call(softPage, anyReason, "GET", slots+"/"+soft.id+"/token", nil, nil),
				soft.does(anyReason, "supported-algorithms", nil, nil), soft.does(anyReason, "root-cert", nil, nil),
			}
		},
		"a signature verified by a token's certificate": func() []answer {
			return []answer{soft.does(anyReason, "validate", validate, nil)}
		},
		"a PIN sent to a card": func() []answer {
			wish := fields{"reference": "80", "aid": "A000000308", "pin": alice.pkcs1(alice.pin)}
			return []answer{alice.call(cardPage, anyReason, "POST", verify, wish, nil)}
		},
		"a PIN sent to a token: compared, for a signature, changed, set by the PUK": func() []answer {
			pin := func() string { return alice.pkcs1(alice.hsm.PIN) }
			return []answer{
				soft.does(anyReason, "verify-pin", fields{"pin": pin()}, nil), at(soft, cardPage).does(anyReason, "sign", wish("x", pin()), nil),
				at(soft, cardPage).does(anyReason, "authenticate", wish("x", pin()), nil),
				at(soft, program).does(anyReason, "change-pin", fields{"pin": pin(), "newPin": pin()}, nil),
				at(soft, program).does(anyReason, "reset-pin", fields{"puk": alice.pkcs1(alice.hsm.PUK), "pin": pin()}, nil),
			}
		},
		"a token's PIN that the user is to enter": func() []answer {
			types(alice.hsm.PIN)
			return []answer{at(soft, dialogPage).does(anyReason, "verify-pin", fields{"osDialog": true}, nil)}
		},
		"a card's PIN that the user is to enter, in a dialog or at the reader": func() []answer {
			types(alice.pin)
			return []answer{alice.call(dialogPage, anyReason, "POST", verify, fields{"reference": "80", "aid": "A000000308"}, nil)}
		},
		"a signature under a PIN session that was there before": func() []answer {
			types(alice.hsm.PIN)
			return []answer{soft.does(anyReason, "sign?bulk=true", wish("x", ""), nil)}
		},
		"a command to a card by remote loading": func() []answer {
			wish := fields{"commands": []string{choosePIV}}
			opened := card.remotely("open-session", nil)
			var id struct{ Data string }
			if json.Unmarshal(opened.Body, &id) == nil && id.Data != "" {
				card.remotely("close-session", fields{"sessionId": id.Data})
			}
			return []answer{opened, card.remotely("commands", wish)}
		},
		"the same with a PIN in it, where that is allowed": func() []answer {
			return []answer{at(card, program).remotely("commands", command)}
		},
		"a PIN pad, by remote loading": func() []answer {
			types(alice.pin)
			pad := fields{"feature": "VERIFY_PIN_DIRECT", "command": "0000820000080402FF0904000000000400000000200080"}
			return []answer{card.remotely("ccid", pad)}
		},
	}
	rows := meanwhile(t)
	if len(rows) != len(asks) {
		t.Errorf("docs/sessions.md has %d rows, want %d", len(rows), len(asks))
	}
	for _, presence := range []string{"present", "locked", "away"} {
		soft.does("", "sign?bulk=true", wish("x", alice.pkcs1(alice.hsm.PIN)), nil) // a PIN session
		switch presence {
		case "locked":
			hers.SetLockedHint(true)
		case "away":
			his.Call("ActivateSession")
		}
		alice.is(presence)
		for what, ask := range asks {
			for i, a := range ask() {
				got := a.reason()
				switch {
				case strings.Contains(string(a.Body), `"sw":"6401"`):
					got = "answered 6401"
				case got == "":
					got = "answered"
				}
				if got != rows[what][presence] {
					t.Errorf("%s: %s (%d) is %s, the document says %q: %s", presence, what, i, got, rows[what][presence], a.Body)
				}
			}
		}
		hers.SetLockedHint(false)
		alice.is(map[string]string{"present": "present", "locked": "present", "away": "away"}[presence])
	}
}

// remotely makes a call of remote loading.
func (l place) remotely(action string, body fields) answer {
	l.t.Helper()
	return l.call(l.page, anyReason, "POST", "/v3/modules/remoteloading/apps/hsm/readers/"+l.id+"/"+action, body, nil)
}

// TestAwayEndsModules leads alice away from her session, as a real logind tells it, in the middle of what her pages do with her cards. With the lock
// PIN sessions and sessions of remote loading end; when she leaves, the modules' processes, too, and new ones serve her when she is back.
func TestAwayEndsModules(t *testing.T) {
	alice, hers, his := atSeat(t)
	is := alice.is
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
