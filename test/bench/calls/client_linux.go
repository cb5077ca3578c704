// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package calls

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/ebfe/scard"
)

// client makes calls on one reader's card.
type client struct {
	context *scard.Context
	card    *scard.Card
	name    string
}

// Run is the client: a process of its own, since the library reads only once where the service is. It says null when it is
// connected to the card in the reader, and then answers each [Block] with a [Took] until in ends.
func Run(socket, reader string, in io.Reader, out io.Writer) error {
	if err := os.Setenv("PCSCLITE_CSOCK_NAME", socket); err != nil {
		return err
	}
	context, err := scard.EstablishContext()
	if err != nil {
		return err
	}
	defer context.Release()
	c := &client{context: context, name: reader}
	if c.card, err = context.Connect(reader, scard.ShareShared, scard.ProtocolAny); err != nil {
		return err
	}
	defer c.card.Disconnect(scard.LeaveCard)
	answers := json.NewEncoder(out)
	if err := answers.Encode(nil); err != nil {
		return err
	}
	asked := json.NewDecoder(in)
	for {
		var b Block
		if err := asked.Decode(&b); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		took, err := c.block(b)
		answer := Took{Samples: took}
		if err != nil {
			answer.Err = fmt.Sprintf("%s: %v", b.Call, err)
		}
		if err := answers.Encode(answer); err != nil {
			return err
		}
	}
}

// block makes a call again and again.
func (c *client) block(b Block) ([]float64, error) {
	call, err := c.call(b.Call)
	if err != nil {
		return nil, err
	}
	took := make([]float64, 0, b.Count)
	for n := range b.Warm + b.Count {
		start := time.Now()
		if err := call(); err != nil {
			return nil, err
		}
		if n >= b.Warm {
			took = append(took, float64(time.Since(start))/float64(time.Microsecond))
		}
	}
	return took, nil
}

// call returns the function that makes a call.
func (c *client) call(name string) (func() error, error) {
	switch name {
	case List:
		return c.list, nil
	case Status:
		return c.status, nil
	case Change:
		return c.change, nil
	case Connect:
		return c.connect, nil
	case Begin:
		return c.begin, nil
	case Transmit:
		return c.transmit(), nil
	case Reconnect:
		return c.reconnect, nil
	case Attribute:
		return c.attribute, nil
	}
	return nil, errors.New("no such call")
}

func (c *client) list() error {
	_, err := c.context.ListReaders()
	return err
}

func (c *client) status() error {
	_, err := c.card.Status()
	return err
}

func (c *client) change() error {
	state := []scard.ReaderState{{Reader: c.name}}
	err := c.context.GetStatusChange(state, 0)
	if err == nil && state[0].EventState&scard.StatePresent == 0 {
		err = errors.New("no card is in the reader")
	}
	return err
}

func (c *client) connect() error {
	card, err := c.context.Connect(c.name, scard.ShareShared, scard.ProtocolAny)
	if err != nil {
		return err
	}
	return card.Disconnect(scard.LeaveCard)
}

func (c *client) begin() error {
	if err := c.card.BeginTransaction(); err != nil {
		return err
	}
	return c.card.EndTransaction(scard.LeaveCard)
}

func (c *client) transmit() func() error {
	command := Echo()
	return func() error {
		answer, err := c.card.Transmit(command)
		if err == nil && !IsEcho(answer) {
			err = fmt.Errorf("no echo, but %d bytes", len(answer))
		}
		return err
	}
}

func (c *client) reconnect() error {
	return c.card.Reconnect(scard.ShareShared, scard.ProtocolAny, scard.LeaveCard)
}

// attribute asks for an attribute that neither vpcd nor the software reader has: vpcd has none that a program asks for.
func (c *client) attribute() error {
	_, err := c.card.GetAttrib(scard.AttrVendorIfdSerialNo)
	if err != scard.ErrUnsupportedFeature {
		return fmt.Errorf("want that the reader has no such attribute: %v", err)
	}
	return nil
}
