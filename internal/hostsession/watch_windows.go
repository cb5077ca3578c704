// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package hostsession

import (
	"context"
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/windows"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/loop"
	"github.com/cardbroker/cardbroker/internal/run"
)

//lint:ignore U1000 a field of Session
type process struct{} // a session of Windows says itself when it ends

// Of winuser.h and wtsapi32.h.
const (
	messageOnly         = ^uintptr(2) // HWND_MESSAGE
	wmClose             = 0x0010
	wmDestroy           = 0x0002
	wmEndSession        = 0x0016
	wmSessionChange     = 0x02B1 // WM_WTSSESSION_CHANGE
	thisSession         = 0      // NOTIFY_FOR_THIS_SESSION
	sessionLogoff       = 6
	sessionLock         = 7
	sessionUnlock       = 8
	sessionRemoteShadow = 9 // WTS_SESSION_REMOTE_CONTROL
	sessionConnectState = 8 // WTSConnectState
	stateActive         = 0 // WTSActive
	currentSession      = ^uintptr(0)
)

// wtsWindow takes the messages of the session. What they say is kept in a few flags, for whose reader they are a signal.
type wtsWindow struct {
	user32, wtsapi32        *windows.LazyDLL
	locked, ended, shadowed atomic.Bool
	wake                    chan struct{} // capacity 1
}

// Watch tells what happens to the session until it has ended: then it has told Ended and returns nil. tell must not block.
// Errors: that of ctx, Unavailable if the session cannot be watched. Compiled, and not run on Windows yet.
func (s Session) Watch(ctx context.Context, tell func(Event)) error {
	if s.Kind != WTS {
		return cardbroker.Errorf(cardbroker.Unsupported, "this process is in no session of Windows")
	}
	w := &wtsWindow{user32: windows.NewLazySystemDLL("user32.dll"), wtsapi32: windows.NewLazySystemDLL("wtsapi32.dll"), wake: make(chan struct{}, 1)}
	group := run.New(ctx)
	group.Go("window", w.serve)
	var told state
	tell(Watched)
	for {
		now := state{locked: w.locked.Load(), away: w.away(told.away), ended: w.ended.Load()}
		if w.shadowed.Swap(false) {
			tell(Shadowed)
		}
		told.tell(now, tell)
		if told = now; now.ended {
			group.Stop()
			return nil
		}
		select {
		case <-w.wake:
		case <-group.Context().Done():
			if err := group.Wait(); err != nil {
				return err
			}
			return ctx.Err()
		}
	}
}

// away says whether nobody is connected to the session.
func (w *wtsWindow) away(before bool) bool {
	var buffer *uint32
	var n uint32
	ok, _, _ := w.wtsapi32.NewProc("WTSQuerySessionInformationW").Call(0, currentSession&0xFFFFFFFF, sessionConnectState,
		uintptr(unsafe.Pointer(&buffer)), uintptr(unsafe.Pointer(&n)))
	if ok == 0 || buffer == nil || n < 4 {
		return before
	}
	defer windows.WTSFreeMemory(uintptr(unsafe.Pointer(buffer)))
	return *buffer != stateActive
}

// windowClass is WNDCLASSEXW.
type windowClass struct {
	size, style                        uint32
	procedure                          uintptr
	classExtra, windowExtra            int32
	instance, icon, cursor, background uintptr
	menu, name                         *uint16
	smallIcon                          uintptr
}

// message is MSG.
type message struct {
	window        uintptr
	id            uint32
	wParam        uintptr
	lParam        uintptr
	time          uint32
	x, y, private int32
}

// serve owns the window: a thread of its own makes it and takes its messages.
func (w *wtsWindow) serve(ctx context.Context) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	name := windows.StringToUTF16Ptr("cardbroker.session")
	class := windowClass{name: name, procedure: windows.NewCallback(w.procedure)}
	class.size = uint32(unsafe.Sizeof(class))
	if atom, _, err := w.user32.NewProc("RegisterClassExW").Call(uintptr(unsafe.Pointer(&class))); atom == 0 {
		return cardbroker.Wrapf(err, cardbroker.Unavailable, "cannot make a window for the session's messages")
	}
	defer w.user32.NewProc("UnregisterClassW").Call(uintptr(unsafe.Pointer(name)), 0)
	window, _, err := w.user32.NewProc("CreateWindowExW").Call(0, uintptr(unsafe.Pointer(name)), 0, 0, 0, 0, 0, 0, messageOnly, 0, 0, 0)
	if window == 0 {
		return cardbroker.Wrapf(err, cardbroker.Unavailable, "cannot make a window for the session's messages")
	}
	if ok, _, err := w.wtsapi32.NewProc("WTSRegisterSessionNotification").Call(window, thisSession); ok == 0 {
		return cardbroker.Wrapf(err, cardbroker.Unavailable, "cannot subscribe to the session's messages")
	}
	stop := context.AfterFunc(ctx, func() { w.user32.NewProc("PostMessageW").Call(window, wmClose, 0, 0) })
	defer stop()
	loop.Signal(w.wake) // what changed before we were told of changes
	next, dispatch := w.user32.NewProc("GetMessageW"), w.user32.NewProc("DispatchMessageW")
	var m message
	for {
		got, _, err := next.Call(uintptr(unsafe.Pointer(&m)), 0, 0, 0)
		switch int32(got) {
		case 0: // WM_QUIT
			return cardbroker.Errorf(cardbroker.Unavailable, "the session's messages have ended")
		case -1:
			return cardbroker.Wrapf(err, cardbroker.Unavailable, "the session's messages have ended")
		}
		dispatch.Call(uintptr(unsafe.Pointer(&m)))
	}
}

// procedure is the window's WNDPROC: it takes a note and returns.
func (w *wtsWindow) procedure(window, id, wParam, lParam uintptr) uintptr {
	switch {
	case id == wmDestroy:
		w.wtsapi32.NewProc("WTSUnRegisterSessionNotification").Call(window)
		w.user32.NewProc("PostQuitMessage").Call(0)
		return 0
	case id == wmEndSession && wParam != 0, id == wmSessionChange && wParam == sessionLogoff:
		w.ended.Store(true)
	case id == wmSessionChange && wParam == sessionLock:
		w.locked.Store(true)
	case id == wmSessionChange && wParam == sessionUnlock:
		w.locked.Store(false)
	case id == wmSessionChange && wParam == sessionRemoteShadow:
		w.shadowed.Store(true)
	}
	loop.Signal(w.wake)
	result, _, _ := w.user32.NewProc("DefWindowProcW").Call(window, id, wParam, lParam)
	return result
}
