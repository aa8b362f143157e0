"""CXIP, version 1, for services and clients of a hansa node: Python 3.9 or later, nothing but the standard library.

Written from docs/protocols/cxip.md alone, so that the page is known to be enough. `Service` performs operations, `Client`
submits transactions; both keep their connection by themselves, repeat what a broken one may have lost, and do nothing
twice. `Connection` is one connection, for whoever wants to do all that differently.

Documents go in as text, bytes or an ElementTree element, and come out as bytes; `parse` makes an element of them.
"""

import collections
import concurrent.futures
import heapq
import itertools
import os
import random
import re
import socket
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
CONTENT_BYTES_MAX = 17_039_360
CONNECT_SECONDS_MAX = 10
PROBE_SECONDS = 10
SILENCE_SECONDS_MAX = 30
PAUSE_SECONDS_MIN, PAUSE_SECONDS_MAX = 0.01, 2.0
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


def fresh_transaction():
    """A new id of a transaction: a ULID."""
    value = (time.time_ns() // 1_000_000 << 80) | int.from_bytes(os.urandom(10), "big")
    return "".join("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[value >> shift & 31] for shift in range(125, -1, -5))


# --- one connection


class Connection:
    """One connection: header, numbers, credit both ways, acknowledgements, and finding out that the node is gone.

    `heard` is called for everything that comes, from the thread that reads, as heard(connection, event, number, what):
      "acknowledged", number of our message, attributes;
      "refused", number of our message or 0, Fault;
      "message", its number, (correlation, Content): answer it with `acknowledge` or `refuse`;
      "lost", 0, reason: the last one.
    """

    def __init__(self, address, name, password=None, heard=None):
        host, port = address.rsplit(":", 1)
        self.welcome = {}
        self._heard = heard or (lambda *_: None)
        self._lock = threading.Condition()
        self._outgoing = collections.deque()
        self._sent = self._received = self._credit = 0
        self._unacknowledged = set()
        self._granted = GRANTED
        self._over = None
        self._last_heard = time.monotonic()
        self._socket = socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS_MAX)
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._shake_hands(name, password)
            self._socket.settimeout(None)
        except BaseException:
            self._socket.close()
            raise
        for work in (self._read_all, self._write_all):
            threading.Thread(target=work, name=f"cxip {name}", daemon=True).start()

    def _shake_hands(self, name, password):
        inside = b"" if password is None else child("Password", password)
        with self._lock:
            number = self._put(REQUEST, 0, envelope("Connect", {"name": name, "version": VERSION}, inside))
        self._socket.sendall(b"".join(self._outgoing))
        self._outgoing.clear()
        while True:
            kind, _, correlation, content = self._read_one()
            if kind != ACKNOWLEDGE or not content or correlation not in (number, 0):
                continue
            content = Content(content)
            if content.name == "Refused":
                raise content.fault("internal")
            self.welcome = content.attributes
            self._unacknowledged.discard(number)
            return

    # What is sent. Whoever calls holds no lock of ours.

    def may_send(self):
        """Whether the node's credit admits a message now."""
        with self._lock:
            return len(self._unacknowledged) < self._credit

    def send(self, kind, content, correlation=0):
        """Send a message that the credit admits; says its number."""
        if len(content) > CONTENT_BYTES_MAX:
            raise Fault("message-too-large", f"the content has {len(content)} bytes")
        with self._lock:
            return self._put(kind, correlation, content)

    def acknowledge(self, message, **attributes):
        with self._lock:
            self._put(ACKNOWLEDGE, message, envelope("Acknowledged", attributes))

    def refuse(self, message, fault):
        with self._lock:
            self._put(ACKNOWLEDGE, message, envelope("Refused", {"code": fault.code}, child("Message", fault.message)))

    def grant_nothing(self):
        """Ask the node to send nothing more."""
        with self._lock:
            self._granted = 0
            self._put(ACKNOWLEDGE, 0, b"")

    def close(self):
        """End it; what was queued is still sent."""
        with self._lock:
            self._over = self._over or "closed here"
            self._lock.notify_all()

    def _put(self, kind, correlation, content):
        self._sent += 1
        if kind != ACKNOWLEDGE:
            self._unacknowledged.add(self._sent)
        header = HEADER.pack(MAGIC, VERSION, kind, 0, self._sent, correlation, len(content), self._granted)
        self._outgoing.append(header + content)
        self._lock.notify_all()
        return self._sent

    def _write_all(self):
        """The thread that writes: reading never waits for it. It also asks for signs of life."""
        probed = time.monotonic()
        try:
            while True:
                with self._lock:
                    if not self._outgoing and not self._over:
                        self._lock.wait(1)
                    silence = time.monotonic() - self._last_heard
                    if silence > SILENCE_SECONDS_MAX:
                        self._over = "the node shows no sign of life"
                    elif silence > PROBE_SECONDS and time.monotonic() - probed > PROBE_SECONDS and not self._over:
                        probed = time.monotonic()
                        self._put(ACKNOWLEDGE, 0, b"")
                    batch = b"".join(self._outgoing)
                    self._outgoing.clear()
                    over = self._over
                if batch:
                    self._socket.sendall(batch)
                if over:
                    self._socket.shutdown(socket.SHUT_RDWR)
                    return
        except OSError:
            # Whoever reads finds out as well, and tells.
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    # What is received.

    def _read_all(self):
        try:
            while True:
                self._take_in(*self._read_one())
        except (OSError, Lost, Fault, ValueError) as error:
            reason = self._over or str(error)
        self.close()
        self._heard(self, "lost", 0, reason)
        self._socket.close()

    def _read_one(self):
        header = self._read(HEADER.size)
        magic, version, kind, flags, number, correlation, length, credit = HEADER.unpack(header)
        if magic != MAGIC or version != VERSION or not 1 <= kind <= 8 or flags or length > CONTENT_BYTES_MAX:
            raise Lost("what came is no message of CXIP, version 1")
        if number <= self._received:
            raise Lost(f"message {number} came after message {self._received}")
        content = self._read(length)
        with self._lock:
            self._received, self._credit, self._last_heard = number, credit, time.monotonic()
            self._lock.notify_all()
        return kind, number, correlation, content

    def _read(self, length):
        # Nothing is reserved for what a header announces.
        parts = []
        while length:
            part = self._socket.recv(min(length, 65_536))
            if not part:
                raise Lost("the node closed the connection")
            self._last_heard = time.monotonic()
            parts.append(part)
            length -= len(part)
        return b"".join(parts)

    def _take_in(self, kind, number, correlation, content):
        if kind == ACKNOWLEDGE and not content:
            if correlation == 0:
                with self._lock:
                    self._put(ACKNOWLEDGE, number, b"")
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


# --- what services and clients have in common


class Attached:
    """Keeps a connection and sends what is ready over it; on a new one, once more what the last may have lost."""

    def __init__(self, address, name, password=None, patience=0):
        self._address, self._name, self._password = address, name, password
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
        return Connection(self._address, self._name, self._password, self._on_heard)

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
            elif event == "refused" and number == 0:
                connection.close()
            elif event == "refused":
                self._take_refused(number, what)
            else:
                self._take_message(connection, number, *what)
            self._changed.notify_all()

    def _keep(self, connection):
        pause = PAUSE_SECONDS_MIN
        while True:
            with self._changed:
                # It may be lost already; then the first message finds out.
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
                except (OSError, Lost, Fault):
                    continue

    def _send_all(self):
        """Send whatever becomes ready until the connection is lost; True where it shall end."""
        while self._connection is not None and not (self._closing and self._is_idle()):
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

    def __init__(self, kind, name, transaction, definition=None, document=None):
        self.kind, self.name, self.transaction = kind, name, transaction
        self.definition, self.document = definition, document
        self.taken = concurrent.futures.Future()
        self.answer = concurrent.futures.Future()

    def message(self):
        if self.name == "Submit" and not self.taken.done():
            attributes = {"definition": self.definition, "transaction": self.transaction}
            return REQUEST, envelope("Submit", attributes, self.document)
        name = "Await" if self.name == "Submit" else self.name
        return self.kind, envelope(name, {"transaction": self.transaction})

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
    """Submits transactions to a node. Its methods may be called from any thread. `patience` is for how many seconds it
    waits for a node that does not answer yet."""

    def __init__(self, address, name, password=None, patience=0):
        self._ready = collections.deque()
        self._open = {}  # asks by identity, in the order in which they were asked
        self._by_number = {}
        super().__init__(address, name, password, patience)

    def submit(self, definition, document, transaction=None, timeout=None):
        """Begin a transaction; returns when the node has it. Keep the id that you pass in to be able to repeat it."""
        document = document_bytes(document)
        ask = self._ask(Ask(REQUEST, "Submit", transaction or fresh_transaction(), definition, document))
        ask.taken.result(timeout)
        return Submission(ask)

    def ending(self, transaction, timeout=None):
        """How a transaction ended; waits for its end."""
        return self._ask(Ask(REQUEST, "Await", transaction)).answer.result(timeout)

    def query(self, transaction, timeout=None):
        """How far a transaction is: a dictionary with state, operations and operations-ended."""
        return self._ask(Ask(REQUEST, "Query", transaction)).answer.result(timeout)

    def cancel(self, transaction, timeout=None):
        """End a transaction."""
        self._ask(Ask(CANCEL, "Cancel", transaction)).taken.result(timeout)

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
        if ask.name == "Cancel":
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
    returns the answer's document or raises a Fault. Handlers run in threads, `credit` at once."""

    def __init__(self, address, service, handlers, public=False, credit=16, password=None,
                 patience=0):
        self._service, self._handlers, self._public, self._credit = service, handlers, public, credit
        self._workers = concurrent.futures.ThreadPoolExecutor(credit, thread_name_prefix=f"cxip {service}")
        self._working = {}  # invocation: (Request, number of the Perform or 0)
        self._replies = {}  # invocation: (content, number of the Perform or 0), not taken by the node yet
        self._answered = collections.OrderedDict()  # invocation: content, taken
        self._outbox = collections.deque()
        self._by_number = {}
        self._registering = None
        super().__init__(address, service, password, patience)

    def wait_registered(self, timeout=None):
        """Wait until the node has the registration."""
        with self._changed:
            return self._changed.wait_for(lambda: self._connection is not None and self._registering is None, timeout)

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
        else:
            self._confirm(self._by_number.pop(number, None))

    def _take_refused(self, number, fault):
        if number == self._registering:
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
