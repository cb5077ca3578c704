// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package remoteloading

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/run"
)

// slowCard takes its time for each command, and is closed once.
type slowCard struct {
	takes  time.Duration
	closed int
}

func (c *slowCard) Info() cardbroker.Card { return cardbroker.Card{ATR: []byte{0x3B}} }

func (c *slowCard) Transmit(ctx context.Context, dst, _ []byte) ([]byte, time.Duration, error) {
	select {
	case <-time.After(c.takes):
		return append(dst, 0x90, 0), 0, nil
	case <-ctx.Done():
		return dst, 0, cardbroker.Errorf(cardbroker.Canceled, "left")
	}
}

func (c *slowCard) Control(context.Context, []byte, uint32, []byte) ([]byte, error) {
	return nil, cardbroker.Errorf(cardbroker.Unsupported, "none")
}

func (c *slowCard) Close(cardbroker.Disposition) error {
	c.closed++
	return nil
}

// TestTime: a session's time begins anew with each call, stands still while one runs, and is over after ten minutes whatever happens.
func TestTime(t *testing.T) {
	for _, test := range []struct {
		name  string
		takes time.Duration
		story func(pass func(time.Duration), send func() error) error // the last call's error
		want  string
	}{
		{"the last moment", 0, func(pass func(time.Duration), send func() error) error {
			pass(29 * time.Second)
			return send()
		}, ""},
		{"anew", 0, func(pass func(time.Duration), send func() error) error {
			for range 15 {
				pass(29 * time.Second)
				if err := send(); err != nil {
					return err
				}
			}
			return nil
		}, ""},
		{"too late", 0, func(pass func(time.Duration), send func() error) error {
			pass(29 * time.Second)
			send()
			pass(30 * time.Second)
			return send()
		}, "its time was over"},
		{"a long command", 50 * time.Second, func(pass func(time.Duration), send func() error) error {
			send()
			pass(29 * time.Second)
			return send()
		}, ""},
		{"a command that is too long", 2 * time.Minute, func(_ func(time.Duration), send func() error) error { return send() },
			"may have run: its answer did not come in time"},
		{"ten minutes", 0, func(pass func(time.Duration), send func() error) error {
			for range 40 {
				pass(20 * time.Second)
				if err := send(); err != nil {
					return err
				}
			}
			return nil
		}, "its time was over"},
		{"a command at the tenth", 55 * time.Second, func(pass func(time.Duration), send func() error) error {
			for range 20 {
				if err := send(); err != nil {
					return err
				}
			}
			return nil
		}, "may have run: the session has ended"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				card := &slowCard{takes: test.takes}
				in := &cardbroker.Card{}
				l := New(Config{
					Free: func(string) error { return nil }, Turn: func(context.Context, string) (Card, error) { return card, nil },
					Present: func(string) *cardbroker.Card { return in }, Watch: func() (<-chan struct{}, func()) { return nil, func() {} },
					Enter:  func(ctx context.Context) (context.Context, func(), error) { return ctx, func() {}, nil },
					Record: func(cardbroker.Event) {},
				})
				group := run.New(t.Context())
				group.Go("loader", l.Run)
				c := &call{reader: cardbroker.Reader{Name: "r"}, still: func() error { return nil }}
				id, err := l.open(t.Context(), c, defaultTimeout)
				if err != nil {
					t.Fatal(err)
				}
				c.session = id
				err = test.story(func(d time.Duration) { time.Sleep(d) }, func() error {
					_, err := l.run(t.Context(), c, &list{field: "command", one: true, commands: [][]byte{{0, 1, 0, 0}}})
					return err
				})
				if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
					t.Errorf("the last call = %v, want %q", err, test.want)
				}
				group.Stop()
				if card.closed != 1 {
					t.Errorf("the card was closed %d times", card.closed)
				}
			})
		})
	}
}
