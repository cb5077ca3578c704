// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package softcard_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/apdu"
	"github.com/cardbroker/cardbroker/sandbox"
	"github.com/cardbroker/cardbroker/sandbox/softcard"
)

// newReader returns a reader whose card lies in the file, or in memory if that is "".
func newReader(t testing.TB, file string) *softcard.Reader {
	t.Helper()
	r, err := softcard.New(file, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// client is a program that uses the card.
type client struct {
	t    testing.TB
	card sandbox.Card
}

func connect(t testing.TB, r *softcard.Reader) *client {
	t.Helper()
	card, err := r.Connect(softcard.Name, cardbroker.ShareShared)
	if err != nil {
		t.Fatal(err)
	}
	return &client{t: t, card: card}
}

// newClient returns a client of a new card in memory, with the PIV application selected.
func newClient(t testing.TB) *client {
	t.Helper()
	c := connect(t, newReader(t, ""))
	c.selectPIV()
	return c
}

func (c *client) selectPIV() {
	c.t.Helper()
	c.want("00A4040009A0000003080000100000", "61", "9000")
}

// transmit sends hexadecimal digits and returns those of the response.
func (c *client) transmit(command string) string {
	c.t.Helper()
	raw, err := hex.DecodeString(strings.ReplaceAll(command, " ", ""))
	if err != nil {
		c.t.Fatal(err)
	}
	response, err := c.card.Transmit(nil, raw)
	if err != nil {
		c.t.Fatalf("Transmit(%s): %v", command, err)
	}
	return strings.ToUpper(hex.EncodeToString(response))
}

// want sends a command and checks how the response begins and with which status word it ends.
func (c *client) want(command, prefix, sw string) {
	c.t.Helper()
	got := c.transmit(command)
	if !strings.HasPrefix(got, prefix) || !strings.HasSuffix(got, sw) {
		c.t.Errorf("Transmit(%s) = %s, want %s…%s", command, got, prefix, sw)
	}
}

// wantSW sends a command and checks that the response is this status word alone.
func (c *client) wantSW(command, sw string) {
	c.t.Helper()
	if got := c.transmit(command); got != sw {
		c.t.Errorf("Transmit(%s) = %s, want %s", command, got, sw)
	}
}

// exchange sends a command as programs do, with chaining and GET RESPONSE.
func (c *client) exchange(command apdu.Command) apdu.Response {
	c.t.Helper()
	r, err := apdu.Exchange(func(raw []byte) ([]byte, error) { return c.card.Transmit(nil, raw) }, command)
	if err != nil {
		c.t.Fatalf("Exchange(%v): %v", command, err)
	}
	return r
}

// verify sends the PIN, filled up with FF.
func (c *client) verify(pin string) apdu.StatusWord {
	c.t.Helper()
	return c.exchange(apdu.Command{INS: 0x20, P2: 0x80, Data: padded(pin)}).SW
}

func padded(values ...string) []byte {
	var data []byte
	for _, v := range values {
		data = append(data, v...)
		data = append(data, bytes.Repeat([]byte{0xFF}, 8-len(v))...)
	}
	return data
}

// object reads a data object whole.
func (c *client) object(tag apdu.Tag) []byte {
	c.t.Helper()
	name := []byte{byte(tag >> 16), byte(tag >> 8), byte(tag)}
	r := c.exchange(apdu.Command{INS: 0xCB, P1: 0x3F, P2: 0xFF, Data: apdu.AppendTLV(nil, 0x5C, name), Le: 256})
	if r.SW != apdu.Success {
		c.t.Fatalf("GET DATA %06X: %s (%s)", uint32(tag), r.SW, r.SW.Words())
	}
	return r.Data
}

// authenticate lets the key answer the challenge, and returns 7C{82 …}'s value.
func (c *client) authenticate(algorithm, slot byte, challenge []byte) ([]byte, apdu.StatusWord) {
	c.t.Helper()
	template := apdu.AppendTLV(apdu.AppendTLV(nil, 0x82, nil), 0x81, challenge)
	r := c.exchange(apdu.Command{INS: 0x87, P1: algorithm, P2: slot, Data: apdu.AppendTLV(nil, 0x7C, template), Le: 256})
	if r.SW != apdu.Success {
		return nil, r.SW
	}
	signature, ok := apdu.Find(r.Data, 0x7C, 0x82)
	if !ok {
		c.t.Fatalf("GENERAL AUTHENTICATE: answer %X holds no 7C{82}", r.Data)
	}
	return signature, r.SW
}

func TestClassesAndInstructions(t *testing.T) {
	c := connect(t, newReader(t, ""))
	tests := []struct{ name, command, want string }{
		{"PIV before SELECT", "00200080", "6D00"},
		{"other application", "00A4040007A000000116DB0000", "6A82"},
		{"file by its number", "00A4000C023F00", "6A82"},
		{"unknown instruction", "00FD000000", "6D00"},
		{"unknown class", "B0010000", "6E00"},
		{"secure messaging", "0CA40400", "6882"},
		{"logical channel", "01A40400", "6881"},
		{"GET RESPONSE for nothing", "00C0000000", "6D00"},
		{"Lc too long", "00A40400FF00", "6700"},
		{"unknown test command", "80FF0000", "6D00"},
		{"more than any command", "00A40400" + strings.Repeat("00", 65600), "6700"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			(&client{t, c.card}).wantSW(tt.command, tt.want)
		})
	}
}

func TestTransmitRefusesWhatIsNoCommand(t *testing.T) {
	c := newClient(t)
	for _, raw := range [][]byte{nil, {0x00}, {0x00, 0xA4, 0x04}} {
		dst, err := c.card.Transmit([]byte("kept"), raw)
		if cardbroker.ReasonOf(err) != cardbroker.Invalid || string(dst) != "kept" {
			t.Errorf("Transmit(%X) = %q, %v, want dst as it was and Invalid", raw, dst, err)
		}
	}
}

func TestTestCommands(t *testing.T) {
	c := connect(t, newReader(t, ""))
	long := strings.Repeat("5A", 65535)
	c.wantSW("80EE0000", "9000")
	c.wantSW("80EE0000 03 010203", "0102039000")
	c.wantSW("80EE0000 03 010203 01", "0102039000")
	c.wantSW("80EE0000 00FFFF"+long+"0000", long+"9000")
	c.wantSW("80EF0001", "9000")
}

func TestTransmitAppends(t *testing.T) {
	c := newClient(t)
	got, err := c.card.Transmit([]byte{0xAA}, []byte{0x80, 0xEE, 0, 0, 1, 0xBB})
	if want := []byte{0xAA, 0xBB, 0x90, 0x00}; err != nil || !bytes.Equal(got, want) {
		t.Errorf("Transmit = %X, %v, want %X", got, err, want)
	}
}

func TestLongAnswers(t *testing.T) {
	c := newClient(t)
	whole := c.transmit("00CB3FFF 000005 5C035FC105 0000") // extended Le: at once
	data := strings.TrimSuffix(whole, "9000")
	size := len(data) / 2
	if size < 512 || data+"9000" != whole {
		t.Fatalf("GET DATA with an extended Le = %d bytes, want a certificate and 9000", size)
	}
	t.Run("short Le", func(t *testing.T) {
		c := &client{t, c.card}
		c.wantSW("00CB3FFF 05 5C035FC105 00", data[:512]+"6100")
		c.wantSW("00C0000010", data[512:544]+apdu.MoreData(size-272).String())
		c.wantSW("00C00000", apdu.MoreData(size-272).String()) // without Le nothing is fetched
		rest := ""
		for !strings.HasSuffix(rest, "9000") || len(rest) < len(data)-544 {
			part := c.transmit("00C0000000")
			rest += part[:len(part)-4]
			if strings.HasSuffix(part, "9000") {
				rest += "9000"
			}
		}
		if rest != data[544:]+"9000" {
			t.Errorf("GET RESPONSE fetched another end than the object's")
		}
	})
	t.Run("extended Le too short", func(t *testing.T) {
		(&client{t, c.card}).wantSW("00CB3FFF 000005 5C035FC105 0010", data[:32]+apdu.MoreData(size-16).String())
	})
	t.Run("dropped by another command", func(t *testing.T) {
		c := &client{t, c.card}
		c.want("00CB3FFF 05 5C035FC105 00", "53", "6100")
		c.wantSW("00200080", "63C3")
		c.wantSW("00C0000000", "6D00")
	})
}

func TestChains(t *testing.T) {
	tests := []struct {
		name  string
		steps []string // commands and status words
	}{
		{"of two", []string{"10240080 08 313233343536FFFF", "9000", "00240080 08 363534333231FFFF", "9000"}},
		{"another instruction within", []string{"10240080 04 31323334", "9000", "00200080", "6883", "00200080", "63C3"}},
		{"other parameters within", []string{"10240080 04 31323334", "9000", "10240081 04 31323334", "6883"}},
		{"too long", []string{"10240080 000FFF" + strings.Repeat("00", 4095), "9000", "10240080 02 0000", "6700"}},
		{"without data", []string{"10240080", "9000", "00240080", "6A80"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newClient(t)
			for i := 0; i < len(tt.steps); i += 2 {
				c.wantSW(tt.steps[i], tt.steps[i+1])
			}
		})
	}
}

func TestEchoAllocatesNothing(t *testing.T) {
	c := newClient(t)
	command := append([]byte{0x80, 0xEE, 0, 0, 250}, make([]byte, 250)...)
	dst := make([]byte, 0, 512)
	n := testing.AllocsPerRun(100, func() {
		if _, err := c.card.Transmit(dst, command); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("an echo allocates %v times, want 0", n)
	}
}

// FuzzTransmit sends commands, each with its length before it. A response has a status word at least.
func FuzzTransmit(f *testing.F) {
	for _, seed := range []string{
		"0F00A4040009A0000003080000100000" + "0A00CB3FFF055C035FC10200" + "05 00C0000000",
		"0400200080" + "0D0020008008313233343536FFFF" + "1500240080 10 313233343536FFFF 313233343536FFFF",
		"0B10870711063103047C0082" + "0600871111 0100",
		"060087119E0100" + "0B00CB3FFF0000037E0000",
		"0580EE00000101" + "03010203",
	} {
		b, err := hex.DecodeString(strings.ReplaceAll(seed, " ", ""))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	r := newReader(f, "") // one for all: keys take long to make
	f.Fuzz(func(t *testing.T, commands []byte) {
		card, err := r.Connect(softcard.Name, cardbroker.ShareExclusive)
		if err != nil {
			t.Fatal(err)
		}
		defer card.Disconnect(cardbroker.ResetCard)
		for len(commands) > 0 {
			n := min(int(commands[0]), len(commands)-1)
			command := commands[1 : 1+n]
			commands = commands[1+n:]
			if n >= 4 && command[0] == 0x80 && command[1] == 0xEF {
				continue // it only waits
			}
			response, err := card.Transmit(nil, command)
			if n < 4 && err != nil {
				continue
			}
			if err != nil || len(response) < 2 || len(response) > 65538 {
				t.Fatalf("Transmit(%X) = %d bytes, %v", command, len(response), err)
			}
		}
	})
}

func BenchmarkEcho(b *testing.B) {
	c := newClient(b)
	command := append([]byte{0x80, 0xEE, 0, 0, 16}, make([]byte, 16)...)
	dst := make([]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.card.Transmit(dst, command); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNew(b *testing.B) {
	file := b.TempDir() + "/card"
	c := connect(b, newReader(b, file))
	c.selectPIV()
	for _, tag := range []apdu.Tag{0x5FC105, 0x5FC10A, 0x5FC10B, 0x5FC101} {
		c.object(tag)
	}
	for _, bb := range []struct{ name, file string }{{"memory", ""}, {"file", file}} {
		b.Run(bb.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := softcard.New(bb.file, slog.New(slog.DiscardHandler)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSign(b *testing.B) {
	for _, bb := range []struct {
		algorithm, slot byte
		size            int
	}{{0x07, 0x9A, 256}, {0x11, 0x9E, 32}} {
		b.Run(fmt.Sprintf("%02X", bb.slot), func(b *testing.B) {
			c := newClient(b)
			c.verify("123456")
			for b.Loop() {
				if _, sw := c.authenticate(bb.algorithm, bb.slot, bytes.Repeat([]byte{0x5A}, bb.size)); sw != apdu.Success {
					b.Fatal(sw)
				}
			}
		})
	}
}
