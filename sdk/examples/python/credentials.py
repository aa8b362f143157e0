"""The options with which the programs here say who comes to the node, and over what:

    --account NAME --password-file FILE     the account, where the node has accounts; its password is the first line
    --authority FILE                        speak TLS, and trust nodes for whose certificate this one (PEM) vouches
    --certificate FILE --key FILE           a client certificate (PEM) that opens the account which it names
"""

import argparse
import ssl


def take(arguments, name):
    """What is left of the arguments, the name to come under, and what else `cxip.Client` and the like take of that."""
    options = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    for option in ("--account", "--password-file", "--authority", "--certificate", "--key"):
        options.add_argument(option)
    given, rest = options.parse_known_args(arguments)
    password = None
    if given.password_file:
        with open(given.password_file, encoding="utf-8") as file:
            password = file.readline().rstrip("\r\n")
    tls = None
    if given.authority:
        # The host in the address is compared with the certificate as well.
        tls = ssl.create_default_context(cafile=given.authority)
        if given.certificate:
            tls.load_cert_chain(given.certificate, given.key)
    return rest, given.account or name, {"password": password, "tls": tls}
