// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/cache"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/certs"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/token"
)

// certificate is one of a token.
type certificate struct {
	token.Certificate
	certs  certs.Certificate
	parsed *x509.Certificate // nil: crypto/x509 does not take it
	kinds  []kind
}

// certificates returns those of a token. Those of a card may be kept; what is no card may change at any time.
func (p *PKI) certificates(ctx context.Context, in place) ([]certificate, error) {
	read := func(ctx context.Context) ([]token.Certificate, error) {
		said, err := p.ask(ctx, in, token.Question{Call: token.CallObjects})
		return said.Certificates, err
	}
	var list []token.Certificate
	var err error
	if in.card && p.cfg.Cache != nil {
		serial := func(ctx context.Context) (string, error) { return p.serial(ctx, in) }
		list, err = p.cfg.Cache.Certificates(ctx, cache.NewKey(in.module.Name, in.reader, in.present), in.present, serial, read)
	} else {
		list, err = read(ctx)
	}
	if err != nil {
		return nil, err
	}
	return parsed(list), nil
}

// signable is what was last read of a token that is no card, by a request to sign.
type signable struct {
	place
	all []certificate
}

// fresher is how long the next signature by the same key does without reading the certificates again, which takes as long as a login. What
// may be out of date by then is which type of key has the id, and the module looks at the key itself.
const fresher = 10 * time.Second

// signer returns the certificate whose key a request to sign means, as find has it.
func (p *PKI) signer(r *http.Request, id string, kinds ...kind) (place, *certificate, error) {
	var c *certificate
	known := p.signable.Load()
	if id != "" && known != nil && time.Since(known.at) < fresher {
		c, _ = find(known.all, id)
	}
	if c != nil && p.stillAt(r, known.place) {
		in := known.place
		in.at = time.Now()
		return in, c, nil
	}
	in, err := p.place(r)
	if err != nil || c != nil && known.same(in) {
		return in, c, err
	}
	all, err := p.certificates(r.Context(), in)
	if err != nil {
		return in, nil, err
	}
	if !in.card {
		p.signable.Store(&signable{in, all})
	}
	c, err = find(all, id, kinds...)
	return in, c, err
}

// stillAt says whether a request names the place by the id of its slot, which names the token, too, and that is in no reader of the session
// yet: then the module need not look for its slots. Whether the token is there, and still as it was, it sees when it is asked.
func (p *PKI) stillAt(r *http.Request, in place) bool {
	m, err := p.module(r.PathValue("module"))
	if err != nil || m.Name != in.module.Name || in.slot.Token.Serial == "" || p.slotID(m, in.slot) != cardbroker.ReaderID(r.PathValue("id")) {
		return false
	}
	_, card, err := p.readerOf(r.Context(), m, in.slot)
	return err == nil && !card
}

// parsed reads the certificates of a list.
func parsed(list []token.Certificate) (all []certificate) {
	for _, c := range list {
		if parsed, err := certs.ParseDER(c.DER); err == nil { // a token may hold anything
			all = append(all, certificate{Certificate: c, certs: parsed, parsed: parsed.X509})
		}
	}
	classify(all)
	return all
}

// listed returns the certificates of the token that a request names. A list that is kept for this insertion of a card is answered
// without asking the module, which would ask the card.
func (p *PKI) listed(r *http.Request) ([]certificate, error) {
	if list, ok := p.peek(r); ok {
		return parsed(list), nil
	}
	in, err := p.place(r)
	if err != nil {
		return nil, err
	}
	return p.certificates(r.Context(), in)
}

// peek finds what is kept of the card in the reader that a request names.
func (p *PKI) peek(r *http.Request) ([]token.Certificate, bool) {
	m, err := p.module(r.PathValue("module"))
	if err != nil || !m.PCSC || p.cfg.Cache == nil {
		return nil, false
	}
	readers, err := p.cfg.Readers(r.Context())
	if err != nil {
		return nil, false
	}
	for _, reader := range readers {
		if cardbroker.NewReaderID(p.cfg.Secret, reader.Name) == cardbroker.ReaderID(r.PathValue("id")) {
			present := p.cfg.Present(reader.Name)
			return p.cfg.Cache.Peek(cache.NewKey(m.Name, reader.Name, present), present)
		}
	}
	return nil, false
}

// serial returns the serial number of the token that is in a slot now.
func (p *PKI) serial(ctx context.Context, in place) (string, error) {
	slots, err := p.slots(ctx, in.module, true)
	for _, slot := range slots {
		if slot.Description == in.slot.Description && slot.Token != nil {
			return slot.Token.Serial, nil
		}
	}
	return "", cmp.Or(err, removed())
}

// listCertificates answers with all certificates, by kind; ?filter= names the kinds that are wanted, joined by commas.
func (p *PKI) listCertificates(w http.ResponseWriter, r *http.Request) error {
	wanted, err := parseFilter(r.URL.Query().Get("filter"))
	if err != nil {
		return err
	}
	all, err := p.listed(r)
	if err != nil {
		return err
	}
	now := time.Now()
	of := func(k kind) *api.TokenCertificates {
		rows := rows(all, k, now)
		if len(rows) == 0 || len(wanted) > 0 && !slices.Contains(wanted, k) {
			return nil
		}
		return &api.TokenCertificates{Certificates: rows}
	}
	return httpserver.Data(w, api.AllCertificates{
		Authentication: of(authentication), NonRepudiation: of(nonRepudiation), Encryption: of(encryption),
		Issuer: of(issuer), Intermediate: of(intermediate), Root: of(root),
	})
}

// certificatesOf answers with the certificates of one kind.
func (p *PKI) certificatesOf(w http.ResponseWriter, r *http.Request) error {
	k, ok := kindOf(r.PathValue("kind"))
	if !ok {
		return cardbroker.Errorf(cardbroker.Unsupported,
			"%.32q is not served: no data of identity cards, and no call of this name; docs/clients.md lists what is", r.PathValue("kind"))
	}
	all, err := p.listed(r)
	if err != nil {
		return err
	}
	return httpserver.Data(w, api.TokenCertificates{Certificates: rows(all, k, time.Now())})
}

// kindOf reads the last part of a path.
func kindOf(path string) (kind, bool) {
	switch path {
	case "authentication-cert":
		return authentication, true
	case "nonrepudiation-cert":
		return nonRepudiation, true
	case "encryption-cert":
		return encryption, true
	case "issuer-cert":
		return issuer, true
	case "intermediate-certs":
		return intermediate, true
	case "root-cert":
		return root, true
	}
	return "", false
}

// parseFilter reads names of kinds, as they stand in paths, in answers ("rootCertificate") or alone. Errors: Invalid.
func parseFilter(text string) ([]kind, error) {
	if text == "" {
		return nil, nil
	}
	var wanted []kind
	for name := range strings.SplitSeq(text, ",") {
		plain := strings.ToLower(strings.NewReplacer("-", "", "_", "", " ", "").Replace(name))
		plain = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(plain, "s"), "ificate"), "cert")
		i := slices.IndexFunc([]kind{authentication, nonRepudiation, encryption, issuer, intermediate, root}, func(k kind) bool {
			return strings.ToLower(string(k)) == plain
		})
		if i < 0 {
			return nil, cardbroker.Errorf(cardbroker.Invalid,
				"filter: %.32q is none of authentication, nonRepudiation, encryption, issuer, intermediate and root", name)
		}
		wanted = append(wanted, []kind{authentication, nonRepudiation, encryption, issuer, intermediate, root}[i])
	}
	return wanted, nil
}

// rows describes the certificates of one kind.
func rows(all []certificate, k kind, now time.Time) []api.TokenCertificate {
	var found []api.TokenCertificate
	for i := range all {
		if slices.Contains(all[i].kinds, k) {
			found = append(found, all[i].row(all, k, now))
		}
	}
	return found
}

// row describes one certificate, among all of its token.
func (c *certificate) row(all []certificate, k kind, now time.Time) api.TokenCertificate {
	row := api.TokenCertificate{
		Certificate: c.certs.Base64(), Type: string(k), ID: hex.EncodeToString(c.ID),
		Subject: c.certs.Subject.String(), Issuer: c.certs.Issuer.String(), SerialNumber: c.certs.SerialText(),
		HashSubPubKey: c.keyHash(), NotBefore: c.certs.NotBefore, NotAfter: c.certs.NotAfter,
		ExpiresInDays: daysUntil(c.certs.NotAfter, now), Warning: string(c.certs.Warning(now)),
	}
	if i := slices.IndexFunc(all, func(by certificate) bool { return by.issued(c) }); i >= 0 {
		row.HashIssPubKey = all[i].keyHash()
	}
	if c.parsed != nil {
		if key, ok := c.parsed.PublicKey.(*rsa.PublicKey); ok {
			row.Exponent, row.Remainder = hexOf(big.NewInt(int64(key.E))), hexOf(key.N)
		}
	}
	return row
}

func (c *certificate) keyHash() string {
	hash := c.certs.KeyHash()
	return hex.EncodeToString(hash[:])
}

const day = 24 * time.Hour

// daysUntil counts whole days, down: -1 is since less than a day.
func daysUntil(end, now time.Time) int {
	left := end.Sub(now)
	if left < 0 {
		left -= day - 1
	}
	return int(left / day)
}

func hexOf(n *big.Int) string { return hex.EncodeToString(n.Bytes()) }

// find returns the certificate whose key a request means: that with an id, else the first of the kinds, in their order, that
// has a key to sign with. Errors: ObjectUnknown, Invalid.
func find(all []certificate, id string, kinds ...kind) (*certificate, error) {
	if id == "" {
		for _, k := range kinds {
			for i := range all {
				if c := &all[i]; slices.Contains(c.kinds, k) && (c.Key == nil || c.Key.Sign) {
					return c, nil
				}
			}
		}
		return nil, cardbroker.Errorf(cardbroker.ObjectUnknown, "the token has no certificate for this; name one with its id")
	}
	raw, err := hex.DecodeString(id)
	if err != nil {
		return nil, cardbroker.Errorf(cardbroker.Invalid, "id: want the hexadecimal id of a certificate")
	}
	for i := range all {
		if bytes.Equal(all[i].ID, raw) {
			return &all[i], nil
		}
	}
	return nil, cardbroker.Errorf(cardbroker.ObjectUnknown, "the token has no certificate with this id")
}

// keyType returns the type of a certificate's key: "rsa", "ec", or what the token says.
func (c *certificate) keyType() string {
	if c.Key != nil {
		return c.Key.Type
	}
	of, _ := c.certs.Key()
	return of
}
