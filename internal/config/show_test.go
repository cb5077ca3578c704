// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package config

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// keysOf returns the keys of the scalars and lists of a file's type; maps by name are left out.
func keysOf(of reflect.Type, prefix string) (keys []string) {
	for of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	if of.Kind() != reflect.Struct {
		return []string{strings.TrimSuffix(prefix, ".")}
	}
	for i := range of.NumField() {
		field := of.Field(i)
		if key, _, _ := strings.Cut(field.Tag.Get("yaml"), ","); key != "" && field.Type.Kind() != reflect.Map {
			keys = append(keys, keysOf(field.Type, prefix+key+".")...)
		}
	}
	return keys
}

// TestDefaultsAreShown: every key of the files has a default that is shown, or is listed here as one that has none.
func TestDefaultsAreShown(t *testing.T) {
	for _, file := range []struct {
		name     string
		of       reflect.Type
		defaults []Setting
		none     string
	}{
		{"host.yaml", reflect.TypeFor[Host](), hostDefaults(), "socket state host backend.listen backend.cert backend.key backend.tokens backend.url tls.cert tls.key tls.name metrics.listen"},
		{"policy", reflect.TypeFor[policyText](), policyDefaults(), ""},
		{"a tenant's policy", reflect.TypeFor[tenantText](), tenantDefaults(),
			"page_jwt.jwks_file page_jwt.issuer page_jwt.audience page_jwt.algorithms firewall.default firewall.rules firewall.tests lease_max"},
		{"a module", reflect.TypeFor[moduleText](), moduleDefaults(Module{}), "preset"},
		{"a firewall", reflect.TypeFor[firewallText](), firewallDefaults(), ""},
	} {
		var known []string
		for _, d := range file.defaults {
			known = append(known, d.Key)
		}
		known = append(known, strings.Fields(file.none)...)
		keys := keysOf(file.of, "")
		slices.Sort(known)
		slices.Sort(keys)
		if !slices.Equal(keys, known) {
			t.Errorf("%s has the keys\n%v, shown are\n%v; a new key gets its default in show.go, or a place in the list of those without", file.name, keys, known)
		}
	}
}
