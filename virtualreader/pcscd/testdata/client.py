# Copyright 2026 The cardbroker authors
# SPDX-License-Identifier: Apache-2.0
#
# A PC/SC client: it checks what the server does against what pcscd does. What it wants done to reader and card it writes
# to standard output; "ok" at the end.

import os
import sys
import threading
import time

from smartcard.scard import *

PNP = "\\\\?PnP?\\Notification"
READER = "cardbroker Software Reader 00 00"
ECHO = [0x80, 0xEE, 0, 0, 2, 1, 2]


def check(what, got, want):
    if got != want:
        sys.exit("%s = %s, want %s" % (what, got, want))


def code(what, rv, want=SCARD_S_SUCCESS):
    check(what, "%#x" % (rv & 0xFFFFFFFF), "%#x" % (want & 0xFFFFFFFF))


def ask(what):
    print(what, flush=True)


def enter():
    rv, context = SCardEstablishContext(SCARD_SCOPE_USER)
    code("SCardEstablishContext", rv)
    return context


def connect(context, share=SCARD_SHARE_SHARED):
    rv, card, protocol = SCardConnect(context, READER, share, SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1)
    code("SCardConnect", rv)
    check("protocol", protocol, SCARD_PROTOCOL_T1)
    return card


def transmit(card, want=SCARD_S_SUCCESS):
    rv, answer = SCardTransmit(card, SCARD_PCI_T1, ECHO)
    code("SCardTransmit", rv, want)
    if want == SCARD_S_SUCCESS:
        check("answer", answer, [1, 2, 0x90, 0])


def state(context, reader=READER, current=SCARD_STATE_UNAWARE, timeout=0):
    rv, states = SCardGetStatusChange(context, timeout, [(reader, current)])
    return rv, states[0][1]


def basics():
    context = enter()
    code("SCardIsValidContext", SCardIsValidContext(context))
    check("readers", SCardListReaders(context, [])[1], [READER])
    card = connect(context)
    transmit(card)
    rv, reader, status, protocol, atr = SCardStatus(card)
    code("SCardStatus", rv)
    check("ATR", bytes(atr)[:3].hex(), "3b8e80")
    check("SCardStatus", (reader, status & 0xFFFF, protocol), (READER, 0x34, SCARD_PROTOCOL_T1))
    rv, value = SCardGetAttrib(card, SCARD_ATTR_ATR_STRING)
    code("SCardGetAttrib", rv)
    check("attribute", value, atr)
    code("SCardControl", SCardControl(card, SCARD_CTL_CODE(3400), [])[0], SCARD_E_UNSUPPORTED_FEATURE)
    rv, event = state(context)
    check("in use", event & SCARD_STATE_INUSE, SCARD_STATE_INUSE)
    code("SCardDisconnect", SCardDisconnect(card, SCARD_LEAVE_CARD))
    code("SCardReleaseContext", SCardReleaseContext(context))


def transactions():
    a, b = enter(), enter()
    one, two = connect(a), connect(b)
    code("end without begin", SCardEndTransaction(one, SCARD_LEAVE_CARD), SCARD_E_NOT_TRANSACTED)
    code("begin", SCardBeginTransaction(one))
    code("begin again", SCardBeginTransaction(one))
    began, got = threading.Event(), []

    def other():
        began.set()
        code("other's begin", SCardBeginTransaction(two))
        got.append(time.monotonic())
        transmit(two)
        code("other's end", SCardEndTransaction(two, SCARD_LEAVE_CARD))

    thread = threading.Thread(target=other)
    thread.start()
    began.wait()
    for _ in range(3):
        time.sleep(0.02)
        transmit(one)
    code("end", SCardEndTransaction(one, SCARD_LEAVE_CARD))
    time.sleep(0.1)
    check("others who waited", got, [])
    ended = time.monotonic()
    code("outer end", SCardEndTransaction(one, SCARD_LEAVE_CARD))
    thread.join()
    late = got[0] - ended
    if late > 0.7:  # a second after its question the server would tell it to ask again
        sys.exit("the other got its turn %s s after the end, want it at once" % late)
    SCardReleaseContext(a)
    SCardReleaseContext(b)


def exclusive():
    a, b = enter(), enter()
    one = connect(a, SCARD_SHARE_EXCLUSIVE)
    check("exclusive", state(b)[1] & SCARD_STATE_EXCLUSIVE, SCARD_STATE_EXCLUSIVE)
    for share in SCARD_SHARE_SHARED, SCARD_SHARE_EXCLUSIVE, SCARD_SHARE_DIRECT:
        code("other's connect", SCardConnect(b, READER, share, SCARD_PROTOCOL_T1)[0], SCARD_E_SHARING_VIOLATION)
    transmit(one)
    code("to shared", SCardReconnect(one, SCARD_SHARE_SHARED, SCARD_PROTOCOL_T1, SCARD_LEAVE_CARD)[0])
    two = connect(b)
    transmit(two)
    SCardReleaseContext(a)
    transmit(two)
    SCardReleaseContext(b)


def resets():
    a, b = enter(), enter()
    one, two = connect(a), connect(b)
    code("reset", SCardReconnect(one, SCARD_SHARE_SHARED, SCARD_PROTOCOL_T1, SCARD_RESET_CARD)[0])
    transmit(one)
    transmit(two, SCARD_W_RESET_CARD)
    code("status", SCardStatus(two)[0], SCARD_W_RESET_CARD)
    code("begin", SCardBeginTransaction(two), SCARD_W_RESET_CARD)
    code("reconnect", SCardReconnect(two, SCARD_SHARE_SHARED, SCARD_PROTOCOL_T1, SCARD_LEAVE_CARD)[0])
    transmit(two)
    code("disconnect", SCardDisconnect(one, SCARD_UNPOWER_CARD))
    transmit(two, SCARD_W_RESET_CARD)
    SCardReleaseContext(a)
    SCardReleaseContext(b)


def removal():
    context = enter()
    card = connect(context)
    rv, before = state(context)
    ask("take out")
    rv, event = state(context, current=before & ~SCARD_STATE_CHANGED, timeout=10000)
    code("wait for removal", rv)
    check("removal", event & 0xFFFF, SCARD_STATE_CHANGED | SCARD_STATE_EMPTY)
    transmit(card, SCARD_W_REMOVED_CARD)
    code("status", SCardStatus(card)[0], SCARD_W_REMOVED_CARD)
    code("reconnect", SCardReconnect(card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_T1, SCARD_LEAVE_CARD)[0], SCARD_E_NO_SMARTCARD)
    code("connect", SCardConnect(context, READER, SCARD_SHARE_SHARED, SCARD_PROTOCOL_T1)[0], SCARD_E_NO_SMARTCARD)
    rv, alone, protocol = SCardConnect(context, READER, SCARD_SHARE_DIRECT, 0)
    code("direct connect", rv)
    check("protocol of a direct connection", protocol, 0)
    code("disconnect", SCardDisconnect(alone, SCARD_LEAVE_CARD))
    ask("put in")
    rv, event = state(context, current=event & ~SCARD_STATE_CHANGED, timeout=10000)
    code("wait for insertion", rv)
    check("events", event >> 16, (before >> 16) + 2)
    # A pair that was missed shows by the counter.
    rv, again = state(context, current=before & ~SCARD_STATE_CHANGED, timeout=10000)
    code("wait with an old state", rv)
    transmit(card, SCARD_W_REMOVED_CARD)
    code("reconnect", SCardReconnect(card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_T1, SCARD_LEAVE_CARD)[0])
    transmit(card)
    code("disconnect", SCardDisconnect(card, SCARD_LEAVE_CARD))
    SCardReleaseContext(context)


def cancel():
    context, other = enter(), enter()
    rv, now = state(context)
    got = []

    def wait(context):
        got.append(state(context, current=now & ~SCARD_STATE_CHANGED, timeout=2000)[0] & 0xFFFFFFFF)

    one = threading.Thread(target=wait, args=(context,))
    two = threading.Thread(target=wait, args=(other,))
    one.start()
    two.start()
    while one.is_alive(): # a cancel before the wait has begun does nothing
        code("cancel", SCardCancel(context))
        time.sleep(0.05)
    two.join()
    check("results", got, [SCARD_E_CANCELLED & 0xFFFFFFFF, SCARD_E_TIMEOUT & 0xFFFFFFFF])
    SCardReleaseContext(context)
    SCardReleaseContext(other)


def hot_plug():
    context = enter()
    for request, readers in ("plug", 2), ("unplug", 1), ("plug back", 2):
        threading.Timer(0.3, ask, (request,)).start()
        rv, event = state(context, PNP, timeout=10000)
        code("wait for a reader", rv)
        check("PnP", event & SCARD_STATE_CHANGED, SCARD_STATE_CHANGED)
        check("readers", len(SCardListReaders(context, [])[1]), readers)
    SCardReleaseContext(context)


def fork():
    # A child shares the connection of its parent, with pcscd too; its end is not the parent's, and a context of its own
    # is its own.
    context = enter()
    card = connect(context)
    code("begin", SCardBeginTransaction(card))
    code("end", SCardEndTransaction(card, SCARD_LEAVE_CARD))
    child = os.fork()
    if child == 0:
        transmit(connect(enter()))
        os._exit(0)
    check("the child", os.waitpid(child, 0)[1], 0)
    transmit(card)
    code("release", SCardReleaseContext(context))


def death():
    context = enter()
    card = connect(context)
    child = os.fork()
    if child == 0:
        code("begin", SCardBeginTransaction(connect(enter())))
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    code("begin", SCardBeginTransaction(card), SCARD_W_RESET_CARD)
    SCardReleaseContext(context)


for test in basics, transactions, exclusive, resets, removal, cancel, fork, death, hot_plug:
    ask("# " + test.__name__)
    test()
print("ok")
