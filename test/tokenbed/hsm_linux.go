// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package tokenbed

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// HSM is a SoftHSM of one token, with an RSA-2048 key (id 01) and a P-256 one (id 02), for signatures, and the certificate of each, "key 01"
// and "key 02".
type HSM struct {
	Library string
	Conf    string   // SOFTHSM2_CONF
	Read    []string // what it reads
	Write   []string // and the directory that it writes to
	Label   string
	PIN     string // made at random
	PUK     string // the security officer's
}

// softHSM is where Debian has it.
const softHSM = "/usr/lib/softhsm/libsofthsm2.so"

// Supported says what is missing here for an HSM.
func Supported() error {
	for _, name := range []string{"softhsm2-util", "pkcs11-tool"} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("needs the program %s", name)
		}
	}
	if _, err := os.Stat(softHSM); err != nil {
		return errors.New("needs SoftHSM 2")
	}
	return nil
}

// NewHSM makes one in the directory, which is there.
func NewHSM(ctx context.Context, dir string) (*HSM, error) {
	if err := Supported(); err != nil {
		return nil, err
	}
	h := &HSM{Library: softHSM, Label: "bed", PIN: Digits(8), PUK: Digits(8), Conf: filepath.Join(dir, "softhsm.conf")}
	tokens := filepath.Join(dir, "tokens")
	h.Read, h.Write = []string{h.Conf, "/etc/ssl/openssl.cnf"}, []string{tokens}
	if err := os.Mkdir(tokens, 0o700); err != nil {
		return nil, err
	}
	text := fmt.Sprintf("directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", tokens)
	if err := os.WriteFile(h.Conf, []byte(text), 0o600); err != nil {
		return nil, err
	}
	if err := h.run(ctx, "softhsm2-util", "--init-token", "--free", "--label", h.Label, "--so-pin", h.PUK, "--pin", h.PIN); err != nil {
		return nil, err
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return h, errors.Join(h.keep(ctx, dir, "01", rsaKey), h.keep(ctx, dir, "02", ecKey))
}

// Digits returns n random digits.
func Digits(n int) string {
	number, _ := rand.Int(rand.Reader, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)) // its source does not fail
	return fmt.Sprintf("%0*d", n, number)
}

// keep puts a key and a certificate into the token.
func (h *HSM) keep(ctx context.Context, dir, id string, key crypto.Signer) error {
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "token " + id},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	for kind, der := range map[string][]byte{"privkey": private, "pubkey": public, "cert": certificate} {
		file := filepath.Join(dir, kind)
		if err := os.WriteFile(file, der, 0o600); err != nil {
			return err
		}
		err := h.run(ctx, "pkcs11-tool", "--module", h.Library, "--login", "--pin", h.PIN, "--write-object", file, "--type", kind,
			"--id", id, "--label", "key "+id, "--usage-sign")
		if err := errors.Join(err, os.Remove(file)); err != nil {
			return err
		}
	}
	return nil
}

func (h *HSM) run(ctx context.Context, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "SOFTHSM2_CONF="+h.Conf)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", program, args[0], err, out)
	}
	return nil
}

// Give gives a directory, and what is in it, to a user.
func Give(dir string, uid, gid int) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, gid)
	})
}

// Module is what machine policy says of it, below `modules:` and the name.
func (h *HSM) Module() string {
	return fmt.Sprintf("{preset: softhsm2, env: ['SOFTHSM2_CONF=%s'], read: ['%s'], write: ['%s']}", h.Conf, strings.Join(h.Read, "', '"), strings.Join(h.Write, "', '"))
}

// Env is the environment of cardsandbox for this HSM.
func (h *HSM) Env() []string {
	return []string{
		"SOFTHSM2_CONF=" + h.Conf,
		"CARDSANDBOX_READ=" + strings.Join(h.Read, ":"),
		"CARDSANDBOX_WRITE=" + strings.Join(h.Write, ":"),
	}
}
