"""What every test here shares: the broker as its environment names it, and the notes
that docs/compatibility.md is made of."""

import contextlib
import os
import secrets
import unittest

from azure.core.exceptions import HttpResponseError
from azure.identity import ManagedIdentityCredential

VAULT = os.environ["OPENSKR_VAULT"]
AUTHORITY = os.environ["OPENSKR_AUTHORITY"]
TENANT = os.environ["OPENSKR_TENANT"]
CLIENT_ID = os.environ["OPENSKR_CLIENT_ID"]
CLIENT_SECRET = os.environ["OPENSKR_CLIENT_SECRET"]

CREDENTIAL = ManagedIdentityCredential()  # the harness answers at IDENTITY_ENDPOINT


def fresh(prefix):
    return f"{prefix}-py-{secrets.token_hex(5)}"


class Case(unittest.TestCase):
    @contextlib.contextmanager
    def cell(self, operation, outcome):
        """Proves one cell of the compatibility table. Nothing is noted when it raises."""
        with self.subTest(operation):
            yield
            with open(os.environ["OPENSKR_NOTES"], "a") as notes:
                notes.write(f"Python\t{operation}\t{outcome}\n")

    def operation(self, name):
        return self.cell(name, "works")

    def refusal(self, name):
        """Something that is refused on purpose."""
        return self.cell(name, "refused")

    def difference(self, name):
        """Something that works, but not as at Azure."""
        return self.cell(name, "differs")

    @contextlib.contextmanager
    def fails(self, status, code):
        with self.assertRaises(HttpResponseError) as caught:
            yield
        self.assertEqual((caught.exception.status_code, caught.exception.error.code), (status, code))
