"""A service that grants credit to small orders and writes down what it granted, so that nothing is granted twice:

    python3 service.py [ADDRESS] [DATABASE] [--account NAME ...]

Every grant is a row of the database, under the invocation that asked for it. The same invocation may come again, after
the node or this process was killed; then the row answers, and no second one is written. credentials.py has the options for accounts and TLS.
"""

import signal
import sqlite3
import sys
import threading
import xml.etree.ElementTree as ElementTree

import credentials
import cxip

REST, ACCOUNT, CREDENTIALS = credentials.take(sys.argv[1:], "credit")
ADDRESS = REST[0] if REST else "127.0.0.1:4000"
DATABASE = REST[1] if len(REST) > 1 else "grants.sqlite"

writes = threading.Lock()
database = sqlite3.connect(DATABASE, check_same_thread=False, isolation_level=None)
database.execute("CREATE TABLE IF NOT EXISTS grants (invocation TEXT PRIMARY KEY, number TEXT, answer BLOB)")


def check_credit(request):
    order = cxip.parse(request.document)
    if "total" not in order.attrib:
        raise cxip.Fault("operation-failed", "the order has no total")
    granted = "true" if float(order.get("total")) <= 1_000 else "false"
    credit = ElementTree.Element("Credit", number=order.get("number"), granted=granted)
    # The remark of the order, where it has one, goes back with the answer.
    credit.text = order.text
    answer = cxip.document_bytes(credit)
    with writes:
        row = (request.invocation, order.get("number"), answer)
        database.execute("INSERT OR IGNORE INTO grants VALUES (?, ?, ?)", row)
        return database.execute("SELECT answer FROM grants WHERE invocation = ?", row[:1]).fetchone()[0]


def main():
    end = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end.set())
    operations = {"check-credit": check_credit}
    with cxip.Service(ADDRESS, "credit", operations, public=True, patience=30, account=ACCOUNT, **CREDENTIALS):
        print(f"credit performs check-credit for the node at {ADDRESS}; end it with Ctrl-C", flush=True)
        end.wait()


if __name__ == "__main__":
    main()
