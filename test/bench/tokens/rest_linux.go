// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package tokens

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/test/bench/rest"
	"github.com/cardbroker/cardbroker/test/bench/sample"
	"github.com/cardbroker/cardbroker/test/tokenbed"
)

// page is the web page that signs. It has the consent of machine policy, and a PIN session: its first signature brings the PIN, in clear,
// the others none. The token sees a login and a logout for each.
const page = "https://shop.example"

// policy is machine policy for the page and the HSM.
const policy = `consent: {allow: [%s]}
pin: {clear: allow, session: {seconds: 600, uses: 1000}}
modules: {softhsm: {title: SoftHSM, library: %s, pcsc: false, env: [SOFTHSM2_CONF=%s], read: [%s], write: [%s]}}
`

// Site is a SoftHSM, and machine policy by which an agent serves it.
type Site struct {
	Policy string // directory
	hsm    *tokenbed.HSM
}

// NewSite makes one in the directory, which it makes.
func NewSite(ctx context.Context, dir string) (*Site, error) {
	s := &Site{Policy: filepath.Join(dir, "policy.d")}
	err := os.MkdirAll(s.Policy, 0o755)
	if err != nil {
		return nil, err
	}
	if s.hsm, err = tokenbed.NewHSM(ctx, dir); err != nil {
		return nil, err
	}
	h := s.hsm
	text := fmt.Sprintf(policy, page, h.Library, h.Conf, strings.Join(h.Read, ", "), strings.Join(h.Write, ", "))
	return s, os.WriteFile(filepath.Join(s.Policy, "bench.yaml"), []byte(text), 0o644)
}

// Signs measures signatures through the REST API of the agent on a port, in turns with the same in this process: ECDSA with P-256, and a
// login and a logout for each.
func (s *Site) Signs(ctx context.Context, port cardbroker.Port, rounds int) (ours, local *sample.Path, err error) {
	native, err := NewLocal(s.hsm)
	if err != nil {
		return nil, nil, err
	}
	defer native.Close()
	client := rest.NewClient(port)
	client.Origin = page
	defer client.Close()
	var slots api.Slots
	if err := client.AskPlain(ctx, "/cb/v1/modules/softhsm/slots?present=true", nil, &slots); err != nil {
		return nil, nil, err
	}
	id := cardbroker.ReaderID("")
	for _, slot := range slots.Slots {
		if slot.Token.Label == s.hsm.Label {
			id = slot.ID
		}
	}
	path := "/v3/modules/softhsm/apps/token/readers/" + string(id) + "/sign?bulk=true"
	ours = &sample.Path{Trips: func(warm, count int) (took []float64, err error) {
		body := map[string]any{"algorithm": "sha256", "data": base64.StdEncoding.EncodeToString(digest()), "id": hex.EncodeToString(keyID()), "pin": s.hsm.PIN}
		for n := range warm + count {
			var answer api.TokenSignature
			start := time.Now()
			if err := client.Ask(ctx, path, body, &answer); err != nil {
				return nil, err
			}
			if n >= warm {
				took = append(took, sample.Micros(time.Since(start)))
			}
			if answer.Data == "" {
				return nil, errors.New("there is no signature")
			}
			delete(body, "pin")
		}
		return took, nil
	}}
	local = &sample.Path{Trip: native.Sign}
	return ours, local, sample.InTurns(ctx, rounds, ours, local)
}
