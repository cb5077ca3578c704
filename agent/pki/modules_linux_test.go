// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pki_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/pki"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/token"
	"github.com/cardbroker/cardbroker/test/softtoken"
)

// ending are tokens of modules that crash.
type ending struct{ pki.Tokens }

func (ending) Library(context.Context, string) (token.Library, error) {
	return token.Library{}, cardbroker.Wrapf(errors.New("/opt/vendor.so: no such symbol"), cardbroker.Unavailable, "the module soft does not run")
}

// TestModulesThatFail: a page was told the path of a library, and what a module had printed last. Now programs are, the doctor among them.
func TestModulesThatFail(t *testing.T) {
	const cause = "exit status 4 (/opt/vendor.so: no such symbol)"
	b := startBed(t, softtoken.Config{Tokens: ending{}, Modules: []config.Module{{Name: "soft"}}, Process: pki.Process{Ended: cause}})
	for origin, want := range map[cardbroker.Origin]string{shop: "", "": cause} {
		s := b.callFor(origin, "GET", "/cb/v1/modules?library=true", nil)
		var modules api.Modules
		if err := json.Unmarshal(s.all, &modules); err != nil || len(modules.Modules) != 1 || modules.Modules[0].Error != "the module soft does not run" {
			t.Fatalf("%q is answered %s (%v)", origin, s.all, err)
		}
		if got := modules.Modules[0].Cause; got != want || strings.Contains(string(s.all), "vendor") != (want != "") {
			t.Errorf("%q is told the cause %q, want %q: %s", origin, got, want, s.all)
		}
	}
}

// TestModulesThatHang: one that owes somebody an answer is named, though it runs.
func TestModulesThatHang(t *testing.T) {
	for mute, want := range map[time.Duration]string{10 * time.Second: "", 12 * time.Second: "it hangs: it has not answered what it was asked 12s ago"} {
		b := startBed(t, softtoken.Config{Process: pki.Process{Mute: mute}})
		var modules api.Modules
		b.want("", "GET", "/cb/v1/modules", nil, &modules)
		if m := modules.Modules[2]; m.State != "running" || m.Error != want {
			t.Errorf("a module that is mute for %v is %+v, want the error %q", mute, m, want)
		}
	}
}
