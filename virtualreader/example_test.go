// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package virtualreader_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/virtualreader"
	"github.com/cardbroker/cardbroker/virtualreader/script"
)

// selectApplication is ISO/IEC 7816-4 SELECT. The card of these examples answers each command with itself and 9000.
var selectApplication = []byte{0x00, 0xA4, 0x04, 0x00, 0x02, 0xA0, 0x00}

// check ends an example that cannot go on.
func check(err error) {
	if err != nil {
		panic(err)
	}
}

// clientOf returns a client of brokers that run in this process.
func clientOf(brokers ...*door) *virtualreader.Client {
	config := virtualreader.Config{
		TLS:   brokers[0].trust(), // nil for the system's roots
		Token: cardbroker.NewSecret([]byte(goodToken)),
	}
	for _, broker := range brokers {
		config.Brokers = append(config.Brokers, broker.url) // such as wss://cards.example.com:8443
	}
	client, err := virtualreader.New(config)
	check(err)
	return client
}

// A back end selects an application on a card that a user has offered to it by a ticket.
func Example() {
	broker := startDoor() // with an agent and a card behind it, in this process
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

// The connection is cut before each command. The back end need not know: the commands are executed once each, and answered.
func ExampleTunnel_Resumed() {
	broker := startDoor()
	defer broker.close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tunnel, err := clientOf(broker).Open(ctx, virtualreader.TicketReader, goodTicket, virtualreader.Options{})
	check(err)
	defer tunnel.Close()

	for range 3 {
		broker.wires.cut() // as a network does
		answer, err := tunnel.Transmit(ctx, selectApplication)
		check(err)
		fmt.Printf("% X\n", answer.Response)
	}
	fmt.Println("resumed:", tunnel.Resumed(), "executed:", broker.reader.Executed())
	// Output:
	// 00 A4 04 00 02 A0 00 90 00
	// 00 A4 04 00 02 A0 00 90 00
	// 00 A4 04 00 02 A0 00 90 00
	// resumed: 3 executed: 3
}

// Reasons tell what to do. Nobody can know whether the card has executed a command whose answer got lost between card and agent:
// ask the card, not the network.
func ExampleTunnel_Transmit_reasons() {
	broker := startDoor()
	defer broker.close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tunnel, err := clientOf(broker).Open(ctx, virtualreader.TicketReader, goodTicket, virtualreader.Options{})
	check(err)
	defer tunnel.Close()

	broker.reader.Lose() // the answer to the next command
	_, err = tunnel.Transmit(ctx, selectApplication)
	for err != nil {
		switch cardbroker.ReasonOf(err) {
		case cardbroker.Indeterminate:
			if tunnel.Err() != nil {
				fmt.Println("open another tunnel, and see how far the card is")
				return
			}
			fmt.Println("connect again, and see how far the card is")
			_, err = tunnel.Connect(ctx, cardbroker.ShareShared)
			check(err)
			_, err = tunnel.Transmit(ctx, selectApplication) // which changes nothing, so that it may run twice
		case cardbroker.CardReset:
			fmt.Println("connect again, and begin anew")
			return
		case cardbroker.CardRemoved, cardbroker.CardAbsent:
			fmt.Println("wait for a card, with Events")
			return
		default:
			fmt.Println("give up:", err)
			return
		}
	}
	fmt.Println("done")
	// Output:
	// connect again, and see how far the card is
	// done
}

// Several brokers are asked at once. One that fails does not hide the readers of the others.
func ExampleClient_List() {
	one, two, dead := startDoor(), startDoor(), startDoor()
	defer one.close()
	defer two.close()
	dead.close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	readers, err := clientOf(one, dead, two).List(ctx)
	for _, reader := range readers {
		fmt.Println(reader.ID, reader.Name, reader.Card.ATR)
	}
	fmt.Println(cardbroker.ReasonOf(err))
	// Output:
	// 00112233445566aa Memory Reader 00 00 3B80800101
	// 00112233445566aa Memory Reader 00 00 3B80800101
	// unavailable
}

// Watch calls a function for each change until that returns an error.
func ExampleClient_Watch() {
	broker := startDoor()
	defer broker.close()
	broker.events <- api.ReaderEvent{Event: api.EventCardIn, Reader: readerID, ATR: "3B80800101"}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	found := errors.New("found")
	err := clientOf(broker).Watch(ctx, func(e virtualreader.Event) error {
		fmt.Println(e.Event, e.Reader, e.ATR)
		if e.Event == api.EventCardIn {
			return found
		}
		return nil
	})
	fmt.Println(err == found)
	// Output:
	// card_in 00112233445566aa 3B80800101
	// true
}

// A back end has the card's end run a script: the answer to the first command goes into the second without coming here.
func ExampleTunnel_Run() {
	broker := startDoor()
	defer broker.close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tunnel, err := clientOf(broker).Open(ctx, virtualreader.TicketReader, goodTicket, virtualreader.Options{})
	check(err)
	defer tunnel.Close()

	s, err := script.Parse([]byte(`
steps:
  - command: 00 CA 01 02 04
    capture: {register: a, offset: 2, length: 2}
  - command: 80 50 00 00 04 FF FF FF FF
    insert: {register: a, offset: 1}
`))
	check(err)
	result, err := tunnel.Run(ctx, s, nil)
	check(err)
	fmt.Println(result.Outcome)
	for _, step := range result.Steps {
		fmt.Printf("%d: % X %v, card %v\n", step.Step, step.Data, step.SW, step.Times.Card)
	}
	// Output:
	// ok
	// 0: 00 CA 01 02 04 9000, card 1ms
	// 1: 80 50 00 00 04 FF 01 02 FF 9000, card 1ms
}
