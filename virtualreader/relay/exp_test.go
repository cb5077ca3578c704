package relay_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/cardbroker/cardbroker/virtualreader/cardend"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/cardtest"
	"github.com/cardbroker/cardbroker/virtualreader/relay"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// direct wire client in the caller over the tunnel chain
func expChain(tb testing.TB, useTLS bool, echo bool, unix bool) func() {
	ctx := tb.Context()
	r := cardtest.NewReader()
	m := socket.NewMaker(wire.Subprotocol)
	legs := make(chan *socket.Conn, 1)
	local := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := m.Upgrade(w, r); err == nil {
			legs <- c
		}
	}))
	path := tb.TempDir() + "/s"
	network := "tcp"
	addr := "127.0.0.1:0"
	if unix {
		network, addr = "unix", path
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		tb.Fatal(err)
	}
	local.Listener = l
	local.Start()
	tb.Cleanup(local.Close)
	leases := cardend.NewLeases()
	go leases.Run(ctx)
	holder := cardend.New(r, leases)
	door := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		agent, _, err := m.Dial(ctx, socket.Dial{URL: "ws://local/", Net: func(context.Context) (net.Conn, error) {
			return net.Dial(network, l.Addr().String())
		}})
		if err != nil {
			tb.Error(err)
			return
		}
		if echo {
			go func() {
				for {
					b, err := agent.Next()
					if err != nil {
						return
					}
					agent.Write(b)
				}
			}()
		} else {
			go holder.Serve(ctx, agent, r.Tunnel("bench"))
		}
		backEnd, err := m.Upgrade(w, req)
		if err != nil {
			return
		}
		go relay.Splice(ctx, backEnd, <-legs)
	}))
	d := websocket.Dialer{ReadBufferSize: 512, WriteBufferSize: 1024, Subprotocols: []string{wire.Subprotocol}}
	u := ""
	if useTLS {
		door.TLS = &tls.Config{MinVersion: tls.VersionTLS13}
		door.StartTLS()
		d.TLSClientConfig = door.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		u = "wss" + door.URL[5:]
	} else {
		door.Start()
		u = "ws" + door.URL[4:]
	}
	tb.Cleanup(door.Close)
	c, _, err := d.Dial(u, nil)
	if err != nil {
		tb.Fatal(err)
	}
	buf := make([]byte, 4096)
	if echo {
		message := make([]byte, benchSize)
		return func() {
			c.WriteMessage(websocket.BinaryMessage, message)
			if _, err := readGorilla(c, buf); err != nil {
				tb.Fatal(err)
			}
		}
	}
	var out []byte
	seq := uint64(1)
	out = wire.Append(out[:0], wire.Header{Type: wire.TypeHello, Seq: 1}, wire.Hello{Share: 2}.Append(nil))
	c.WriteMessage(websocket.BinaryMessage, out)
	if _, err := readGorilla(c, buf); err != nil {
		tb.Fatal(err)
	}
	command := append([]byte{0x00, 0xDA, 0x00, 0x00, 0x00, 0x01, 0x1D}, make([]byte, benchSize-24-7-wire.TimesSize)...)
	command[5], command[6] = byte((len(command)-7)>>8), byte(len(command)-7)
	return func() {
		seq++
		out = wire.Append(out[:0], wire.Header{Type: wire.TypeAPDU, Seq: seq}, command)
		c.WriteMessage(websocket.BinaryMessage, out)
		if _, err := readGorilla(c, buf); err != nil {
			tb.Fatal(err)
		}
	}
}

func BenchmarkExp(b *testing.B) {
	paths := []struct {
		name string
		open func(testing.TB) func()
		took []time.Duration
	}{
		{name: "gorilla", open: openGorilla},
		{name: "tunnel", open: openTunnel},
		{name: "echo-tcp-tcp", open: func(tb testing.TB) func() { return expChain(tb, false, true, false) }},
		{name: "echo-tcp-unix", open: func(tb testing.TB) func() { return expChain(tb, false, true, true) }},
		{name: "echo-tls-unix", open: func(tb testing.TB) func() { return expChain(tb, true, true, true) }},
		{name: "card-tcp-unix", open: func(tb testing.TB) func() { return expChain(tb, false, false, true) }},
		{name: "card-tls-unix", open: func(tb testing.TB) func() { return expChain(tb, true, false, true) }},
	}
	trips := make([]func(), len(paths))
	for i, p := range paths {
		trips[i] = p.open(b)
	}
	for b.Loop() {
		for i := range paths {
			for range benchBlock {
				start := time.Now()
				trips[i]()
				paths[i].took = append(paths[i].took, time.Since(start))
			}
		}
	}
	for _, p := range paths {
		slices.Sort(p.took)
		b.Logf("%-16s p50 %6.1f p99 %6.1f", p.name, float64(p.took[len(p.took)/2])/1e3, float64(p.took[len(p.took)*99/100])/1e3)
	}
}
