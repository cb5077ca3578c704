// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/gorilla/websocket"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
)

// maxPushed is the longest message that is read from who only listens, in bytes.
const maxPushed = 512

// Push is a WebSocket on which events go out as JSON text messages and nothing is expected to come in.
type Push struct {
	ws   *websocket.Conn
	gone chan struct{} // closed when the other side has left
}

// UpgradePush answers a request that wants events. Whether a web page may have them is for the caller to have decided.
// If it returns Invalid, nothing was answered yet; other failures it has answered itself and returns as nil, nil.
func UpgradePush(w http.ResponseWriter, r *http.Request) (*Push, error) {
	if !websocket.IsWebSocketUpgrade(r) {
		return nil, cardbroker.Errorf(cardbroker.Invalid, "this address takes WebSocket connections only")
	}
	upgrader := websocket.Upgrader{
		HandshakeTimeout: handshakeTimeout,
		ReadBufferSize:   readBuffer,
		WriteBufferSize:  readBuffer,
		CheckOrigin:      func(*http.Request) bool { return true },
		Error:            malformed,
	}
	ws, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return nil, nil
	}
	ws.SetReadLimit(maxPushed)
	return &Push{ws: ws, gone: make(chan struct{})}, nil
}

// maxFirst is the longest first message: what fits into a header, and a little JSON around it.
const maxFirst = 20 << 10

// First waits for the first message, for as long as within says, or until ctx ends. It is for a page that cannot say in a header
// who it is, and comes before Run.
func (p *Push) First(ctx context.Context, within time.Duration) ([]byte, error) {
	defer context.AfterFunc(ctx, func() { p.ws.SetReadDeadline(time.Unix(1, 0)) })()
	p.ws.SetReadLimit(maxFirst)
	p.ws.SetReadDeadline(time.Now().Add(within))
	if ctx.Err() != nil { // it may have ended before that deadline was set
		return nil, ctx.Err()
	}
	kind, text, err := p.ws.ReadMessage()
	if err == nil && kind != websocket.TextMessage {
		err = cardbroker.Errorf(cardbroker.Invalid, "the first message is not text")
	}
	if err != nil {
		return nil, err
	}
	p.ws.SetReadLimit(maxPushed)
	p.ws.SetReadDeadline(time.Time{})
	return text, nil
}

// Refuse says why nothing is pushed, as an error's body, and closes the connection (RFC 6455 §7.4.1, 1008). It comes in place
// of Run.
func (p *Push) Refuse(why error) {
	defer p.ws.Close()
	p.ws.SetWriteDeadline(time.Now().Add(closeTimeout))
	if text, err := json.Marshal(api.Describe(why)); err == nil {
		p.ws.WriteMessage(websocket.TextMessage, text)
	}
	reason := websocket.FormatCloseMessage(websocket.ClosePolicyViolation, string(cardbroker.ReasonOf(why)))
	p.ws.WriteControl(websocket.CloseMessage, reason, time.Now().Add(closeTimeout))
}

// Run sends what next returns: at once, and whenever changed delivers. It returns when the other side has left, takes
// nothing for 10 seconds, or ctx ends, and closes the connection.
func (p *Push) Run(ctx context.Context, changed <-chan struct{}, next func() []api.ReaderEvent) {
	defer func() {
		p.ws.Close()
		<-p.gone
	}()
	go p.read()
	for {
		for _, event := range next() {
			if err := p.send(event); err != nil {
				return
			}
		}
		select {
		case <-changed:
		case <-p.gone:
			return
		case <-ctx.Done():
			p.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseGoingAway, ""), time.Now().Add(closeTimeout))
			return
		}
	}
}

// read waits for the other side's end: that is all it may say.
func (p *Push) read() {
	defer close(p.gone)
	for {
		if _, _, err := p.ws.NextReader(); err != nil {
			return
		}
	}
}

func (p *Push) send(event api.ReaderEvent) error {
	text, err := json.Marshal(event)
	if err != nil {
		return err
	}
	p.ws.SetWriteDeadline(time.Now().Add(writeTimeout))
	return p.ws.WriteMessage(websocket.TextMessage, text)
}
