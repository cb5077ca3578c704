// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package softcard

import (
	"time"

	"github.com/cardbroker/cardbroker/apdu"
)

// The commands that the card takes without its applet.
const (
	classTest      = 0x80
	insEcho        = 0xEE
	insDelay       = 0xEF
	insGetResponse = 0xC0 // ISO/IEC 7816-4 §11.5.1
)

// The bits of an interindustry class, ISO/IEC 7816-4 §5.4.1.
const (
	classChain   = 0x10 // not the last command of a chain
	classSecure  = 0x0C // secure messaging
	classChannel = 0x03
)

// maxChain is how many bytes of data a chain can bring together.
const maxChain = 4096

// Status words of single places.
const (
	channelNotSupported apdu.StatusWord = 0x6881
	secureNotSupported  apdu.StatusWord = 0x6882
	memoryFailure       apdu.StatusWord = 0x6581
)

// card carries APDUs to the applet: it gathers chains and hands out long answers in parts.
type card struct {
	applet piv
	chain  *apdu.Command // the chain so far, or nil
	rest   []byte        // of the last answer, for GET RESPONSE
}

// Reset is a loss of power: all but the applet's store is forgotten.
func (c *card) Reset() { *c = card{applet: piv{store: c.applet.store}} }

// Transmit appends the response to dst.
func (c *card) Transmit(dst, raw []byte) []byte {
	cmd, err := apdu.ParseCommand(raw)
	if err != nil {
		return apdu.WrongLength.Append(dst)
	}
	if cmd.CLA == classTest {
		return test(dst, cmd)
	}
	rest := c.rest
	c.rest = nil
	if cmd.INS == insGetResponse && cmd.CLA == 0 && rest != nil {
		return c.answer(dst, rest, cmd.Le)
	}
	cmd, sw := c.gather(cmd)
	if sw != apdu.Success || cmd.CLA&classChain != 0 {
		return sw.Append(dst)
	}
	data, sw := c.applet.execute(cmd)
	if sw != apdu.Success {
		return sw.Append(dst)
	}
	return c.answer(dst, data, cmd.Le)
}

// test runs the commands for measurements.
func test(dst []byte, cmd apdu.Command) []byte {
	switch cmd.INS {
	case insEcho:
		return apdu.Success.Append(append(dst, cmd.Data...))
	case insDelay:
		time.Sleep(time.Duration(cmd.P1)<<8*time.Millisecond + time.Duration(cmd.P2)*time.Millisecond)
		return apdu.Success.Append(dst)
	}
	return apdu.InstructionNotSupported.Append(dst)
}

// gather checks the class and brings the data of a chain together, ISO/IEC 7816-4 §5.3.3. It returns the command as it
// is to be executed; a command that is not the last of its chain is not.
func (c *card) gather(cmd apdu.Command) (apdu.Command, apdu.StatusWord) {
	chain := c.chain
	c.chain = nil
	switch {
	case cmd.CLA&^(classChain|classSecure|classChannel) != 0:
		return cmd, apdu.ClassNotSupported
	case cmd.CLA&classSecure != 0:
		return cmd, secureNotSupported
	case cmd.CLA&classChannel != 0:
		return cmd, channelNotSupported
	case chain == nil && cmd.CLA&classChain == 0:
		return cmd, apdu.Success
	case chain == nil:
		chain = &apdu.Command{INS: cmd.INS, P1: cmd.P1, P2: cmd.P2}
	case chain.INS != cmd.INS || chain.P1 != cmd.P1 || chain.P2 != cmd.P2:
		return cmd, apdu.LastOfChainExpected
	}
	if len(chain.Data)+len(cmd.Data) > maxChain {
		return cmd, apdu.WrongLength
	}
	chain.Data = append(chain.Data, cmd.Data...)
	if cmd.CLA&classChain != 0 {
		c.chain = chain
		return cmd, apdu.Success
	}
	cmd.Data = chain.Data
	return cmd, apdu.Success
}

// answer appends up to le bytes of data and keeps the rest for GET RESPONSE.
func (c *card) answer(dst, data []byte, le int) []byte {
	if len(data) <= le {
		return apdu.Success.Append(append(dst, data...))
	}
	c.rest = data[le:]
	return apdu.MoreData(len(c.rest)).Append(append(dst, data[:le]...))
}
