"""Writes python.json: blobs as azure-storage-blob encrypts them, each with its key.

    pip install azure-storage-blob==12.31.1 && python generate.py > python.json
"""

import base64
import json

from azure.storage.blob import _encryption
from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

KID = "https://vault.example/keys/blob/0123456789abcdef0123456789abcdef"


class Kek:
    """The interface that the SDK asks of a key encryption key."""

    def __init__(self, algorithm, wrap):
        self.algorithm, self.wrap_key = algorithm, wrap

    def get_kid(self):
        return KID

    def get_key_wrap_algorithm(self):
        return self.algorithm


def keys():
    for bits in 128, 192, 256:
        material = bytes(range(bits // 8))
        yield Kek(f"A{bits}KW", lambda key, kek=material: keywrap.aes_key_wrap(kek, key)), material
    private = rsa.generate_private_key(65537, 2048)
    der = private.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for algorithm, digest in ("RSA-OAEP", hashes.SHA1()), ("RSA-OAEP-256", hashes.SHA256()):
        oaep = padding.OAEP(padding.MGF1(digest), digest, None)
        yield Kek(algorithm, lambda key, oaep=oaep: private.public_key().encrypt(key, oaep)), der


def b64(data):
    return base64.b64encode(data).decode()


blobs = []
for kek, material in keys():
    plain = "written by Azure's SDK for " + kek.algorithm
    metadata, blob = _encryption.encrypt_blob(plain.encode(), kek, "2.0")
    blobs.append(
        {
            "Name": kek.algorithm,
            "EncryptionData": json.loads(metadata),
            "Blob": b64(blob),
            "Material": b64(material),
            "Plain": plain,
        }
    )
print(json.dumps(blobs, indent=1))
