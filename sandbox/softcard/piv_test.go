// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package softcard_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"math/big"
	"slices"
	"testing"

	"github.com/cardbroker/cardbroker/apdu"
)

func TestSelect(t *testing.T) {
	tests := []struct{ name, command, prefix, sw string }{
		{"whole AID", "00A404000BA000000308000010000100 00", "61", "9000"},
		{"without version", "00A4040009A00000030800001000 00", "61", "9000"},
		{"RID alone", "00A4040005A000000308 00", "61", "9000"},
		{"no data wanted", "00A4040C09A00000030800001000", "9000", "9000"},
		{"shorter than the RID", "00A4040004A0000003", "6A82", "6A82"},
		{"longer than the AID", "00A404000CA00000030800001000010000", "6A82", "6A82"},
		{"next occurrence", "00A4040209A00000030800001000", "6A86", "6A86"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := connect(t, newReader(t, ""))
			c.want(tt.command, tt.prefix, tt.sw)
			selected := "6D00"
			if tt.sw == "9000" {
				selected = "63C3"
			}
			c.wantSW("00200080", selected)
		})
	}
	t.Run("template", func(t *testing.T) {
		answer := newClient(t).exchange(apdu.Command{INS: 0xA4, P1: 4, Data: unhex(t, "A00000030800001000"), Le: 256}).Data
		if pix, ok := apdu.Find(answer, 0x61, 0x4F); !ok || !bytes.Equal(pix, unhex(t, "000010000100")) {
			t.Errorf("SELECT: 61{4F} = %X, %v, want the PIX", pix, ok)
		}
		if rid, ok := apdu.Find(answer, 0x61, 0x79, 0x4F); !ok || !bytes.Equal(rid, unhex(t, "A000000308")) {
			t.Errorf("SELECT: 61{79{4F}} = %X, %v, want the RID", rid, ok)
		}
	})
	t.Run("another one leaves PIV selected and the PIN verified", func(t *testing.T) {
		c := newClient(t)
		c.verify("123456")
		c.wantSW("00A4040007A000000116DB00", "6A82")
		c.selectPIV()
		c.wantSW("00200080", "9000")
	})
}

func TestObjects(t *testing.T) {
	c := newClient(t)
	tests := []struct{ name, command, prefix, sw string }{
		{"discovery", "00CB3FFF035C017E00", "7E124F0BA0000003080000100001005F2F024000", "9000"},
		{"CHUID", "00CB3FFF055C035FC10200", "533B3019D4E739DA", "9000"},
		{"CCC", "00CB3FFF055C035FC10700", "5333F015A000000116FF02", "9000"},
		{"key history", "00CB3FFF055C035FC10C00", "6A82", "6A82"},
		{"printed information", "00CB3FFF055C035FC10900", "6A82", "6A82"},
		{"facial image", "00CB3FFF055C035FC10800", "6A82", "6A82"},
		{"unknown tag", "00CB3FFF045C027F6100", "6A82", "6A82"},
		{"no tag", "00CB3FFF025C0000", "6A80", "6A80"},
		{"no tag list", "00CB3FFF0400", "6700", "6700"},
		{"malformed tag list", "00CB3FFF025C0300", "6A80", "6A80"},
		{"other file", "00CB3F00035C017E00", "6A86", "6A86"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			(&client{t, c.card}).want(tt.command, tt.prefix, tt.sw)
		})
	}
	guid, ok := apdu.Find(c.object(0x5FC102), 0x53, 0x34)
	again, _ := apdu.Find(c.object(0x5FC102), 0x53, 0x34)
	if !ok || len(guid) != 16 || !bytes.Equal(guid, again) {
		t.Errorf("CHUID: GUID %X, then %X, want 16 bytes that stay", guid, again)
	}
}

// certificate reads a slot's certificate and checks that it is well signed.
func (c *client) certificate(tag apdu.Tag) *x509.Certificate {
	c.t.Helper()
	object := c.object(tag)
	der, ok := apdu.Find(object, 0x53, 0x70)
	if !ok {
		c.t.Fatalf("object %06X has no 53{70}", uint32(tag))
	}
	if info, ok := apdu.Find(object, 0x53, 0x71); !ok || !bytes.Equal(info, []byte{0}) {
		c.t.Errorf("object %06X: 53{71} = %X, %v, want 00", uint32(tag), info, ok)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := certificate.CheckSignature(certificate.SignatureAlgorithm, certificate.RawTBSCertificate, certificate.Signature); err != nil {
		c.t.Errorf("certificate %06X: %v", uint32(tag), err)
	}
	return certificate
}

// block pads a SHA-256 hash as a program does for RSASSA-PKCS1-v1_5, RFC 8017 §9.2.
func block(hash []byte) []byte {
	info := append([]byte("\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20"), hash...)
	padding := bytes.Repeat([]byte{0xFF}, 256-3-len(info))
	return slices.Concat([]byte{0, 1}, padding, []byte{0}, info)
}

func TestSign(t *testing.T) {
	c := newClient(t)
	hash := sha256.Sum256([]byte("to be signed"))
	tests := []struct {
		name            string
		algorithm, slot byte
		certificate     apdu.Tag
		withoutPIN      apdu.StatusWord
	}{
		{"authentication 9A", 0x07, 0x9A, 0x5FC105, 0x6982},
		{"digital signature 9C", 0x11, 0x9C, 0x5FC10A, 0x6982},
		{"key management 9D", 0x07, 0x9D, 0x5FC10B, 0x6982},
		{"card authentication 9E", 0x11, 0x9E, 0x5FC101, 0x9000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &client{t, c.card}
			c.wantSW("00 20 FF 80", "9000") // not verified
			challenge := hash[:]
			if tt.algorithm == 0x07 {
				challenge = block(hash[:])
			}
			if _, sw := c.authenticate(tt.algorithm, tt.slot, challenge); sw != tt.withoutPIN {
				t.Errorf("without PIN: %s, want %s", sw, tt.withoutPIN)
			}
			c.verify("123456")
			signature, sw := c.authenticate(tt.algorithm, tt.slot, challenge)
			if sw != apdu.Success {
				t.Fatalf("with PIN: %s (%s)", sw, sw.Words())
			}
			switch public := c.certificate(tt.certificate).PublicKey.(type) {
			case *rsa.PublicKey:
				if err := rsa.VerifyPKCS1v15(public, crypto.SHA256, hash[:], signature); err != nil || tt.algorithm != 0x07 {
					t.Errorf("signature by RSA-%d: %v", public.Size()*8, err)
				}
			case *ecdsa.PublicKey:
				if !ecdsa.VerifyASN1(public, hash[:], signature) || tt.algorithm != 0x11 {
					t.Errorf("signature by %s is wrong", public.Curve.Params().Name)
				}
			}
		})
	}
}

func TestDecrypt(t *testing.T) {
	c := newClient(t)
	public := c.certificate(0x5FC10B).PublicKey.(*rsa.PublicKey)
	block := append([]byte{0, 2}, bytes.Repeat([]byte{0xA5}, 256-3-len("a session key"))...) // RFC 8017 §7.2.1
	block = append(block, "\x00a session key"...)
	secret := new(big.Int).SetBytes(block)
	secret.Exp(secret, big.NewInt(int64(public.E)), public.N)
	c.verify("123456")
	plain, sw := c.authenticate(0x07, 0x9D, secret.FillBytes(make([]byte, 256)))
	if sw != apdu.Success || len(plain) != 256 || !bytes.HasSuffix(plain, []byte("\x00a session key")) {
		t.Errorf("decrypted to %X, %s", plain, sw)
	}
}

// TestPINAlways: 9C wants the PIN before each use. Commands that use no key may come between, as programs look at the
// discovery object whenever they lock the reader.
func TestPINAlways(t *testing.T) {
	c := newClient(t)
	hash := make([]byte, 32)
	c.verify("123456")
	c.want("00CB3FFF035C017E00", "7E", "9000")
	c.wantSW("00200080", "9000")
	if _, sw := c.authenticate(0x11, 0x9C, hash); sw != apdu.Success {
		t.Errorf("9C after VERIFY: %s", sw)
	}
	if _, sw := c.authenticate(0x11, 0x9C, hash); sw != apdu.SecurityNotSatisfied {
		t.Errorf("9C a second time: %s, want 6982", sw)
	}
	if _, sw := c.authenticate(0x07, 0x9A, make([]byte, 256)); sw != apdu.Success {
		t.Errorf("9A after that: %s", sw)
	}
	c.verify("123456")
	c.authenticate(0x11, 0x9E, hash)
	if _, sw := c.authenticate(0x11, 0x9C, hash); sw != apdu.SecurityNotSatisfied {
		t.Errorf("9C after another key was used: %s, want 6982", sw)
	}
}

func TestGeneralAuthenticateRefuses(t *testing.T) {
	c := newClient(t)
	tests := []struct{ name, command, want string }{
		{"another algorithm than the key's", "0087079E06 7C04 8200 8100", "6A86"},
		{"unknown key", "008711AA06 7C04 8200 8100", "6A86"},
		{"no template", "0087119E02 8200", "6A80"},
		{"no response asked for", "0087119E05 7C03 8101AA", "6A80"},
		{"a response given", "0087119E08 7C06 8201AA 8101BB", "6A80"},
		{"empty challenge", "0087119E06 7C04 8200 8100", "6A80"},
		{"key agreement", "0087119E07 7C05 8200 8501AA", "6A80"},
		{"hash too long", "0087119E27 7C25 8200 8121" + "000000000000000000000000000000000000000000000000000000000000000000", "6A80"},
		{"RSA block too short", "0087079A07 7C05 8200 8101AA", "6A80"},
	}
	c.verify("123456")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			(&client{t, c.card}).wantSW(tt.command, tt.want)
		})
	}
	if _, sw := c.authenticate(0x07, 0x9A, bytes.Repeat([]byte{0xFF}, 256)); sw != apdu.IncorrectData {
		t.Errorf("a block above the modulus: %s, want 6A80", sw)
	}
}

// TestChallenge: anybody gets the challenge of the card's management key, another each time, and nobody can answer it.
func TestChallenge(t *testing.T) {
	c := newClient(t)
	for command, prefix := range map[string]string{
		"0087009B04 7C02 8100 00": "7C0A8108",
		"0087039B04 7C02 8100 00": "7C0A8108",
		"00870C9B04 7C02 8100 00": "7C128110",
	} {
		c.want(command, prefix, "9000")
		if one, other := c.transmit(command), c.transmit(command); one == other {
			t.Errorf("%s is answered twice with the same challenge", command)
		}
	}
	for command, want := range map[string]string{
		"0087009B0C 7C0A 8208 0000000000000000": "6982", // an answer
		"0087009B04 7C02 8000":                  "6982",
		"0087099B04 7C02 8100 00":               "6A86",
		"0087119B04 7C02 8100 00":               "6A86",
	} {
		c.wantSW(command, want)
	}
}
