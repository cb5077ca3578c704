# Copyright 2026 The cardbroker authors
# SPDX-License-Identifier: Apache-2.0

# Makes PC/SC calls as told on standard input, a JSON list of words for each, and answers with [result, data].
import json
import sys
import time

from smartcard import scard as s

NAMES = {getattr(s, name) & 0xFFFFFFFF: name for name in dir(s) if name.startswith(("SCARD_E_", "SCARD_F_", "SCARD_W_"))}
STATES = {"present": s.SCARD_STATE_PRESENT, "empty": s.SCARD_STATE_EMPTY}
DISPOSITIONS = {"leave": s.SCARD_LEAVE_CARD, "reset": s.SCARD_RESET_CARD}


class Program:
    def __init__(self):
        self.context = None
        self.card = None
        self.protocol = None
        self.count = None  # of insertions and removals, as last seen

    def establish(self):
        rv = 0
        if self.context is None:
            rv, self.context = s.SCardEstablishContext(s.SCARD_SCOPE_USER)
            if rv:
                self.context = None
        return rv

    def forget(self):
        self.context = self.card = None
        return 0, ""

    def connect(self, reader, share="shared"):
        rv = self.establish()
        if rv:
            return rv, ""
        mode = s.SCARD_SHARE_EXCLUSIVE if share == "exclusive" else s.SCARD_SHARE_SHARED
        rv, card, protocol = s.SCardConnect(self.context, reader, mode, s.SCARD_PROTOCOL_T0 | s.SCARD_PROTOCOL_T1)
        if rv == 0:
            self.card, self.protocol = card, protocol
        return rv, ""

    def reconnect(self, disposition="leave"):
        protocols = s.SCARD_PROTOCOL_T0 | s.SCARD_PROTOCOL_T1
        rv, self.protocol = s.SCardReconnect(self.card, s.SCARD_SHARE_SHARED, protocols, DISPOSITIONS[disposition])
        return rv, ""

    def transmit(self, command):
        rv, answer = s.SCardTransmit(self.card, self.protocol, list(bytes.fromhex(command)))
        if rv:
            return rv, ""  # the library leaves a buffer of garbage
        return rv, bytes(x & 0xFF for x in answer).hex()

    def begin(self):
        return s.SCardBeginTransaction(self.card), ""

    def end(self, disposition="leave"):
        return s.SCardEndTransaction(self.card, DISPOSITIONS[disposition]), ""

    def disconnect(self, disposition="leave"):
        if self.card is None:
            return 0, ""
        card, self.card = self.card, None
        return s.SCardDisconnect(card, DISPOSITIONS[disposition]), ""

    def readers(self):
        rv = self.establish()
        if rv:
            return rv, ""
        rv, names = s.SCardListReaders(self.context, [])
        return rv, "\n".join(names)

    def ready(self, reader, wanted="present", than=None):
        """Waits for up to ten seconds until a card is in the reader, or none, and the count is another than that."""
        rv = self.establish()
        state, late = s.SCARD_STATE_UNAWARE, time.monotonic() + 10
        while rv == 0:
            rv, states = s.SCardGetStatusChange(self.context, 1000, [(reader, state)])
            if rv & 0xFFFFFFFF == s.SCARD_E_TIMEOUT & 0xFFFFFFFF and time.monotonic() < late:
                rv = 0
            elif rv == 0:
                state = states[0][1]
                if state & STATES[wanted] and state >> 16 != than:
                    self.count = state >> 16
                    return 0, ""
        return rv, ""

    def empty(self, reader):
        return self.ready(reader, "empty")

    def changed(self, reader, wanted):
        return self.ready(reader, wanted, self.count)


program = Program()
for line in sys.stdin:
    word, *rest = json.loads(line)
    code, data = getattr(program, word)(*rest)
    code &= 0xFFFFFFFF
    print(json.dumps(["ok" if code == 0 else NAMES.get(code, "%08X" % code), data]), flush=True)
