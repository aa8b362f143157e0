"""CXIP, version 1, for services and clients of a hansa node: Python 3.9 or later, nothing but the standard library.

Written from docs/protocols/cxip.md alone, so that the page is known to be enough. `Service` performs operations, `Client`
submits transactions, signals and publishes, `Subscriber` takes what is published; all keep their connection by themselves,
repeat what a broken one may have lost, and do nothing twice. `Connection` is one connection, for whoever wants to do all that differently.

Documents go in as text, bytes or an ElementTree element, and come out as bytes; `parse` makes an element of them.
"""

import collections
import concurrent.futures
import heapq
import itertools
import os
import random
import re
import select
import socket
import ssl
import struct
import threading
import time
import xml.etree.ElementTree as ElementTree
from xml.sax.saxutils import escape, quoteattr

NAMESPACE = "urn:hansa:cxip:1"
MAGIC = b"CXIP"
VERSION = 1

# Message types.
REQUEST, REPLY, CANCEL, PUBLISH, NOTIFY, SUBSCRIBE, UNSUBSCRIBE, ACKNOWLEDGE = range(1, 9)

HEADER = struct.Struct(">4sBBHQQII")
# The flag of a fragment behind which more come.
MORE = 1
CONTENT_BYTES_MAX = 17_039_360
FRAGMENT_BYTES_MAX = 65_536
MESSAGES_IN_FRAGMENTS_MAX = 4
CONNECT_SECONDS_MAX = 10
PROBE_SECONDS = 10
SILENCE_SECONDS_MAX = 30
PAUSE_SECONDS_MIN, PAUSE_SECONDS_MAX = 0.01, 2.0
# With more than this not written yet, nothing is sent that can wait.
UNSENT_BYTES_HIGH = 1_048_576
# How many messages the node may have unacknowledged towards us. We acknowledge at once, so it matters little.
GRANTED = 1_024
# Answers that a service remembers in memory, so that an invocation that comes again is not performed again.
ANSWERS_REMEMBERED = 10_000


class Fault(Exception):
    """What went wrong, as the node and services tell it: a stable code, words, perhaps help and a place."""

    def __init__(self, code, message, help=None, line=None, column=None, retry_after_ms=None):
        super().__init__(f"{message} [{code}]")
        self.code, self.message, self.help = code, message, help
        self.line, self.column, self.retry_after_ms = line, column, retry_after_ms


class Lost(Exception):
    """The connection is over."""


# --- documents and contents


def document_bytes(document):
    """A document as it travels: UTF-8, without XML declaration, in no namespace but those that it declares itself."""
    if isinstance(document, ElementTree.Element):
        document = ElementTree.tostring(document, encoding="unicode")
    if isinstance(document, bytes):
        document = document.decode("utf-8")
    return re.sub(r"\A\ufeff?\s*<\?xml\s.*?\?>", "", document, count=1, flags=re.DOTALL).strip().encode("utf-8")


def parse(document):
    """A document as an ElementTree element."""
    return ElementTree.fromstring(document)


def envelope(name, attributes, inside=b""):
    """A content: the element `name` in CXIP's namespace, around whatever is inside. What has no value is left out."""
    given = "".join(f" {key}={quoteattr(str(value))}" for key, value in attributes.items() if value is not None)
    start = f'<cx:{name} xmlns:cx="{NAMESPACE}"{given}'.encode("utf-8")
    return start + b">" + inside + f"</cx:{name}>".encode("utf-8") if inside else start + b"/>"


def child(name, text):
    return f"<cx:{name}>{escape(text)}</cx:{name}>".encode("utf-8")


class Content:
    """A content that was read: its name, its attributes, and what is inside, both as elements and byte for byte."""

    def __init__(self, content):
        content.decode("utf-8")
        if b"<!DOCTYPE" in content:
            raise Fault("message-malformed", "a content has no DOCTYPE")
        try:
            root = ElementTree.fromstring(content)
        except ElementTree.ParseError as error:
            raise Fault("message-malformed", f"the content is not well formed: {error}") from None
        prefix = "{" + NAMESPACE + "}"
        if not root.tag.startswith(prefix):
            raise Fault("message-malformed", f"{root.tag} is not in the namespace {NAMESPACE}")
        self.name = root.tag[len(prefix):]
        self.attributes = dict(root.attrib)
        self.root = root
        self._content = content

    def need(self, name):
        try:
            return self.attributes[name]
        except KeyError:
            raise Fault("message-malformed", f"{self.name} has no attribute {name}") from None

    @property
    def inside(self):
        """The document that is wrapped, byte for byte, without the white space around it."""
        tag = re.compile(rb"\A\s*(?:<\?xml\s.*?\?>\s*)?<(?:[^'\"<>]|'[^']*'|\"[^\"]*\")*>", re.DOTALL)
        start = tag.match(self._content).end()
        return self._content[start:self._content.rindex(b"</")].strip()

    def fault(self, code, element=None):
        """The fault that this content, or an element inside, tells."""
        element = self.root if element is None else element
        text = lambda name: element.findtext("{" + NAMESPACE + "}" + name)
        number = lambda name: int(element.get(name)) if element.get(name) else None
        return Fault(element.get("code", code), text("Message") or "no reason is given", text("Help"),
                     number("line"), number("column"), number("retry-after-ms"))


def fresh_id():
    """A new id of a transaction or a publication: a ULID."""
    value = (time.time_ns() // 1_000_000 << 80) | int.from_bytes(os.urandom(10), "big")
    return "".join("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[value >> shift & 31] for shift in range(125, -1, -5))


# --- one connection


class Connection:
    """One connection: header, numbers, fragments, credit both ways, acknowledgements, and finding out that the node is gone.

    `heard` is called for everything that comes, from the connection's own thread, as heard(connection, event, number, what):
      "acknowledged", number of our message, attributes;
      "refused", number of our message or 0, Fault;
      "message", its number, (correlation, Content): answer it with `acknowledge` or `refuse`;
      "lost", 0, reason: the last one.
    """

    def __init__(self, address, name, password=None, tls=None, heard=None):
        host, port = address.rsplit(":", 1)
        host = host.strip("[]")
        self.welcome = {}
        self._heard = heard or (lambda *_: None)
        self._lock = threading.RLock()
        self._outgoing = collections.deque()  # messages that were not written yet
        self._outgoing_bytes = 0
        self._sent = self._received = self._credit = 0
        self._unacknowledged = set()
        self._partial = {}  # messages that have come in part, by number: (type, correlation, pieces)
        self._granted = GRANTED
        self._over = None
        self._incoming = bytearray()
        self._messages = collections.deque()  # whole, and not yet taken in
        self._last_heard = time.monotonic()
        self._channel = Channel(socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS_MAX), tls, host)
        try:
            self._shake_hands(name, password)
        except BaseException:
            self._channel.close()
            raise
        threading.Thread(target=self._work, name=f"cxip {name}", daemon=True).start()

    def _shake_hands(self, name, password):
        until = time.monotonic() + CONNECT_SECONDS_MAX
        inside = b"" if password is None else child("Password", password)
        number = self._put(REQUEST, 0, envelope("Connect", {"name": name, "version": VERSION}, inside))
        while True:
            self._turn()
            while self._messages:
                kind, _, correlation, content = self._messages.popleft()
                if kind != ACKNOWLEDGE or not content or correlation not in (number, 0):
                    continue
                content = Content(content)
                if content.name == "Refused":
                    raise content.fault("internal")
                self.welcome = content.attributes
                self._unacknowledged.discard(number)
                return
            if time.monotonic() > until:
                raise Lost("the node does not answer the Connect")

    # What is sent.

    @property
    def is_over(self):
        return self._over is not None

    def may_send(self):
        """Whether the node's credit, and what is not written yet, admit a message now."""
        with self._lock:
            return len(self._unacknowledged) < self._credit and self._outgoing_bytes < UNSENT_BYTES_HIGH

    def send(self, kind, content, correlation=0):
        """Send a message that may be sent; says its number."""
        if len(content) > CONTENT_BYTES_MAX:
            raise Fault("message-too-large", f"the content has {len(content)} bytes")
        return self._put(kind, correlation, content)

    def acknowledge(self, message, **attributes):
        self._put(ACKNOWLEDGE, message, envelope("Acknowledged", attributes))

    def refuse(self, message, fault):
        attributes = {"code": fault.code, "retry-after-ms": fault.retry_after_ms}
        self._put(ACKNOWLEDGE, message, envelope("Refused", attributes, child("Message", fault.message)))

    def grant_nothing(self):
        """Ask the node to send nothing more."""
        with self._lock:
            self._granted = 0
            self._put(ACKNOWLEDGE, 0, b"")

    def close(self):
        """End it; what was queued is still sent."""
        with self._lock:
            self._over = self._over or "closed here"
        self._channel.wake()

    def _put(self, kind, correlation, content):
        with self._lock:
            self._sent += 1
            if kind != ACKNOWLEDGE:
                self._unacknowledged.add(self._sent)
            for at in range(0, len(content) or 1, FRAGMENT_BYTES_MAX):
                piece = content[at:at + FRAGMENT_BYTES_MAX]
                flags = MORE if at + len(piece) < len(content) else 0
                header = (MAGIC, VERSION, kind, flags, self._sent, correlation, len(piece), self._granted)
                self._outgoing.append(HEADER.pack(*header) + piece)
                self._outgoing_bytes += HEADER.size + len(piece)
            number = self._sent
        self._channel.wake()
        return number

    # What is received.

    def _work(self):
        """The connection's thread: reads and writes, whichever is possible, so that neither waits for the other."""
        probed = self._last_heard
        reason = "closed here"
        try:
            while not self._over:
                self._turn()
                while self._messages:
                    self._take_in(*self._messages.popleft())
                now = time.monotonic()
                if now - self._last_heard > SILENCE_SECONDS_MAX:
                    raise Lost("the node shows no sign of life")
                if min(now - self._last_heard, now - probed) > PROBE_SECONDS:
                    probed = now
                    self._put(ACKNOWLEDGE, 0, b"")
            self._turn()
            self._channel.say_goodbye()
        except (OSError, Lost, Fault, ValueError) as error:
            reason = str(error)
        self._over = self._over or reason
        self._heard(self, "lost", 0, reason)
        self._channel.close()

    def _turn(self):
        """Write what is queued, and take apart what has come."""
        with self._lock:
            batch = b"".join(self._outgoing)
            self._outgoing.clear()
        came = self._channel.exchange(batch, self._over is not None)
        with self._lock:
            self._outgoing_bytes = sum(map(len, self._outgoing)) + self._channel.unsent
        if came:
            self._last_heard = time.monotonic()
            self._incoming += came
            while self._cut_off_one():
                pass

    def _cut_off_one(self):
        if len(self._incoming) < HEADER.size:
            return False
        magic, version, kind, flags, number, correlation, length, credit = HEADER.unpack_from(self._incoming)
        wrong = magic != MAGIC or version != VERSION or not 1 <= kind <= 8 or flags & ~MORE
        if wrong or length > FRAGMENT_BYTES_MAX:
            raise Lost("what came is no message of CXIP, version 1")
        if len(self._incoming) < HEADER.size + length:
            return False
        piece = bytes(self._incoming[HEADER.size:HEADER.size + length])
        del self._incoming[:HEADER.size + length]
        with self._lock:
            self._credit = credit
        if number > self._received:
            self._received = number
            pieces = []
        else:
            begun, answers, pieces = self._partial.pop(number, (None, None, None))
            if (begun, answers) != (kind, correlation):
                raise Lost(f"message {number} came after message {self._received}")
        pieces.append(piece)
        if not flags:
            self._messages.append((kind, number, correlation, b"".join(pieces)))
        elif len(self._partial) == MESSAGES_IN_FRAGMENTS_MAX or sum(map(len, pieces)) > CONTENT_BYTES_MAX:
            raise Lost("the node sends more in fragments than it may")
        else:
            self._partial[number] = (kind, correlation, pieces)
        return True

    def _take_in(self, kind, number, correlation, content):
        if kind == ACKNOWLEDGE and not content:
            if correlation == 0:
                self._put(ACKNOWLEDGE, number, b"")
            # Credit has come with it, for which somebody may wait.
            self._heard(self, "credit", 0, None)
            return
        if kind == ACKNOWLEDGE:
            content = Content(content)
            with self._lock:
                known = correlation in self._unacknowledged
                self._unacknowledged.discard(correlation)
            if content.name == "Refused":
                if known or correlation == 0:
                    self._heard(self, "refused", correlation, content.fault("internal"))
            elif known:
                self._heard(self, "acknowledged", correlation, content.attributes)
            return
        try:
            content = Content(content)
        except (Fault, ValueError) as error:
            self.refuse(number, error if isinstance(error, Fault) else Fault("document-encoding", str(error)))
            return
        self._heard(self, "message", number, (correlation, content))


class Channel:
    """A socket, with TLS or without, that one thread reads and writes and others may wake."""

    def __init__(self, connected, tls, host):
        self._socket = connected
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._woken, self._wakes = socket.socketpair()
        self._woken.setblocking(False)
        self._wakes.setblocking(False)
        self._unwritten = bytearray()
        self._tls = None
        if tls is not None:
            # TLS is done here in memory, because its object must not be used by two threads.
            self._tls_in, self._tls_out = ssl.MemoryBIO(), ssl.MemoryBIO()
            self._tls = tls.wrap_bio(self._tls_in, self._tls_out, server_hostname=host)
        self._plain = bytearray()  # to be encrypted

    @property
    def unsent(self):
        return len(self._unwritten) + len(self._plain)

    def wake(self):
        try:
            self._wakes.send(b"w")
        except OSError:
            pass  # it is awake, or closed

    def exchange(self, batch, until_written):
        """Write `batch`, as far as the other side takes it or, where that is wanted, to its end; what came meanwhile."""
        self._plain += batch
        came = self._advance()
        until = time.monotonic() + 1
        while not came:
            reads, writes = [self._socket, self._woken], [self._socket] if self._unwritten else []
            reads, writes, _ = select.select(reads, writes, [], max(until - time.monotonic(), 0))
            if self._woken in reads:
                self._woken.recv(4_096)
            if writes:
                self._write()
            if self._socket in reads:
                data = self._socket.recv(262_144)
                if not data:
                    raise Lost("the node closed the connection")
                came = self._decrypted(data)
            if time.monotonic() >= until or not (until_written and self.unsent):
                break
        return came

    def _advance(self):
        came = self._decrypted(b"") if self._tls else b""
        self._write()
        return came

    def _decrypted(self, data):
        if not self._tls:
            return data
        self._tls_in.write(data)
        came = bytearray()
        try:
            while self._plain:
                written = self._tls.write(self._plain)
                del self._plain[:written]
            while True:
                part = self._tls.read(262_144)
                if not part:
                    raise Lost("the node closed the connection")
                came += part
        except ssl.SSLWantReadError:
            pass
        self._unwritten += self._tls_out.read()
        return bytes(came)

    def _write(self):
        if not self._tls:
            self._unwritten += self._plain
            self._plain.clear()
        try:
            while self._unwritten:
                written = self._socket.send(memoryview(self._unwritten)[:1_048_576].tobytes())
                del self._unwritten[:written]
        except BlockingIOError:
            pass

    def say_goodbye(self):
        self._socket.shutdown(socket.SHUT_WR)

    def close(self):
        for each in (self._socket, self._woken, self._wakes):
            each.close()


# --- what services and clients have in common


class Attached:
    """Keeps a connection and sends what is ready over it; on a new one, once more what the last may have lost."""

    def __init__(self, address, name, password=None, tls=None, patience=0):
        self._address, self._name, self._password, self._tls = address, name, password, tls
        self._changed = threading.Condition()
        self._connection = None
        self._closing = False
        self._postponed = []  # (when, tie, what)
        self._ties = itertools.count()
        # The first connection is made here, so that who calls hears of a wrong address or password.
        first = self._connect_first(time.monotonic() + patience)
        self._keeper = threading.Thread(target=self._keep, args=(first,), name=f"cxip {name} keeper", daemon=True)
        self._keeper.start()

    # What differs; each is called with self._changed held.

    def _begin(self, connection):
        """A new connection is there."""

    def _next(self):
        """What to send next: (what, kind, content, correlation), or None."""

    def _sent(self, what, number):
        """It was sent under this number."""

    def _take_acknowledged(self, number, attributes):
        """It was taken."""

    def _take_refused(self, number, fault):
        """It was refused. What is to be sent again later goes to self._postpone."""

    def _take_message(self, connection, number, correlation, content):
        """The node says something."""

    def _again(self, what):
        """What was postponed is due."""

    def _denied(self, fault):
        """The node does not let us in, though it did before. It is tried again."""

    # What is the same.

    def _connect_first(self, until):
        while True:
            try:
                return self._connect()
            except (OSError, Lost):
                if time.monotonic() >= until:
                    raise
                time.sleep(random.uniform(0.05, 0.1))

    def _connect(self):
        return Connection(self._address, self._name, self._password, self._tls, self._on_heard)

    def _postpone(self, what, retry_after_ms):
        pause = retry_after_ms / 1_000 * random.uniform(1, 2)
        heapq.heappush(self._postponed, (time.monotonic() + pause, next(self._ties), what))
        self._changed.notify_all()

    def _on_heard(self, connection, event, number, what):
        with self._changed:
            if event == "lost":
                if connection is self._connection:
                    self._connection = None
            elif connection is not self._connection:
                return
            elif event == "acknowledged":
                self._take_acknowledged(number, what)
            elif event == "credit":
                pass  # the keeper looks
            elif event == "refused" and number == 0:
                connection.close()
            elif event == "refused":
                self._take_refused(number, what)
            else:
                try:
                    self._take_message(connection, number, *what)
                except Fault as fault:
                    connection.refuse(number, fault)
            self._changed.notify_all()

    def _keep(self, connection):
        pause = PAUSE_SECONDS_MIN
        while True:
            with self._changed:
                self._connection = connection
                self._begin(connection)
                if self._send_all():
                    connection.close()
                    return
            while True:
                time.sleep(random.uniform(pause / 2, pause))
                pause = min(pause * 2, PAUSE_SECONDS_MAX)
                if self._closing:
                    return
                try:
                    connection = self._connect()
                    pause = PAUSE_SECONDS_MIN
                    break
                except Fault as fault:
                    with self._changed:
                        self._denied(fault)
                except (OSError, Lost):
                    continue

    def _send_all(self):
        """Send whatever becomes ready until the connection is lost; True where it shall end."""
        # A connection that was lost before it was ours has told nobody.
        while self._connection is not None and not self._connection.is_over:
            if self._closing and self._is_idle():
                break
            while self._postponed and self._postponed[0][0] <= time.monotonic():
                self._again(heapq.heappop(self._postponed)[2])
            ready = self._next() if self._connection.may_send() else None
            if ready is None:
                due = self._postponed[0][0] - time.monotonic() if self._postponed else None
                self._changed.wait(due if due is None else max(due, 0))
                continue
            what, kind, content, correlation = ready
            try:
                self._sent(what, self._connection.send(kind, content, correlation))
            except Fault as fault:
                self._unsendable(what, fault)
        return self._closing

    def _is_idle(self):
        return True

    def _unsendable(self, what, fault):
        raise fault

    def close(self, timeout=5):
        """End, when what has been begun is done, or after so many seconds."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._keeper.join(timeout)
        with self._changed:
            if self._connection is not None:
                self._connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


# --- a client


class Ending:
    """How a transaction ended: `word` is completed, failed, timed-out or cancelled."""

    def __init__(self, content):
        self.word = content.need("ending")
        self.document = content.inside if self.word == "completed" else None
        fault = content.root.find("{" + NAMESPACE + "}Fault") if self.word == "failed" else None
        self.fault = content.fault("internal", fault) if fault is not None else None


class Ask:
    """Something that a client asks for, until it is answered."""

    def __init__(self, kind, name, attributes, document=b""):
        self.kind, self.name, self.attributes, self.document = kind, name, attributes, document
        self.transaction = attributes.get("transaction")
        self.taken = concurrent.futures.Future()
        self.answer = concurrent.futures.Future()

    def message(self):
        if self.name == "Submit" and self.taken.done():
            return REQUEST, envelope("Await", {"transaction": self.transaction})
        return self.kind, envelope(self.name, self.attributes, self.document)

    @property
    def has_reply(self):
        """Whether something comes after the acknowledgement."""
        return self.name in ("Submit", "Await", "Query")

    def fail(self, fault):
        for future in (self.taken, self.answer):
            if not future.done():
                future.set_exception(fault)


class Submission:
    """A transaction that the node has for good."""

    def __init__(self, ask):
        self.transaction = ask.transaction
        self._ask = ask

    def ending(self, timeout=None):
        """Wait for its end."""
        return self._ask.answer.result(timeout)


class Client(Attached):
    """Submits transactions to a node. Its methods may be called from any thread. `tls` is an ssl.SSLContext where the node
    wants TLS; `patience` is for how many seconds to wait for a node that does not answer yet."""

    def __init__(self, address, name, password=None, tls=None, patience=0):
        self._ready = collections.deque()
        self._open = {}  # asks by identity, in the order in which they were asked
        self._by_number = {}
        super().__init__(address, name, password, tls, patience)

    def submit(self, definition, document, transaction=None, timeout=None):
        """Begin a transaction; returns when the node has it. Keep the id that you pass in to be able to repeat it."""
        attributes = {"definition": definition, "transaction": transaction or fresh_id()}
        ask = self._ask(Ask(REQUEST, "Submit", attributes, document_bytes(document)))
        ask.taken.result(timeout)
        return Submission(ask)

    def ending(self, transaction, timeout=None):
        """How a transaction ended; waits for its end."""
        return self._ask(Ask(REQUEST, "Await", {"transaction": transaction})).answer.result(timeout)

    def query(self, transaction, timeout=None):
        """How far a transaction is: a dictionary with state, operations and operations-ended."""
        return self._ask(Ask(REQUEST, "Query", {"transaction": transaction})).answer.result(timeout)

    def cancel(self, transaction, timeout=None):
        """End a transaction."""
        self._ask(Ask(CANCEL, "Cancel", {"transaction": transaction})).taken.result(timeout)

    def signal(self, transaction, signal, document, timeout=None):
        """Tell a transaction that something has come for which one of its operations waits."""
        attributes = {"transaction": transaction, "signal": signal}
        self._ask(Ask(REQUEST, "Signal", attributes, document_bytes(document))).taken.result(timeout)

    def publish(self, topic, document, publication=None, public=False, timeout=None):
        """Publish; returns when every subscriber will get it. Keep the id that you pass in to be able to repeat it."""
        attributes = {"topic": topic, "publication": publication or fresh_id(), "public": str(public).lower()}
        self._ask(Ask(PUBLISH, "Publish", attributes, document_bytes(document))).taken.result(timeout)

    def _ask(self, ask):
        with self._changed:
            if self._closing:
                raise Lost("the client is closed")
            self._open[id(ask)] = ask
            self._ready.append(ask)
            self._changed.notify_all()
        return ask

    def _begin(self, connection):
        self._by_number.clear()
        self._postponed.clear()
        self._ready = collections.deque(self._open.values())

    def _next(self):
        if not self._ready:
            return None
        ask = self._ready.popleft()
        kind, content = ask.message()
        return ask, kind, content, 0

    def _sent(self, ask, number):
        self._by_number[number] = ask

    def _take_acknowledged(self, number, attributes):
        ask = self._by_number.get(number)
        if ask is None:
            return
        if not ask.taken.done():
            ask.taken.set_result(attributes)
        if not ask.has_reply:
            self._done(number)

    def _take_refused(self, number, fault):
        ask = self._by_number.pop(number, None)
        if ask is None:
            return
        if fault.retry_after_ms is not None:
            self._postpone(ask, fault.retry_after_ms)
        else:
            self._unsendable(ask, fault)

    def _unsendable(self, ask, fault):
        self._open.pop(id(ask), None)
        ask.fail(fault)

    def _again(self, ask):
        self._ready.append(ask)

    def _take_message(self, connection, number, correlation, content):
        ask = self._by_number.get(correlation)
        if content.name not in ("Response", "Status"):
            connection.refuse(number, Fault("message-out-of-order", "a client is sent Response and Status"))
            return
        connection.acknowledge(number)
        if ask is None or content.attributes.get("transaction") != ask.transaction:
            return
        self._done(correlation)
        if not ask.taken.done():
            ask.taken.set_result({})
        ask.answer.set_result(Ending(content) if content.name == "Response" else content.attributes)

    def _denied(self, fault):
        # Nobody shall wait for what will not come.
        if fault.code == "access-denied":
            for ask in list(self._open.values()):
                self._unsendable(ask, fault)
            self._ready.clear()

    def _done(self, number):
        ask = self._by_number.pop(number)
        self._open.pop(id(ask), None)


# --- a service


class Request:
    """An operation to perform."""

    def __init__(self, content):
        self.operation = content.need("operation")
        # The idempotency key: the same act keeps it, also after service or node were started anew.
        self.invocation = content.need("invocation")
        self.transaction = content.attributes.get("transaction")
        self.definition = content.attributes.get("definition")
        self.attempt = int(content.attributes.get("attempt", 1))
        self.deadline_ms = content.attributes.get("deadline")
        self.organization = content.attributes.get("organization")
        self.document = content.inside
        # Set when nobody waits for the answer any more.
        self.withdrawn = threading.Event()


class Service(Attached):
    """Performs operations under one name: `handlers` is a dictionary from operation to a function of a Request, which
    returns the answer's document or raises a Fault. Handlers run in threads, `credit` at once. It is registered when the
    constructor returns; where the node refuses that, the constructor raises the Fault."""

    def __init__(self, address, service, handlers, public=False, credit=16, password=None,
                 tls=None, patience=0, account=None):
        self._service, self._handlers, self._public, self._credit = service, handlers, public, credit
        self._workers = concurrent.futures.ThreadPoolExecutor(credit, thread_name_prefix=f"cxip {service}")
        self._working = {}  # invocation: (Request, number of the Perform or 0)
        self._replies = {}  # invocation: (content, number of the Perform or 0), not taken by the node yet
        self._answered = collections.OrderedDict()  # invocation: content, taken
        self._outbox = collections.deque()
        self._by_number = {}
        self._registering = None
        self._registered = concurrent.futures.Future()
        super().__init__(address, account or service, password, tls, patience)
        try:
            self._registered.result()
        except Fault:
            self.close(0)
            raise

    def close(self, timeout=5):
        """Take nothing new, finish what was begun, and end."""
        with self._changed:
            if self._connection is not None:
                self._connection.grant_nothing()
        super().close(timeout)
        self._workers.shutdown(wait=False)

    def _begin(self, connection):
        self._by_number.clear()
        self._postponed.clear()
        self._working = {id: (request, 0) for id, (request, _) in self._working.items()}
        self._replies = {id: (content, 0) for id, (content, _) in self._replies.items()}
        self._outbox = collections.deque(self._replies)
        attributes = {"service": self._service, "public": str(self._public).lower(), "credit": self._credit}
        operations = b"".join(child("Operation", operation) for operation in self._handlers)
        self._registering = connection.send(REQUEST, envelope("Register", attributes, operations))

    def _next(self):
        if self._registering is not None or not self._outbox:
            return None
        invocation = self._outbox.popleft()
        if invocation not in self._replies:
            return self._next()
        content, asked = self._replies[invocation]
        return invocation, REPLY, content, asked

    def _sent(self, invocation, number):
        self._by_number[number] = invocation

    def _unsendable(self, invocation, fault):
        if b"<cx:Failed" in self._replies.get(invocation, (b"<cx:Failed", 0))[0]:
            self._confirm(invocation)
            return
        _, asked = self._replies[invocation]
        self._replies[invocation] = (self._failed(invocation, fault), asked)
        self._outbox.append(invocation)

    def _again(self, invocation):
        self._outbox.append(invocation)

    def _is_idle(self):
        return not self._working and not self._replies

    def _confirm(self, invocation):
        reply = self._replies.pop(invocation, None)
        if reply is not None:
            self._answered[invocation] = reply[0]
            while len(self._answered) > ANSWERS_REMEMBERED:
                self._answered.popitem(last=False)

    def _take_acknowledged(self, number, attributes):
        if number == self._registering:
            self._registering = None
            if not self._registered.done():
                self._registered.set_result(None)
        else:
            self._confirm(self._by_number.pop(number, None))

    def _take_refused(self, number, fault):
        if number == self._registering:
            if not self._registered.done():
                self._registered.set_exception(fault)
            self._connection.close()
            return
        invocation = self._by_number.pop(number, None)
        if fault.retry_after_ms is not None:
            self._postpone(invocation, fault.retry_after_ms)
        elif fault.code == "response-refused":
            self._confirm(invocation)
        elif invocation in self._replies:
            self._unsendable(invocation, fault)

    def _take_message(self, connection, number, correlation, content):
        if content.name == "Withdraw":
            invocation = content.need("invocation")
            connection.acknowledge(number, invocation=invocation)
            if invocation in self._working:
                self._working[invocation][0].withdrawn.set()
            self._confirm(invocation)
        elif content.name == "Perform" and self._closing:
            pass  # unanswered, it goes to another
        elif content.name == "Perform":
            request = Request(content)
            connection.acknowledge(number, invocation=request.invocation)
            self._arrive(request, number)
        else:
            connection.refuse(number, Fault("message-out-of-order", "a service is sent Perform and Withdraw"))

    def _arrive(self, request, number):
        id = request.invocation
        if id in self._working:
            self._working[id] = (self._working[id][0], number)
        elif id in self._replies:
            self._replies[id] = (self._replies[id][0], number)
        elif id in self._answered:
            self._replies[id] = (self._answered.pop(id), number)
            self._outbox.append(id)
        else:
            self._working[id] = (request, number)
            self._workers.submit(self._perform, request)

    def _perform(self, request):
        id = request.invocation
        try:
            handler = self._handlers.get(request.operation)
            if handler is None:
                raise Fault("operation-failed", f"{self._service} does not perform {request.operation}")
            document = document_bytes(handler(request))
            content = envelope("Completed", {"invocation": id, "service": self._service}, document)
        except Fault as fault:
            content = self._failed(id, fault)
        except Exception as error:  # whatever a handler does wrong fails its request and nothing else
            content = self._failed(id, Fault("operation-failed", f"{type(error).__name__}: {error}"))
        with self._changed:
            _, asked = self._working.pop(id)
            self._replies[id] = (content, asked)
            if request.withdrawn.is_set():
                self._confirm(id)
            else:
                self._outbox.append(id)
            self._changed.notify_all()

    def _failed(self, invocation, fault):
        attributes = {"invocation": invocation, "service": self._service, "code": fault.code,
                      "line": fault.line, "column": fault.column}
        inside = child("Message", fault.message) + (child("Help", fault.help) if fault.help else b"")
        return envelope("Failed", attributes, inside)


# --- a subscriber


class Notification:
    """Something that was published."""

    def __init__(self, content):
        self.topic = content.need("topic")
        self.organization = content.attributes.get("organization")
        # The place in the topic; it grows.
        self.number = int(content.need("number"))
        # The publisher's id, the same however often it comes.
        self.publication = content.need("publication")
        self.published_ms = int(content.attributes.get("published", 0))
        # How many before this one will never come.
        self.missed = int(content.attributes.get("missed", 0))
        self.document = content.inside


class Subscriber(Attached):
    """Takes what is published to a topic, under a name that keeps its place: `take` is a function of a Notification. When it
    returns, the publication is done with and does not come again; when it raises a Fault with `retry_after_ms`, or anything
    else that is no Fault, it comes again later; any other Fault means that it is not wanted. With a credit of 1, one comes
    after the other, in order."""

    def __init__(self, address, topic, subscriber, take, organization=None, credit=1, password=None, tls=None,
                 patience=0, account=None):
        self._attributes = {"topic": topic, "organization": organization, "subscriber": subscriber}
        self._take, self._credit = take, credit
        self._workers = concurrent.futures.ThreadPoolExecutor(credit, thread_name_prefix=f"cxip {subscriber}")
        self._at_work = 0
        self._subscribing = None
        self._unsubscribing = None
        self._subscribed, self._unsubscribed = concurrent.futures.Future(), concurrent.futures.Future()
        super().__init__(address, account or subscriber, password, tls, patience)
        try:
            self._subscribed.result()
        except Fault:
            self.close(0)
            raise

    def unsubscribe(self, timeout=None):
        """Want no more, for good; then close."""
        with self._changed:
            self._unsubscribing = "ready"
            self._changed.notify_all()
        self._unsubscribed.result(timeout)

    def close(self, timeout=5):
        """Take nothing new, finish what was begun, and end. The subscription stays, and its publications wait."""
        with self._changed:
            if self._connection is not None:
                self._connection.grant_nothing()
        super().close(timeout)
        self._workers.shutdown(wait=False)

    def _begin(self, connection):
        if self._unsubscribing is not None:
            self._unsubscribing = "ready"
            return
        content = envelope("Subscribe", {**self._attributes, "credit": self._credit})
        self._subscribing = connection.send(SUBSCRIBE, content)

    def _next(self):
        if self._unsubscribing != "ready":
            return None
        return "unsubscribe", UNSUBSCRIBE, envelope("Unsubscribe", self._attributes), 0

    def _sent(self, what, number):
        self._unsubscribing = number

    def _again(self, what):
        self._unsubscribing = "ready"

    def _is_idle(self):
        return not self._at_work

    def _take_acknowledged(self, number, attributes):
        if number == self._subscribing and not self._subscribed.done():
            self._subscribed.set_result(None)
        elif number == self._unsubscribing and not self._unsubscribed.done():
            self._unsubscribed.set_result(None)

    def _take_refused(self, number, fault):
        if number == self._unsubscribing:
            if fault.retry_after_ms is not None:
                self._postpone("unsubscribe", fault.retry_after_ms)
            elif not self._unsubscribed.done():
                self._unsubscribed.set_exception(fault)
        elif number == self._subscribing:
            if fault.retry_after_ms is None and not self._subscribed.done():
                self._subscribed.set_exception(fault)
            self._connection.close()

    def _take_message(self, connection, number, correlation, content):
        if content.name != "Notify":
            connection.refuse(number, Fault("message-out-of-order", "a subscriber is sent Notify"))
        elif not self._closing:  # unanswered, it comes again
            self._at_work += 1
            self._workers.submit(self._work, connection, number, Notification(content))

    def _work(self, connection, number, notification):
        try:
            self._take(notification)
            refusal = None
        except Fault as fault:
            refusal = fault
        except Exception as error:  # whatever goes wrong may go right later
            refusal = Fault("operation-failed", f"{type(error).__name__}: {error}", retry_after_ms=1_000)
        # On a connection that is lost this goes nowhere; then the publication comes again.
        if refusal is None:
            connection.acknowledge(number, publication=notification.publication)
        else:
            connection.refuse(number, refusal)
        with self._changed:
            self._at_work -= 1
            self._changed.notify_all()
