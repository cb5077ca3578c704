// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/gorilla/websocket"

	"github.com/cardbroker/cardbroker"
)

// maxCloseText is the longest text of a close message, in bytes: RFC 6455 §5.5.1 without the code.
const maxCloseText = 123

// closeCode says an error in a close message: RFC 6455 §7.4.1, and 1012 and 1013 of the registry that it opened. What
// another side's close message said is passed on as it was.
func closeCode(err error) (code int, text string) {
	if err == nil || errors.Is(err, io.EOF) {
		return websocket.CloseNormalClosure, ""
	}
	if e, ok := errors.AsType[*cardbroker.Error](err); ok {
		text = strings.ToValidUTF8(e.Message[:min(len(e.Message), maxCloseText)], "")
	}
	switch cardbroker.ReasonOf(err) {
	case cardbroker.Canceled:
		return websocket.CloseGoingAway, text
	case cardbroker.Invalid:
		return websocket.CloseProtocolError, text
	case cardbroker.TooLarge:
		return websocket.CloseMessageTooBig, text
	case cardbroker.Overloaded, cardbroker.RateLimited:
		return websocket.CloseTryAgainLater, text
	case cardbroker.Unavailable, cardbroker.NoAgent, cardbroker.AgentRestarting, cardbroker.Timeout:
		return websocket.CloseServiceRestart, text
	case cardbroker.Internal:
		return websocket.CloseInternalServerErr, ""
	}
	return websocket.ClosePolicyViolation, text
}

// closeError is the reverse of closeCode.
func closeError(e *websocket.CloseError) error {
	reason := cardbroker.Internal
	switch e.Code {
	case websocket.CloseNormalClosure, websocket.CloseNoStatusReceived:
		return io.EOF
	case websocket.CloseGoingAway:
		return cardbroker.Wrapf(e, cardbroker.Canceled, "the other side is stopping")
	case websocket.CloseAbnormalClosure:
		return cardbroker.Wrapf(e, cardbroker.Unavailable, "the connection was cut")
	case websocket.CloseProtocolError, websocket.CloseUnsupportedData, websocket.CloseInvalidFramePayloadData:
		reason = cardbroker.Invalid
	case websocket.CloseMessageTooBig:
		reason = cardbroker.TooLarge
	case websocket.CloseTryAgainLater:
		reason = cardbroker.Overloaded
	case websocket.CloseServiceRestart:
		reason = cardbroker.Unavailable
	case websocket.ClosePolicyViolation:
		reason = cardbroker.Forbidden
	}
	text := e.Text
	if text == "" {
		text = "the other side ended the connection"
	}
	return &cardbroker.Error{Reason: reason, Message: text}
}

// readError turns what gorilla returns from a read into the errors that Next promises.
func readError(err error) error {
	if e, ok := errors.AsType[*websocket.CloseError](err); ok {
		return closeError(e)
	}
	if errors.Is(err, websocket.ErrReadLimit) {
		return cardbroker.Wrapf(err, cardbroker.TooLarge, "a message is over the limit")
	}
	return ioError(err)
}

// ioError tells a passed deadline from a connection that was cut. gorilla hides the first behind an error of its own.
func ioError(err error) error {
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() && !errors.Is(err, context.DeadlineExceeded) {
		return cardbroker.Wrapf(err, cardbroker.Timeout, "the other side was silent for too long")
	}
	return cardbroker.Wrapf(err, cardbroker.Unavailable, "the connection was cut")
}
