// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/cardbroker/cardbroker"
)

// Setting is one value of the configuration, as it counts.
type Setting struct {
	Key    string `json:"key"`    // such as tenants.issuer.pin, tenants.issuer.firewall.rules[0]
	Value  string `json:"value"`  // as it stands in the file
	Source string `json:"source"` // the file, or default
}

// fromDefault is the source of what no file says.
const fromDefault = "default"

// hostDefaults is what counts where host.yaml is silent. What is missing here has no value then.
func hostDefaults() []Setting {
	return []Setting{
		{Key: "listen", Value: DefaultListen}, {Key: "ports", Value: cardbroker.DefaultPorts},
		{Key: "limits.reservationsPerUser", Value: "16"}, {Key: "limits.connectionsPerUser", Value: "64"},
		{Key: "issuer.life", Value: "5m"}, {Key: "issuer.rotate", Value: "720h"},
		{Key: "audit.keep_days", Value: "400"}, {Key: "audit.max_size", Value: "4GiB"},
		{Key: "tls.local_ca", Value: "false"}, {Key: "tls.plain", Value: plainAllow}, {Key: "fixed_ports", Value: "[]"}, {Key: "backend.connect", Value: "[]"}, {Key: "metrics.users", Value: "[]"},
	}
}

// policyDefaults is the same for machine policy.
func policyDefaults() []Setting {
	return []Setting{
		{Key: "pcsc.shared", Value: "deny"}, {Key: "prompt.command", Value: "[]"}, {Key: "prompt.timeout", Value: "60s"},
		{Key: "http.demo", Value: "allow"}, {Key: "http.local_programs", Value: "allow"}, {Key: "consent.allow", Value: "[]"}, {Key: "consent.deny", Value: "[]"},
		{Key: "consent.days", Value: fmt.Sprint(DefaultConsentDays)}, {Key: "consent.users", Value: "decide"}, {Key: "consent.prompt", Value: "[]"},
		{Key: "pin.clear", Value: "deny"}, {Key: "pin.floor", Value: "1"}, {Key: "pin.ask", Value: "session"},
		{Key: "pin.session.seconds", Value: "0"}, {Key: "pin.session.uses", Value: "0"}, {Key: "notify", Value: "true"},
		{Key: "readers.exclude", Value: "[]"}, {Key: "remote_loading.pin", Value: "deny"},
		{Key: "cache.certificates", Value: string(CacheDisk)}, {Key: "cache.days", Value: fmt.Sprint(DefaultCacheDays)},
		{Key: "election.scope", Value: "same_user"}, {Key: "election.after_service", Value: "allow"},
	}
}

// tenantDefaults is the same for each tenant that policy names.
func tenantDefaults() []Setting {
	return []Setting{
		{Key: "pin", Value: "deny"}, {Key: "durability", Value: "none"}, {Key: "control", Value: "[]"}, {Key: "origins", Value: "[]"}, {Key: "standing", Value: "[]"},
	}
}

// firewallDefaults is the same for a tenant's firewall, if he has one.
func firewallDefaults() []Setting {
	return []Setting{{Key: "default", Value: "deny"}, {Key: "rules", Value: "[]"}, {Key: "tests", Value: "[]"}}
}

// moduleDefaults is the same for a module that policy names: what its preset says, and what was found.
func moduleDefaults(m Module) []Setting {
	list := func(values []string) string { return "[" + strings.Join(values, ", ") + "]" }
	return []Setting{
		{Key: "title", Value: m.Title}, {Key: "library", Value: m.Library}, {Key: "pcsc", Value: fmt.Sprint(m.PCSC)}, {Key: "atrs", Value: "[]"}, {Key: "env", Value: "[]"},
		{Key: "read", Value: list(m.Read)}, {Key: "write", Value: list(m.Write)}, {Key: "mechanisms", Value: "[]"},
	}
}

// ShowHost returns what host.yaml says, and the defaults of what it does not say. socket and state are two of the defaults. An empty
// path means HostFile, which need not be there. Errors: Invalid, as of [LoadHost].
func ShowHost(path, socket, state string) ([]Setting, error) {
	if _, err := LoadHost(path, Host{}); err != nil {
		return nil, err
	}
	shown := make(settings)
	if err := shown.read(cmp.Or(path, HostFile)); err != nil {
		return nil, err
	}
	shown.complete("", hostDefaults())
	shown.complete("", []Setting{{Key: "socket", Value: socket}, {Key: "state", Value: state}})
	return shown.sorted(), nil
}

// ShowPolicy returns what the files of a directory say together, and the defaults of what they do not say. Errors: Invalid, as of [LoadPolicy].
func ShowPolicy(dir string) ([]Setting, error) {
	p, err := LoadPolicy(dir)
	if err != nil {
		return nil, err
	}
	dir, err = filepath.Abs(cmp.Or(dir, PolicyDir))
	if err != nil {
		return nil, cardbroker.Wrapf(err, cardbroker.Invalid, "cannot tell where the policy is")
	}
	shown := make(settings)
	if _, err := os.Lstat(dir); err == nil {
		files, err := policyFiles(dir)
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			if err := shown.read(file); err != nil {
				return nil, err
			}
		}
	}
	shown.complete("", policyDefaults())
	for _, name := range p.names() {
		place := "tenants." + string(name) + "."
		shown.complete(place, tenantDefaults())
		if p.tenants[name].Firewall != nil {
			shown.complete(place+"firewall.", firewallDefaults())
		}
	}
	for _, m := range p.modules {
		shown.complete("modules."+m.Name+".", moduleDefaults(m))
	}
	return shown.sorted(), nil
}

// settings are settings by their keys.
type settings map[string]Setting

// complete adds what no file says.
func (s settings) complete(prefix string, defaults []Setting) {
	for _, d := range defaults {
		d.Key, d.Source = prefix+d.Key, fromDefault
		_, one := s[d.Key]
		_, list := s[d.Key+"[0]"]
		if !one && !list {
			s[d.Key] = d
		}
	}
}

func (s settings) sorted() []Setting {
	return slices.SortedFunc(func(yield func(Setting) bool) {
		for _, setting := range s {
			if !yield(setting) {
				return
			}
		}
	}, func(a, b Setting) int {
		return cmp.Or(strings.Compare(list(a.Key), list(b.Key)), cmp.Compare(len(a.Key), len(b.Key)), strings.Compare(a.Key, b.Key))
	})
}

// list is the key of the list that a setting is part of, else its own.
func list(key string) string {
	name, _, _ := strings.Cut(key, "[")
	return name
}

// read puts what a file says over what was read before. The file was checked.
func (s settings) read(path string) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return cardbroker.Wrapf(err, cardbroker.Invalid, "cannot read the configuration %s", path)
	}
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		return cardbroker.Wrapf(err, cardbroker.Invalid, "cannot read the configuration %s", path)
	}
	for _, doc := range file.Docs {
		s.put("", doc.Body, path)
	}
	return nil
}

// put puts a node of a file under its key. Maps are merged, but for page_jwt, which counts as a whole like a list.
func (s settings) put(key string, node ast.Node, path string) {
	if strings.HasSuffix(key, ".page_jwt") {
		s.drop(key)
	}
	switch n := node.(type) {
	case nil, *ast.NullNode: // says nothing
	case *ast.MappingNode:
		for _, value := range n.Values {
			s.put(key, value, path)
		}
	case *ast.MappingValueNode:
		below := n.Key.GetToken().Value
		if key != "" {
			below = key + "." + below
		}
		s.put(below, n.Value, path)
	case *ast.SequenceNode:
		s.drop(key)
		if len(n.Values) == 0 || !isMap(n.Values[0]) {
			s[key] = Setting{key, flow(n), path}
			return
		}
		for i, value := range n.Values {
			at := fmt.Sprintf("%s[%d]", key, i)
			s[at] = Setting{at, flow(value), path}
		}
	default:
		s[key] = Setting{key, flow(n), path}
	}
}

// drop forgets what was said of a key, and below it.
func (s settings) drop(key string) {
	for other := range s {
		if other == key || strings.HasPrefix(other, key+".") || strings.HasPrefix(other, key+"[") {
			delete(s, other)
		}
	}
}

func isMap(n ast.Node) bool {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return true
	}
	return false
}

// flow writes a node on one line.
func flow(node ast.Node) string {
	switch n := node.(type) {
	case *ast.MappingNode:
		parts := make([]string, len(n.Values))
		for i, value := range n.Values {
			parts[i] = pair(value)
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case *ast.MappingValueNode:
		return "{" + pair(n) + "}"
	case *ast.SequenceNode:
		parts := make([]string, len(n.Values))
		for i, value := range n.Values {
			parts[i] = flow(value)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case ast.ScalarNode:
		return n.GetToken().Value
	}
	return node.String()
}

func pair(n *ast.MappingValueNode) string { return n.Key.GetToken().Value + ": " + flow(n.Value) }
