// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/testenv"
)

func TestPolicyModules(t *testing.T) {
	testenv.Root(t)
	for _, test := range []struct {
		name, first, second string
		want                []config.Module
	}{
		{name: "none", first: "modules: {}"},
		{
			name:  "a library that may come later",
			first: "modules: {own: {library: /opt/own/lib.so}}",
			want:  []config.Module{{Name: "own", Title: "own", Library: "/opt/own/lib.so", PCSC: true}},
		},
		{
			name: "all keys, by two files",
			first: "modules:\n  own: {title: First, library: /opt/own/first.so, pcsc: true, atrs: ['3B00'], env: [A=b, C=d], read: [/etc/own]}\n" +
				"  another: {library: /opt/another.so}",
			second: "modules: {own: {title: Second, library: /opt/own/second.so, pcsc: false, atrs: [3Bxx*], read: [], write: [/var/own], mechanisms: [CKM_RSA_PKCS]}}",
			want: []config.Module{
				{Name: "another", Title: "another", Library: "/opt/another.so", PCSC: true},
				{Name: "own", Title: "Second", Library: "/opt/own/second.so", ATRs: []string{"3Bxx*"}, Env: []string{"A=b", "C=d"}, Read: []string{},
					Write: []string{"/var/own"}, Mechanisms: []string{"CKM_RSA_PKCS"}},
			},
		},
		{
			name:  "a preset by its name, and one by another",
			first: "modules: {idemia: {}, station: {preset: idemia, title: Our cards}}",
			want: []config.Module{
				{Name: "idemia", Title: "IDEMIA AWP", Library: "/usr/local/AWP/lib/libOcsCryptoki.so", PCSC: true},
				{Name: "station", Title: "Our cards", Library: "/usr/local/AWP/lib/libOcsCryptoki.so", PCSC: true},
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := config.LoadPolicy(policyDir(t, map[string]string{"a.yaml": test.first + "\n", "b.yaml": test.second + "\n"}))
			if err != nil || !reflect.DeepEqual(p.Modules(), test.want) {
				t.Errorf("LoadPolicy = %+v, %v, want the modules %+v", p.Modules(), err, test.want)
			}
			for _, want := range test.want {
				if m, ok := p.Module(want.Name); !ok || !reflect.DeepEqual(m, want) {
					t.Errorf("Module(%q) = %+v, %v", want.Name, m, ok)
				}
			}
			if m, ok := p.Module("missing"); ok {
				t.Errorf("Module(missing) = %+v", m)
			}
		})
	}
}

// TestPresets: each preset can be named alone, and what Debian's packages bring is found where they put it.
func TestPresets(t *testing.T) {
	testenv.Root(t)
	for name, want := range map[string]string{
		"opensc": "opensc-pkcs11.so", "piv": "opensc-pkcs11.so", "nitrokey": "opensc-pkcs11.so", "aventra_myid_4": "opensc-pkcs11.so",
		"softhsm2": "libsofthsm2.so", "safenet": "", "eherkenning": "", "beid": "", "classicclient": "", "luxtrust": "", "idemia": "", "idemia_cosmo_82": "",
		"oberthur_73": "", "dnie": "", "yubikey": "", "bit4id": "",
	} {
		p, err := config.LoadPolicy(policyDir(t, map[string]string{"a.yaml": "modules: {" + name + ": {}}\n"}))
		if err != nil || len(p.Modules()) != 1 {
			t.Errorf("LoadPolicy of %s = %+v, %v", name, p.Modules(), err)
			continue
		}
		m := p.Modules()[0]
		if m.Name != name || m.Title == name || !filepath.IsAbs(m.Library) || m.PCSC != (name != "softhsm2") {
			t.Errorf("the preset %s is %+v", name, m)
		}
		if _, err := os.Stat(m.Library); want != "" && (err != nil || filepath.Base(m.Library) != want) {
			t.Errorf("the preset %s has found %s, %v, want %s", name, m.Library, err, want)
		}
	}
}

func TestPolicyModulesWrong(t *testing.T) {
	testenv.Root(t)
	foreign := filepath.Join(t.TempDir(), "foreign.so")
	if err := os.WriteFile(foreign, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(foreign, 0o666); err != nil {
		t.Fatal(err)
	}
	for said, want := range map[string]string{
		"own: {}":                                              "modules.own: want a library, or a preset, one of [aventra_myid_4 beid",
		"Own: {library: /a.so}":                                "modules.Own: want a lower-case letter",
		"remoteloading: {library: /a.so}":                      "modules.remoteloading: want",
		"own: {preset: none}":                                  `modules.own.preset: "none", want one of [aventra_myid_4 beid`,
		"own: {library: a.so}":                                 `modules.own.library: "a.so", want an absolute path`,
		"own: {library: /b/../a.so}":                           "want an absolute path",
		"own: {library: " + foreign + "}":                      "modules.own.library: " + foreign + " and what it lies in must be root's alone",
		"own: {library: /a.so, atrs: [3B0]}":                   `modules.own.atrs: "3B0", want hexadecimal digits`,
		"own: {library: /a.so, atrs: [3B0y*]}":                 `modules.own.atrs: "3B0y*"`,
		"own: {library: /a.so, env: [A]}":                      `modules.own.env: "A", want NAME=value`,
		"own: {library: /a.so, env: [CARDSANDBOX_READ=/]}":     `modules.own.env: "CARDSANDBOX_READ=/"`,
		"own: {library: /a.so, env: [PCSCLITE_CSOCK_NAME=/a]}": `modules.own.env: "PCSCLITE_CSOCK_NAME=/a"`,
		"own: {library: /a.so, read: ['/a:/b']}":               `modules.own.read: "/a:/b", want an absolute path`,
		"own: {library: /a.so, write: [a]}":                    `modules.own.write: "a", want an absolute path`,
		"own: {library: /a.so, mechanisms: [RSA]}":             `modules.own.mechanisms: "RSA", want CKM_ and a name`,
		"own: {library: /a.so, path: /b}":                      `unknown field "path"`,
	} {
		_, err := config.LoadPolicy(policyDir(t, map[string]string{"a.yaml": "modules: {" + said + "}\n"}))
		if cardbroker.ReasonOf(err) != cardbroker.Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("LoadPolicy of %s = %v, want invalid: %s", said, err, want)
		}
	}
}

// TestShowModules: what a preset says, and what was found, is shown as a default.
func TestShowModules(t *testing.T) {
	testenv.Root(t)
	shown, err := config.ShowPolicy(policyDir(t, map[string]string{"a.yaml": "modules: {idemia: {title: Ours, atrs: [3B*]}}\n"}))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, s := range shown {
		if strings.HasPrefix(s.Key, "modules.") {
			got[s.Key] = s.Value + " " + filepath.Base(s.Source)
		}
	}
	want := map[string]string{
		"modules.idemia.title": "Ours a.yaml", "modules.idemia.library": "/usr/local/AWP/lib/libOcsCryptoki.so default", "modules.idemia.pcsc": "true default",
		"modules.idemia.atrs": "[3B*] a.yaml", "modules.idemia.env": "[] default", "modules.idemia.read": "[] default", "modules.idemia.write": "[] default",
		"modules.idemia.mechanisms": "[] default",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("ShowPolicy = %v, want %v", got, want)
	}
}

func TestFitsATR(t *testing.T) {
	const atr = "3B8E8001"
	for pattern, want := range map[string]bool{
		"3B8E8001": true, "3b8e8001": true, "3BxE8001": true, "3B*": true, "*": true, "3B8E8001*": true,
		"3B8E80": false, "3B8E800102": false, "3B8E8002": false, "3C*": false, "3B8E800102*": false,
	} {
		if got := (config.Module{PCSC: true, ATRs: []string{"3F00", pattern}}).FitsATR(atr); got != want {
			t.Errorf("FitsATR(%s) with %s = %v, want %v", atr, pattern, got, want)
		}
	}
	if !(config.Module{PCSC: true}).FitsATR(atr) || (config.Module{}).FitsATR(atr) {
		t.Error("without patterns a module is for all cards, if it is for cards")
	}
}
