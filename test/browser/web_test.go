// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package browser

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/cardbroker/cardbroker/test/stage"
	pages "github.com/cardbroker/cardbroker/web"
)

// sdkPath is where each site has our SDK.
const sdkPath = "/cardbroker.js"

// web are the sites of the namespace: every name, address and path but sdkPath has the same page, on the scheme's own port.
type web struct {
	spki string // hash of the certificates' key
	page string // of loopback, http://127.0.0.1:port
}

// helpers are what pages do, as a text, so that it can be compared.
const helpers = `<!doctype html><meta charset=utf-8><title>page</title><script>
async function get(url, options) {
	try {
		const r = await fetch(url, options);
		if (r.type == 'opaque') return 'opaque';
		const text = await r.text();
		let said = {};
		try { said = JSON.parse(text) } catch { return r.status + ' ' + text }
		return r.status + ' ' + (said.rule || said.reason || 'ok');
	} catch { return 'failed' }
}
const within = (ms, f) => new Promise(done => { f(done); setTimeout(() => done('silent'), ms) });
const socket = url => within(60000, done => {
	const s = new WebSocket(url.replace('http', 'ws'));
	s.onopen = () => done('open');
	s.onerror = () => done('failed');
});
const events = url => within(60000, done => {
	const s = new EventSource(url);
	s.onopen = () => { s.close(); done('open') };
	s.onerror = () => { s.close(); done('failed') };
});
const load = (tag, url) => within(60000, done => {
	const e = document.createElement(tag);
	e.onload = () => done('loaded');
	e.onerror = () => done('failed');
	e.src = url;
	document.body.append(e);
});
</script><body>`

// serve serves handler on an address until the test ends, over TLS if there is a configuration.
func serve(t *testing.T, address string, handler http.Handler, over *tls.Config) string {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	listener, err := lc.Listen(context.Background(), "tcp4", address)
	if err != nil {
		t.Fatal(err)
	}
	address = listener.Addr().String()
	if over != nil {
		listener = tls.NewListener(listener, over)
	}
	server := &http.Server{Handler: handler, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(listener) })
	t.Cleanup(func() {
		server.Close()
		serving.Wait()
	})
	return address
}

func newWeb(t *testing.T) web {
	t.Helper()
	dir := t.TempDir()
	if err := stage.IssueDoor(dir+"/cert", dir+"/key"); err != nil {
		t.Fatal(err)
	}
	certificate, err := tls.LoadX509KeyPair(dir+"/cert", dir+"/key")
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(certificate.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.Sum256(parsed.RawSubjectPublicKeyInfo)
	over := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{certificate}}
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == sdkPath {
			text, mediaType, _ := pages.DemoFile("cardbroker.js")
			w.Header().Set("Content-Type", mediaType)
			w.Write(text)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, helpers)
	})
	for _, address := range []string{public, intranet} {
		serve(t, address+":80", page, nil)
		serve(t, address+":443", page, over)
	}
	return web{spki: base64.StdEncoding.EncodeToString(hash[:]), page: "http://" + serve(t, "127.0.0.1:0", page, nil)}
}

// hosts are the names that browsers know.
func (web) hosts() string {
	rules := []string{"MAP rebind.test 127.0.0.1", "MAP intranet.example " + intranet}
	for _, name := range []string{"app.example", "app2.example", "evil.example", "app.example.evil.test"} {
		rules = append(rules, "MAP "+name+" "+public)
	}
	return strings.Join(rules, ",")
}
