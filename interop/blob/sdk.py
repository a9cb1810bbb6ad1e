"""Azure's storage SDK, encrypting and decrypting on the client side.

    sdk.py put CONTAINER   writes blobs of sizes that matter, and prints name, size, SHA-256
    sdk.py get CONTAINER   decrypts every blob, and prints the same

AZURE_STORAGE_CONNECTION_STRING names the account, KEK is a JSON Web Key with its
private half, ALGORITHM what it wraps with.
"""

import hashlib
import json
import os
import random
import sys

from azure.core.exceptions import ResourceExistsError
from azure.keyvault.keys import JsonWebKey
from azure.keyvault.keys.crypto import CryptographyClient, KeyWrapAlgorithm
from azure.storage.blob import ContainerClient

REGION = 4 << 20
SIZES = 1, REGION, REGION + 1, 40_000_000


class Kek:
    """What the storage SDK asks of a key, with the SDK for Key Vault, which computes here."""

    def __init__(self):
        jwk = json.loads(os.environ["KEK"])
        self.kid, self.algorithm = jwk.pop("kid"), os.environ["ALGORITHM"]
        members = {name: bytes.fromhex(value) for name, value in jwk.items() if name != "kty"}
        self.client = CryptographyClient.from_jwk(JsonWebKey(kid=self.kid, kty=jwk["kty"], key_ops=["wrapKey", "unwrapKey"], **members))

    def wrap_key(self, key):
        return self.client.wrap_key(KeyWrapAlgorithm(self.algorithm), key).encrypted_key

    def unwrap_key(self, key, algorithm):
        return self.client.unwrap_key(KeyWrapAlgorithm(algorithm), key).key

    def get_key_wrap_algorithm(self):
        return self.algorithm

    def get_kid(self):
        return self.kid


def container(name):
    return ContainerClient.from_connection_string(
        os.environ["AZURE_STORAGE_CONNECTION_STRING"],
        name,
        require_encryption=True,
        encryption_version="2.0",
        key_encryption_key=Kek(),
    )


def note(name, data):
    print(name, len(data), hashlib.sha256(data).hexdigest())


def put(c):
    try:
        c.create_container()
    except ResourceExistsError:
        pass
    for size in SIZES:
        data = random.randbytes(size)
        c.upload_blob(f"sdk-{size}", data)
        note(f"sdk-{size}", data)


def get(c):
    for blob in c.list_blobs():
        note(blob.name, c.download_blob(blob.name).readall())


{"put": put, "get": get}[sys.argv[1]](container(sys.argv[2]))
