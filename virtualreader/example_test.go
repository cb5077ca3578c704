// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package virtualreader_test

import (
	"context"
	"fmt"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader"
	"github.com/cardbroker/cardbroker/virtualreader/script"
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

// A back end has the card's end run a script: the answer to the first command goes into the second without coming here.
func ExampleTunnel_Run() {
	broker := startDoor()
	defer broker.close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	client, err := virtualreader.New(virtualreader.Config{
		Brokers: []string{broker.url}, TLS: broker.trust(), Token: cardbroker.NewSecret([]byte(goodToken)),
	})
	if err != nil {
		panic(err)
	}
	tunnel, err := client.Open(ctx, virtualreader.TicketReader, goodTicket, virtualreader.Options{})
	if err != nil {
		panic(err)
	}
	defer tunnel.Close()

	s, err := script.Parse([]byte(`
steps:
  - command: 00 CA 01 02 04
    capture: {register: a, offset: 2, length: 2}
  - command: 80 50 00 00 04 FF FF FF FF
    insert: {register: a, offset: 1}
`))
	if err != nil {
		panic(err)
	}
	result, err := tunnel.Run(ctx, s, nil)
	if err != nil {
		panic(err)
	}
	fmt.Println(result.Outcome)
	for _, step := range result.Steps {
		fmt.Printf("%d: % X %v, card %v\n", step.Step, step.Data, step.SW, step.Times.Card)
	}
	// Output:
	// ok
	// 0: 00 CA 01 02 04 9000, card 1ms
	// 1: 80 50 00 00 04 FF 01 02 FF 9000, card 1ms
}
