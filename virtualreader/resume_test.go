// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package virtualreader

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// conversation is what a back end does, from Hello to the end.
func conversation(s *stage) error {
	ctx := s.t.Context()
	tunnel, err := s.tunnel(ctx)
	if err != nil {
		return fmt.Errorf("Hello: %w", err)
	}
	defer tunnel.Close()
	if _, err := tunnel.Connect(ctx, cardbroker.ShareShared); err != nil {
		return fmt.Errorf("Connect: %w", err)
	}
	if err := tunnel.Begin(ctx); err != nil {
		return fmt.Errorf("Begin: %w", err)
	}
	for n := range 20 {
		if n%7 == 6 {
			pass(time.Second) // the attendant reads
		}
		a, err := tunnel.Transmit(ctx, command(n))
		if err != nil {
			return fmt.Errorf("command %d: %w", n, err)
		}
		if want := append(command(n), 0x90, 0); !bytes.Equal(a.Response, want) {
			return fmt.Errorf("command %d is answered by % x", n, a.Response)
		}
	}
	if err := tunnel.End(ctx, cardbroker.LeaveCard); err != nil {
		return fmt.Errorf("End: %w", err)
	}
	if d, err := tunnel.Renew(ctx, time.Minute); err != nil || d != time.Minute {
		return fmt.Errorf("Renew: %v, %w", d, err)
	}
	if n := s.connections(); n > 1 && tunnel.Resumed() == 0 || int(tunnel.Resumed()) > n-1 {
		return fmt.Errorf("Resumed = %d after %d connections", tunnel.Resumed(), n)
	}
	return nil
}

// TestCutAtEveryFrame cuts the connection between any two frames, and between a frame and its answer: the holder executes each
// frame once, and the back end gets every answer.
func TestCutAtEveryFrame(t *testing.T) {
	uncut := &holder{}
	onStage(t, uncut, func(t *testing.T, s *stage) {
		if err := conversation(s); err != nil {
			t.Fatal(err)
		}
	})
	boundaries := uncut.steps
	const hello = 2 // until then there is no lease: received, before Welcome
	cuts := map[string]func(at int) func(step int) bool{
		"once":     func(at int) func(int) bool { return func(step int) bool { return step == at } },
		"twice":    func(at int) func(int) bool { return func(step int) bool { return step == at || step == at+1 } },
		"resumed":  func(at int) func(int) bool { return func(step int) bool { return step == at || step == at+3 } },
		"answered": func(at int) func(int) bool { return func(step int) bool { return step >= at && step <= at+8 } },
	}
	for name, cut := range cuts {
		for at := 1; at <= boundaries; at++ {
			h := &holder{cut: cut(at)}
			onStage(t, h, func(t *testing.T, s *stage) {
				start := time.Now()
				err := conversation(s)
				if took := time.Since(start); took > 5*time.Second {
					t.Errorf("%s at %d: it took %v", name, at, took)
				}
				if at <= hello {
					if cardbroker.ReasonOf(err) != cardbroker.Unavailable {
						t.Errorf("%s at %d, before there is a lease: %v, want %s", name, at, err, cardbroker.Unavailable)
					}
					return
				}
				if err != nil {
					t.Errorf("%s at %d: %v", name, at, err)
				}
			})
			for seq, n := range h.runs {
				if n != 1 {
					t.Errorf("%s at %d: seq %d was executed %d times", name, at, seq, n)
				}
			}
			if want := 25; at > hello && len(h.runs) != want {
				t.Errorf("%s at %d: %d frames were executed, want %d", name, at, len(h.runs), want)
			}
		}
	}
	t.Logf("%d frame boundaries", boundaries)
}

// lost has a command's answer lost, once, and what happens to the back end's connection then.
func lost(h *holder) *holder {
	h.cut = func(int) bool { return h.kind == wire.TypeAPDUResponse && h.runs[h.last] == 1 && h.connections() == 1 }
	return h
}

func down(string) error { return cardbroker.Errorf(cardbroker.Unavailable, "down") }

// TestNotTakenUpAgain has holders that nobody reaches any more, or that have forgotten the lease, with a frame outstanding and
// without one.
func TestNotTakenUpAgain(t *testing.T) {
	refuse := func(reason cardbroker.Reason, rule cardbroker.Rule) func(int, *http.Request) *cardbroker.Error {
		return func(number int, _ *http.Request) *cardbroker.Error {
			if number == 1 {
				return nil
			}
			return cardbroker.Refusef(reason, rule, "no")
		}
	}
	revoke := func(reason cardbroker.Reason) func(*socket.Conn, wire.Header) bool {
		return func(conn *socket.Conn, _ wire.Header) bool {
			conn.Send(wire.Header{Type: wire.TypeRevoked}, wire.AppendError(nil, cardbroker.Errorf(reason, "revoked")))
			conn.Receive()
			return true
		}
	}
	tests := []struct {
		name string
		h    func() *holder
		down func(string) error
		took time.Duration
		want cardbroker.Reason
		text string
	}{
		{"the grace time passes", func() *holder { return &holder{} }, down, testGrace, cardbroker.Unavailable, "in time"},
		{"the lease expires", func() *holder { return &holder{lease: 10 * time.Second} }, down, 10 * time.Second, cardbroker.Unavailable, "in time"},
		{"the agent is away", func() *holder { return &holder{admit: refuse(cardbroker.AgentRestarting, "")} }, nil, testGrace,
			cardbroker.Unavailable, "in time"},
		{"the lease is gone", func() *holder { return &holder{admit: refuse(cardbroker.Unauthenticated, cardbroker.RuleTicket)} }, nil, 0,
			cardbroker.Unavailable, "the lease has ended meanwhile"},
		{"the token is not good any more", func() *holder { return &holder{admit: refuse(cardbroker.Unauthenticated, cardbroker.RuleToken)} }, nil, 0,
			cardbroker.Unauthenticated, "cannot be taken up again"},
		{"the user has revoked the lease", func() *holder { return &holder{greet: revoke(cardbroker.Forbidden)} }, nil, 0, cardbroker.Forbidden, "revoked"},
		{"the lease expired meanwhile", func() *holder { return &holder{greet: revoke(cardbroker.Timeout)} }, nil, 0, cardbroker.Timeout, "revoked"},
		{"the holder breaks the protocol", func() *holder {
			return &holder{greet: func(conn *socket.Conn, head wire.Header) bool {
				conn.Send(wire.Header{Type: wire.TypeDone, Seq: head.Seq}, nil)
				conn.Receive()
				return true
			}}
		}, nil, 0, cardbroker.Invalid, "the answer to a frame"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			check := func(t *testing.T, start time.Time, tunnel *Tunnel, s *stage) {
				if err := tunnel.Err(); cardbroker.ReasonOf(err) != test.want || !strings.Contains(err.Error(), test.text) {
					t.Errorf("Err = %v, want %s: %q", err, test.want, test.text)
				}
				if took := time.Since(start); took < test.took || took > test.took+time.Second {
					t.Errorf("it took %v, want %v", took, test.took)
				}
				if n := len(s.wereAsked()); n > 70 || test.took > 0 && n < 10 {
					t.Errorf("%d attempts", n)
				}
			}
			withTunnel(t, test.h(), func(t *testing.T, s *stage, tunnel *Tunnel) {
				s.whileDown(test.down)
				start := time.Now()
				s.cutNow()
				for range tunnel.Events() {
				}
				check(t, start, tunnel, s)
				if _, err := tunnel.Transmit(t.Context(), command(1)); err == nil || cardbroker.ReasonOf(err) == cardbroker.Indeterminate {
					t.Errorf("Transmit afterwards = %v, want why the tunnel is over", err)
				}
			})
			withTunnel(t, lost(test.h()), func(t *testing.T, s *stage, tunnel *Tunnel) {
				s.whileDown(test.down)
				start := time.Now()
				_, err := tunnel.Transmit(t.Context(), command(1))
				if cardbroker.ReasonOf(err) != cardbroker.Indeterminate || !errors.Is(err, tunnel.Err()) {
					t.Errorf("Transmit = %v, want %s", err, cardbroker.Indeterminate)
				}
				check(t, start, tunnel, s)
			})
		})
	}
}

// TestWhatEndsAConnection tells a connection that ends from a tunnel that does.
func TestWhatEndsAConnection(t *testing.T) {
	for _, test := range []struct {
		why error
		end cardbroker.Reason // of the tunnel; "": it goes on
	}{
		{io.EOF, cardbroker.Unavailable},
		{cardbroker.Errorf(cardbroker.Forbidden, "no"), cardbroker.Forbidden},
		{cardbroker.Errorf(cardbroker.Invalid, "no"), cardbroker.Invalid},
		{cardbroker.Errorf(cardbroker.TooLarge, "no"), cardbroker.TooLarge},
		{context.Canceled, ""},
		{cardbroker.Errorf(cardbroker.Unavailable, "gone"), ""},
		{cardbroker.Errorf(cardbroker.Overloaded, "full"), ""},
		{cardbroker.Errorf(cardbroker.Timeout, "slow"), ""},
		{errors.New("a fault"), ""},
	} {
		h := lost(&holder{bye: func(conn *socket.Conn) { conn.Shutdown(test.why) }})
		withTunnel(t, h, func(t *testing.T, s *stage, tunnel *Tunnel) {
			_, err := tunnel.Transmit(t.Context(), command(1))
			if cardbroker.ReasonOf(tunnel.Err()) != test.end || (err == nil) != (test.end == "") {
				t.Errorf("after %v: Transmit = %v, Err = %v, want %q", test.why, err, tunnel.Err(), test.end)
			}
			if n := h.runs[2]; n != 1 {
				t.Errorf("after %v: the command was executed %d times", test.why, n)
			}
		})
	}
}

// TestVolatile ends a tunnel with its connection where the holder keeps no record.
func TestVolatile(t *testing.T) {
	onStage(t, &holder{}, func(t *testing.T, s *stage) {
		conn, err := s.dial(t.Context(), target{broker: "one"})
		if err != nil {
			t.Fatal(err)
		}
		hello, _ := Options{Volatile: true}.hello()
		tunnel, err := newTunnel(t.Context(), conn, hello, s.dial, s.brokers)
		if err != nil {
			t.Fatal(err)
		}
		s.cutNow()
		if _, err := tunnel.Transmit(t.Context(), command(1)); cardbroker.ReasonOf(err) != cardbroker.Indeterminate {
			t.Errorf("Transmit = %v, want %s", err, cardbroker.Indeterminate)
		}
		if n := s.connections(); n != 1 {
			t.Errorf("%d connections, want 1", n)
		}
		tunnel.Close()
	})
	both := Options{Volatile: true, Durability: cardbroker.DurabilityPower}
	if _, err := both.hello(); cardbroker.ReasonOf(err) != cardbroker.Invalid {
		t.Errorf("options that are volatile and durable = %v, want %s", err, cardbroker.Invalid)
	}
}

// TestAskerLeavesACutTunnel ends the contexts of who waits for a connection: it is the end of the tunnel if his frame is out.
func TestAskerLeavesACutTunnel(t *testing.T) {
	withTunnel(t, lost(&holder{}), func(t *testing.T, s *stage, tunnel *Tunnel) {
		s.whileDown(down)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		start := time.Now()
		_, err := tunnel.Transmit(ctx, command(1))
		if cardbroker.ReasonOf(err) != cardbroker.Indeterminate || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 10*time.Second {
			t.Errorf("Transmit = %v after %v, want %s", err, time.Since(start), cardbroker.Indeterminate)
		}
		if err := tunnel.Err(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Err = %v, want %v", err, context.DeadlineExceeded)
		}
	})
	withTunnel(t, &holder{}, func(t *testing.T, s *stage, tunnel *Tunnel) {
		pass(time.Second) // the attendant reads
		s.whileDown(down)
		s.cutNow()
		pass(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := tunnel.Transmit(ctx, command(1)); err != context.DeadlineExceeded {
			t.Errorf("Transmit while nobody reaches the holder = %v, want %v: it was not sent", err, context.DeadlineExceeded)
		}
		s.whileDown(nil)
		if a, err := tunnel.Transmit(t.Context(), command(2)); err != nil || s.runs[2] != 1 {
			t.Errorf("Transmit afterwards = % x, %v", a.Response, err)
		}
	})
}

// TestIdleTunnelIsTakenUpAgain holds that nobody has to ask: the lease goes on, and so do events. A card that is still in the
// reader is no event.
func TestIdleTunnelIsTakenUpAgain(t *testing.T) {
	h := &holder{}
	withTunnel(t, h, func(t *testing.T, s *stage, tunnel *Tunnel) {
		for n := range 5 {
			if e := <-tunnel.Events(); e.Card == nil {
				t.Errorf("the event is %+v, want a card", e)
			}
			s.cutNow()
			pass(time.Second)
			select {
			case e := <-tunnel.Events():
				t.Errorf("the event is %+v, want none", e)
			default:
			}
			h.atr.Store(int32(n + 1)) // another card
			s.cutNow()
		}
		pass(time.Hour)
		if tunnel.Err() != nil || tunnel.Resumed() != 10 {
			t.Errorf("after an hour: resumed %d times, %v", tunnel.Resumed(), tunnel.Err())
		}
	})
}

// TestSilentConnection has one that leads nowhere any more, and nobody who says so, between commands and in one.
func TestSilentConnection(t *testing.T) {
	withTunnel(t, &holder{mute: 1}, func(t *testing.T, s *stage, tunnel *Tunnel) {
		pass(5 * wire.PingInterval)
		if tunnel.Err() != nil || tunnel.Resumed() != 1 {
			t.Errorf("resumed %d times, %v, want once", tunnel.Resumed(), tunnel.Err())
		}
		if _, err := tunnel.Transmit(t.Context(), command(1)); err != nil {
			t.Errorf("Transmit = %v", err)
		}
	})
	withTunnel(t, &holder{mute: 1}, func(t *testing.T, s *stage, tunnel *Tunnel) {
		start := time.Now()
		if _, err := tunnel.Transmit(t.Context(), command(1)); err != nil || time.Since(start) > 5*wire.PingInterval {
			t.Errorf("Transmit = %v after %v", err, time.Since(start))
		}
	})
}

// TestSlowCard has a holder whose card works on for longer than the grace time, and who says nothing meanwhile, not even on a new
// connection.
func TestSlowCard(t *testing.T) {
	const slow = 4 * time.Minute
	withTunnel(t, &holder{work: func() { pass(slow) }}, func(t *testing.T, s *stage, tunnel *Tunnel) {
		start := time.Now()
		time.AfterFunc(time.Second, s.cutNow)
		_, err := tunnel.Transmit(t.Context(), command(1))
		if took := time.Since(start); err != nil || took < slow || took > slow+5*time.Second || s.runs[2] != 1 {
			t.Errorf("Transmit = %v after %v, executed %d times", err, took, s.runs[2])
		}
		if n := s.connections(); n > 6 {
			t.Errorf("%d connections", n)
		}
	})
}

// TestConnectionsThatDoNotLast are not asked for without a pause.
func TestConnectionsThatDoNotLast(t *testing.T) {
	h := &holder{}
	var until time.Time
	h.cut = func(step int) bool { return h.connections() > 1 && step%3 == 0 && time.Now().Before(until) } // also after Resumed
	withTunnel(t, h, func(t *testing.T, s *stage, tunnel *Tunnel) {
		until = time.Now().Add(20 * time.Second)
		s.cutNow()
		pass(20 * time.Second)
		if n := s.connections(); n < 15 || n > 60 || tunnel.Err() != nil {
			t.Errorf("%d connections in 20 s, %v", n, tunnel.Err())
		}
		start := time.Now() // those that bring an answer are worth another at once
		for n := range 50 {
			if _, err := tunnel.Transmit(t.Context(), command(n)); err != nil {
				t.Errorf("Transmit = %v", err)
			}
			s.cutNow()
		}
		if took := time.Since(start); took > 3*maxPause {
			t.Errorf("50 commands, each over a connection of its own, took %v", took)
		}
	})
}

// TestTwoBrokers takes a tunnel up again through another broker, but not before the first was asked, and not where one only
// does not know better.
func TestTwoBrokers(t *testing.T) {
	onStage(t, &holder{}, func(t *testing.T, s *stage) {
		s.brokers = []string{"one", "two"}
		tunnel, err := s.tunnel(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer tunnel.Close()
		s.whileDown(func(broker string) error {
			if broker == "one" {
				return down(broker)
			}
			return nil
		})
		for n := range 2 {
			s.cutNow()
			if _, err := tunnel.Transmit(t.Context(), command(n)); err != nil {
				t.Errorf("Transmit = %v", err)
			}
		}
		if want := []string{"one", "one", "two", "two"}; !slices.Equal(s.wereAsked(), want) {
			t.Errorf("the brokers that were asked are %q, want %q", s.wereAsked(), want)
		}
		back := time.Now().Add(3 * time.Second)
		s.whileDown(func(broker string) error {
			switch {
			case broker == "one":
				return cardbroker.Refusef(cardbroker.Unauthenticated, cardbroker.RuleToken, "unknown token")
			case time.Now().Before(back):
				return cardbroker.Errorf(cardbroker.NoAgent, "restarting")
			}
			return nil
		})
		s.cutNow()
		if _, err := tunnel.Transmit(t.Context(), command(2)); err != nil || time.Now().Before(back) {
			t.Errorf("Transmit = %v", err)
		}
	})
}

// TestRefusedByBrokers ends a tunnel when each of the brokers refuses the back end, or when the first that finds the agent says
// that the lease is gone.
func TestRefusedByBrokers(t *testing.T) {
	for rule, asked := range map[cardbroker.Rule]int{cardbroker.RuleToken: 2, cardbroker.RuleTicket: 1} {
		onStage(t, lost(&holder{}), func(t *testing.T, s *stage) {
			s.brokers = []string{"one", "two"}
			tunnel, err := s.tunnel(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			s.whileDown(func(string) error { return cardbroker.Refusef(cardbroker.Unauthenticated, rule, "no") })
			_, err = tunnel.Transmit(t.Context(), command(1))
			if cardbroker.ReasonOf(err) != cardbroker.Indeterminate || len(s.wereAsked()) != 1+asked {
				t.Errorf("Transmit = %v after %q were asked, want %s after %d", err, s.wereAsked(), cardbroker.Indeterminate, asked)
			}
			tunnel.Close()
		})
	}
}
