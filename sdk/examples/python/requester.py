"""Submits orders as transactions and prints how each ended:

    python3 requester.py ADDRESS DEFINITION [COUNT [BYTES]]   one line an order: its number, transaction, ending, document;
                                                              BYTES is how long a remark each order has
    python3 requester.py ADDRESS --query TRANSACTION    how far a transaction is
    python3 requester.py ADDRESS --cancel TRANSACTION   end a transaction
    python3 requester.py ADDRESS --signal TRANSACTION NAME DOCUMENT   what an operation of it waits for
    python3 requester.py ADDRESS --publish TOPIC DOCUMENT...          to everybody who is subscribed

credentials.py has the options for accounts and TLS, which may be added to each. The node may be killed and started again meanwhile: what it acknowledged it goes on with, what it did not acknowledge is
submitted again under the same id.
"""

import sys
import xml.etree.ElementTree as ElementTree

import credentials
import cxip


def main(name, shown, address, what, *rest):
    with cxip.Client(address, name, patience=30, **shown) as client:
        if what == "--query":
            status = client.query(rest[0])
            print(status["state"], status["operations-ended"], "of", status["operations"])
        elif what == "--cancel":
            client.cancel(rest[0])
            print("cancelled")
        elif what == "--signal":
            client.signal(*rest)
            print("signalled")
        elif what == "--publish":
            for document in rest[1:]:
                client.publish(rest[0], document)
                print("published", document, flush=True)
        else:
            submit(client, what, *map(int, rest))


def submit(client, definition, count=1, remark_bytes=0):
    submissions = []
    for number in range(1, count + 1):
        order = ElementTree.Element("Order", number=str(number), total=str(number * 10))
        order.text = "x" * remark_bytes or None
        submissions.append(client.submit(definition, order))
        print("submitted", number, submissions[-1].transaction, flush=True)
    for number, submission in enumerate(submissions, 1):
        ending = submission.ending()
        said = ending.document.decode() if ending.document else ending.fault or ""
        print("ended", number, submission.transaction, ending.word, said, flush=True)


if __name__ == "__main__":
    arguments, account, shown = credentials.take(sys.argv[1:], "python requester")
    if len(arguments) < 2:
        sys.exit(__doc__)
    try:
        main(account, shown, *arguments)
    except (OSError, cxip.Fault, cxip.Lost) as error:
        sys.exit(f"{error}\n{error.help}" if getattr(error, "help", None) else str(error))
