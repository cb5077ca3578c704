// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package tenant

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"

	"github.com/cardbroker/cardbroker"
)

// minToken is the length of the shortest token that is accepted, in characters.
const minToken = 16

// Tokens knows back ends by their bearer tokens. It holds hashes only.
type Tokens struct {
	tenants map[[32]byte]cardbroker.Tenant
}

// tenant returns whose token it is. The look-up is by hash, so its time tells nothing of the token.
func (t Tokens) tenant(token string) (cardbroker.Tenant, bool) {
	tenant, ok := t.tenants[cardbroker.NewSecret([]byte(token)).Hash()]
	return tenant, ok
}

// ReadTokens reads a file of lines "TENANT TOKEN"; a line that starts with # is a comment. The file must be readable by
// nobody but its owner. A tenant may have several tokens; a token has one tenant. Errors name the line, never the token.
func ReadTokens(path string) (Tokens, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Tokens{}, cardbroker.Wrapf(err, cardbroker.Invalid, "cannot read the tokens file %s", path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return Tokens{}, cardbroker.Errorf(cardbroker.Invalid,
			"the tokens file %s has mode %04o: others could read it; chmod 0600", path, mode)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return Tokens{}, cardbroker.Wrapf(err, cardbroker.Invalid, "cannot read the tokens file %s", path)
	}
	tokens, err := parseTokens(text)
	if err != nil {
		return Tokens{}, fmt.Errorf("tokens file %s: %w", path, err)
	}
	return tokens, nil
}

func parseTokens(text []byte) (Tokens, error) {
	tokens := Tokens{tenants: map[[32]byte]cardbroker.Tenant{}}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) != 2 {
			return Tokens{}, cardbroker.Errorf(cardbroker.Invalid, "line %d has %d fields, want TENANT TOKEN", n, len(fields))
		}
		tenant, err := cardbroker.ParseTenant(fields[0])
		if err != nil {
			return Tokens{}, fmt.Errorf("line %d: %w", n, err)
		}
		if len(fields[1]) < minToken {
			return Tokens{}, cardbroker.Errorf(cardbroker.Invalid, "line %d: the token has under %d characters", n, minToken)
		}
		hash := cardbroker.NewSecret([]byte(fields[1])).Hash()
		if other, taken := tokens.tenants[hash]; taken && other != tenant {
			return Tokens{}, cardbroker.Errorf(cardbroker.Invalid, "line %d: the token is already %s's", n, other)
		}
		tokens.tenants[hash] = tenant
	}
	return tokens, lines.Err()
}
