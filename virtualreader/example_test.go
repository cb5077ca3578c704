// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package virtualreader_test

import (
	"context"
	"fmt"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader"
)

// A back end selects an application on a card that a user has offered to it by a ticket.
func Example() {
	broker := startDoor() // in this process, so that the example runs
	defer broker.close()

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	client, err := virtualreader.New(virtualreader.Config{
		Brokers: []string{broker.url}, // such as wss://cards.example.com:8443
		TLS:     broker.trust(),       // nil for the system's roots
		Token:   cardbroker.NewSecret([]byte(goodToken)),
	})
	if err != nil {
		panic(err)
	}
	tunnel, err := client.Open(ctx, virtualreader.TicketReader, goodTicket, virtualreader.Options{})
	if err != nil {
		panic(err)
	}
	defer tunnel.Close()

	card, err := tunnel.Connect(ctx, cardbroker.ShareShared)
	if err != nil {
		panic(err)
	}
	answer, err := tunnel.Transmit(ctx, []byte{0x00, 0xA4, 0x04, 0x00, 0x02, 0xA0, 0x00})
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s: ATR %X, %s\n", tunnel.Reader, card.ATR, card.Protocol)
	fmt.Printf("% X, card %v\n", answer.Response, answer.Card)

	_, err = tunnel.Transmit(ctx, []byte{0x00, 0x20, 0x00, 0x01, 0x04, '1', '2', '3', '4'})
	fmt.Println(err)
	// Output:
	// Memory Reader 00 00: ATR 3B80800101, T1
	// 00 A4 04 00 02 A0 00 90 00, card 1ms
	// forbidden: VERIFY is not allowed through a tunnel [firewall]
}
