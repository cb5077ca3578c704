// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"strings"

	"github.com/cardbroker/cardbroker"
)

// Words of host.yaml.
const (
	plainAllow = "allow"
	plainDeny  = "deny"
)

// TLS is what the broker speaks with web pages, on the well-known port and in the agents' place on theirs: with the
// administrator's certificate, or with those of a certificate authority of the host's own. The zero TLS is none.
type TLS struct {
	Cert    string `yaml:"cert"`     // PEM file, the chain
	Key     string `yaml:"key"`      // PEM file
	LocalCA bool   `yaml:"local_ca"` // certificates for localhost, made by `host tls init` or at the first start
	Name    string `yaml:"name"`     // that the certificate is for and that leads to 127.0.0.1; localhost alone
	Plain   string `yaml:"plain"`    // deny: no HTTP without TLS on these ports; allow
}

// FixedPort is a port on which every caller meets his own agent.
type FixedPort struct {
	Port cardbroker.Port `yaml:"port"`
	TLS  bool            `yaml:"tls"`
}

// Enabled says whether TLS is to be spoken.
func (t TLS) Enabled() bool { return t != TLS{} }

// PlainAllowed says whether HTTP without TLS is served too.
func (t TLS) PlainAllowed() bool { return t.Plain != plainDeny }

func (t TLS) check() error {
	switch {
	case !t.Enabled():
		return nil
	case t.LocalCA && (t.Cert != "" || t.Key != ""):
		return tlsError("local_ca and cert are two ways; choose one")
	case t.LocalCA && t.Name != "":
		return tlsError("the certificates of local_ca are for localhost alone, not for %s", t.Name)
	case !t.LocalCA && (t.Cert == "" || t.Key == ""):
		return tlsError("want cert and key, or local_ca: true")
	case t.Plain != "" && t.Plain != plainAllow && t.Plain != plainDeny:
		return tlsError("plain: want %s or %s", plainAllow, plainDeny)
	case strings.ContainsAny(t.Name, ":/ *[]"):
		return tlsError("name: want a host name, such as cards.example.com")
	}
	return nil
}

// checkBrowsers checks what of host.yaml is about web pages.
func (h Host) checkBrowsers() error {
	if err := h.TLS.check(); err != nil {
		return err
	}
	seen := map[cardbroker.Port]bool{}
	for _, fixed := range h.FixedPorts {
		switch {
		case seen[fixed.Port]:
			return cardbroker.Errorf(cardbroker.Invalid, "fixed_ports: port %d stands twice", fixed.Port)
		case fixed.TLS && !h.TLS.Enabled():
			return cardbroker.Errorf(cardbroker.Invalid, "fixed_ports: port %d is to speak TLS, but there is no tls:", fixed.Port)
		}
		seen[fixed.Port] = fixed.Port != 0 // any number of them may be chosen by the system
	}
	return nil
}

func tlsError(format string, args ...any) error {
	return cardbroker.Errorf(cardbroker.Invalid, "tls: "+format, args...)
}
