// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package confine_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker/sandbox/confine"
)

func TestNeeds(t *testing.T) {
	link := filepath.Join(t.TempDir(), "link.so")
	if err := os.Symlink("/dev/null", link); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct{ got, want confine.Needs }{
		"PC/SC":                  {confine.PCSC(""), confine.Needs{Sockets: []string{"/run/pcscd"}}},
		"PC/SC of a session":     {confine.PCSC("/run/user/7/p/comm"), confine.Needs{Sockets: []string{"/run/user/7/p"}}},
		"software card":          {confine.SoftCard(""), confine.Needs{}},
		"software card, file":    {confine.SoftCard("/home/a/card/c.json"), confine.Needs{Write: []string{"/home/a/card"}}},
		"software card, no path": {confine.SoftCard("c.json"), confine.Needs{Write: []string{"."}}},
		"module":                 {confine.Module("/opt/v/lib.so", "", "", ""), confine.Needs{Read: []string{"/opt/v"}, Write: []string{}}},
		"module, with all": {confine.Module("/opt/v/lib.so", "/etc/v:/etc/w.conf", "/var/v", "/run/user/7/p/comm"),
			confine.Needs{Read: []string{"/etc/v", "/etc/w.conf", "/opt/v"}, Write: []string{"/var/v"}, Sockets: []string{"/run/user/7/p"}}},
		"module that is a link": {confine.Module(link, "", "", ""), confine.Needs{Read: []string{filepath.Dir(link), "/dev"}, Write: []string{}}},
	}
	for name, test := range tests {
		if !reflect.DeepEqual(test.got, test.want) {
			t.Errorf("%s needs %+v, want %+v", name, test.got, test.want)
		}
	}
}

func TestLog(t *testing.T) {
	tests := []struct {
		state confine.State
		want  string
	}{
		{confine.State{Landlock: 7, Seccomp: true}, "level=INFO msg=confined landlock=7 seccomp=true"},
		{confine.State{Landlock: 6, Seccomp: true}, "level=INFO msg=confined landlock=6 seccomp=true"},
		{confine.State{Landlock: 5, Seccomp: true}, "level=WARN msg=\"confined in part: this kernel does not refuse signals, abstract Unix sockets\" landlock=5 seccomp=true"},
		{confine.State{Landlock: 2, Seccomp: true}, "level=WARN msg=\"confined in part: this kernel does not refuse truncation of files, signals, abstract Unix sockets\" landlock=2 seccomp=true"},
		{confine.State{Seccomp: true}, "level=WARN msg=\"confined in part: this kernel does not refuse files, signals, abstract Unix sockets\" landlock=0 seccomp=true"},
		{confine.State{Landlock: 9}, "level=WARN msg=\"confined in part: this kernel does not refuse system calls\" landlock=9 seccomp=false"},
	}
	for _, test := range tests {
		var out bytes.Buffer
		test.state.Log(slog.New(slog.NewTextHandler(&out, nil)))
		if _, got, _ := strings.Cut(strings.TrimSpace(out.String()), " "); got != test.want { // after the time
			t.Errorf("%+v logs %s, want %s", test.state, got, test.want)
		}
	}
}
