// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Command vcard is a card for the virtual reader vpcd: the software card, with the faults that tests need. It works on
// Linux, and reads no network but the reader that it is told.
//
//	vcard [mute] [tell] [seen] [delay=TIME] [atr=HEX] ADDRESS [FILE]
//
// It connects to the reader at ADDRESS for up to 10 s: the card is in. It ends with the reader: the card is out, too, when
// the process is ended. FILE keeps the card's state. A mute card is seen by the reader but gives no ATR that a card could
// have; atr gives another ATR than the software card's; delay is how long each command takes on its way. With tell it writes a byte to its standard output for each command,
// before it runs it; with seen, when it has told the reader its ATR for the first time.
package main
