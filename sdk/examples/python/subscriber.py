"""Takes what is published to a topic and writes it down, each publication once, in order:

    python3 subscriber.py ADDRESS TOPIC NAME [DATABASE]

It keeps its place in the topic under NAME, also while it is away. A publication may come again when a connection or a
process broke before it was acknowledged; its number in the database tells. credentials.py has the options for accounts
and TLS, which may be added.
"""

import signal
import sqlite3
import sys
import threading

import credentials
import cxip


def main(account, shown, address, topic, name, path="publications.sqlite"):
    database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    database.execute("CREATE TABLE IF NOT EXISTS taken (number INTEGER PRIMARY KEY, publication TEXT, document BLOB)")

    def take(notification):
        row = (notification.number, notification.publication, notification.document)
        database.execute("INSERT OR IGNORE INTO taken VALUES (?, ?, ?)", row)
        print("took", notification.number, notification.document.decode(), flush=True)

    end = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end.set())
    with cxip.Subscriber(address, topic, name, take, patience=30, account=account, **shown):
        print(f"{name} is subscribed to {topic}; end it with Ctrl-C", flush=True)
        end.wait()


if __name__ == "__main__":
    arguments, account, shown = credentials.take(sys.argv[1:], None)
    if len(arguments) < 3:
        sys.exit(__doc__)
    try:
        main(account, shown, *arguments)
    except (OSError, cxip.Fault, cxip.Lost) as error:
        sys.exit(str(error))
