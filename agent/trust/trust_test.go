// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package trust_test

import (
	"reflect"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/trust"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/epoch"
)

// TestHear: each message of an elected registry, of our own user's or another's, and of a service. A new kind of message has to be
// decided on here.
func TestHear(t *testing.T) {
	const yes, no, shared = "", cardbroker.Forbidden, "shared"
	service, own, foreign := trust.Registry{}, trust.Registry{Elected: true}, trust.Registry{Elected: true, Foreign: true}
	tested := map[string]bool{}
	for _, test := range []struct {
		message                     api.FromBroker
		ofService, ofOwn, ofForeign cardbroker.Reason // shared: believed as that
	}{
		{api.FromBroker{Registered: &api.Registered{}}, yes, yes, yes},
		{api.FromBroker{Failed: &api.ErrorBody{}}, yes, yes, yes},
		{api.FromBroker{Ask: &api.Ask{}}, yes, yes, yes},
		{api.FromBroker{Sharing: &api.Sharing{Shared: true, Turns: 2}}, yes, yes, yes},
		{api.FromBroker{Sharing: &api.Sharing{Turns: 3}}, yes, yes, shared},
		{api.FromBroker{Voters: &api.Voters{}}, cardbroker.Invalid, yes, yes},
		{api.FromBroker{Open: &api.TunnelOpen{}}, yes, no, no},
		{api.FromBroker{Forward: &api.Forward{}}, yes, no, no},
		{api.FromBroker{Kicked: &api.Kicked{}}, yes, no, no},
		{api.FromBroker{Revoke: &api.RevokeLease{}}, yes, no, no},
	} {
		said := reflect.ValueOf(test.message)
		for i := range said.NumField() {
			if !said.Field(i).IsNil() {
				tested[said.Type().Field(i).Name] = true
			}
		}
		for registry, want := range map[trust.Registry]cardbroker.Reason{service: test.ofService, own: test.ofOwn, foreign: test.ofForeign} {
			got, err := registry.Hear(test.message)
			wanted := test.message
			if want == shared {
				want, wanted.Sharing = yes, &api.Sharing{Shared: true, Turns: test.message.Sharing.Turns}
			}
			if cardbroker.ReasonOf(err) != want || err == nil && !reflect.DeepEqual(got, wanted) {
				t.Errorf("%+v.Hear(%+v) = %+v, %v, want %q", registry, test.message, got, err, want)
			}
		}
	}
	for i := range reflect.TypeFor[api.FromBroker]().NumField() {
		if name := reflect.TypeFor[api.FromBroker]().Field(i).Name; !tested[name] {
			t.Errorf("nobody has decided whether an elected registry may say %s", name)
		}
	}
}

func TestRegistered(t *testing.T) {
	elected := api.Registered{Port: 7, Mode: api.ModeElected, Epoch: 1}
	with := func(change func(*api.Registered)) api.Registered {
		said := elected
		change(&said)
		return said
	}
	for _, test := range []struct {
		name string
		from trust.Registry
		said api.Registered
		want cardbroker.Reason
	}{
		{"as it should be", trust.Registry{Elected: true}, elected, ""},
		{"another port", trust.Registry{Elected: true}, with(func(r *api.Registered) { r.Port = 8 }), cardbroker.Invalid},
		{"a door", trust.Registry{Elected: true}, with(func(r *api.Registered) { r.BackendURL = "wss://x" }), cardbroker.Forbidden},
		{"a rendezvous", trust.Registry{Elected: true}, with(func(r *api.Registered) { r.Dialled = map[cardbroker.Tenant]string{"t": "wss://x"} }), cardbroker.Forbidden},
		{"a name of the host", trust.Registry{Elected: true}, with(func(r *api.Registered) { r.Name = "evil.example" }), cardbroker.Forbidden},
		{"for a service", trust.Registry{Elected: true}, with(func(r *api.Registered) { r.Mode = api.ModeService }), cardbroker.Invalid},
		{"a service", trust.Registry{}, api.Registered{Port: 8, Mode: api.ModeService, BackendURL: "wss://x", Name: "x"}, ""},
		{"an older service", trust.Registry{}, api.Registered{}, ""},
		{"a service that says it was elected", trust.Registry{}, elected, cardbroker.Invalid},
	} {
		if got, err := test.from.Registered(test.said, 7); cardbroker.ReasonOf(err) != test.want || err == nil && !reflect.DeepEqual(got, test.said) {
			t.Errorf("%s: Registered = %+v, %v, want %q", test.name, got, err, test.want)
		}
	}
	got, err := trust.Registry{Elected: true, Foreign: true}.Registered(elected, 7)
	if err != nil || !got.Sharing.Shared {
		t.Errorf("of another user's registry, Registered = %+v, %v, want that the host is shared", got, err)
	}
}

func TestEpochs(t *testing.T) {
	now := epoch.Now()
	var e trust.Epochs
	for _, test := range []struct {
		n    uint64
		want cardbroker.Reason
	}{
		{0, cardbroker.Invalid}, {now - 9, ""}, {now - 9, ""}, {now - 10, cardbroker.StaleEpoch}, {now, ""}, {now - 1, cardbroker.StaleEpoch},
		{now + 3_600_000_000, cardbroker.Invalid}, {now, ""},
	} {
		if err := e.Accept(test.n); cardbroker.ReasonOf(err) != test.want {
			t.Errorf("Accept(now%+d) = %v, want %q", int64(test.n-now), err, test.want)
		}
	}
}
