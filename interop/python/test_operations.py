import hashlib
import os

from azure.keyvault.keys import KeyClient
from azure.keyvault.keys.crypto import CryptographyClient

from rig import CREDENTIAL, VAULT, Case, fresh

CLIENT = KeyClient(VAULT, CREDENTIAL)
PLAIN = os.urandom(32)


def remote(key):
    """A client that knows the URL alone: it reads the key first, when it may."""
    return CryptographyClient(key.id, CREDENTIAL)


class Operations(Case):
    def test_encrypt(self):
        rsa, oct_ = remote(CLIENT.create_rsa_key(fresh("rsa"))), remote(CLIENT.create_oct_key(fresh("oct"), size=256))
        with self.operation("encrypt and decrypt, RSA-OAEP"):
            for alg in ("RSA-OAEP", "RSA-OAEP-256"):
                sealed = rsa.encrypt(alg, PLAIN)
                self.assertEqual(rsa.decrypt(alg, sealed.ciphertext).plaintext, PLAIN)
        with self.operation("encrypt and decrypt, AES-GCM"):
            s = oct_.encrypt("A256GCM", PLAIN, additional_authenticated_data=b"for whom")
            opened = oct_.decrypt("A256GCM", s.ciphertext, iv=s.iv, authentication_tag=s.tag, additional_authenticated_data=b"for whom")
            self.assertEqual(opened.plaintext, PLAIN)
        with self.refusal("weak algorithms"):
            with self.fails(400, "BadParameter"):
                rsa.decrypt("RSA1_5", os.urandom(256))
            with self.fails(400, "BadParameter"):
                oct_.decrypt("A256CBC", os.urandom(32), iv=os.urandom(16))

    def test_weak(self):
        with self.operation("weak algorithms, where a vault allows them"):
            legacy = KeyClient(os.environ["OPENSKR_LEGACY_VAULT"], CREDENTIAL)
            rsa, oct_ = remote(legacy.create_rsa_key(fresh("rsa"))), remote(legacy.create_oct_key(fresh("oct"), size=256))
            self.assertEqual(rsa.decrypt("RSA1_5", rsa.encrypt("RSA1_5", PLAIN).ciphertext).plaintext, PLAIN)
            for alg in ("A256CBC", "A256CBCPAD"):
                iv = os.urandom(16)
                self.assertEqual(oct_.decrypt(alg, oct_.encrypt(alg, PLAIN, iv=iv).ciphertext, iv=iv).plaintext, PLAIN)

    def test_wrap(self):
        rsa, oct_ = remote(CLIENT.create_rsa_key(fresh("rsa"))), remote(CLIENT.create_oct_key(fresh("oct"), size=256))
        with self.operation("wrap and unwrap, RSA-OAEP"):
            for alg in ("RSA-OAEP", "RSA-OAEP-256"):
                self.assertEqual(rsa.unwrap_key(alg, rsa.wrap_key(alg, PLAIN).encrypted_key).key, PLAIN)
        with self.operation("wrap and unwrap, AES-KW"):
            self.assertEqual(oct_.unwrap_key("A256KW", oct_.wrap_key("A256KW", PLAIN).encrypted_key).key, PLAIN)

        with self.operation("wrap and unwrap, CKM_AES_KEY_WRAP and _PAD"):
            for alg in ("CKM_AES_KEY_WRAP", "CKM_AES_KEY_WRAP_PAD"):
                self.assertEqual(oct_.unwrap_key(alg, oct_.wrap_key(alg, PLAIN).encrypted_key).key, PLAIN)

    def signed(self, client, algorithms):
        for alg, name in algorithms.items():
            digest = hashlib.new(name, b"m").digest()
            signature = client.sign(alg, digest).signature
            self.assertTrue(client.verify(alg, digest, signature).is_valid, alg)
            self.assertFalse(client.verify(alg, digest[:-1] + bytes([digest[-1] ^ 1]), signature).is_valid, alg)

    def test_sign(self):
        hashes = {"256": "sha256", "384": "sha384", "512": "sha512"}
        with self.operation("sign and verify, RSA"):
            self.signed(remote(CLIENT.create_rsa_key(fresh("rsa"))), {p + n: h for n, h in hashes.items() for p in ("RS", "PS")})
        with self.operation("sign and verify, EC"):
            for curve, n in {"P-256": "256", "P-384": "384", "P-521": "512"}.items():
                self.signed(remote(CLIENT.create_ec_key(fresh("ec"), curve=curve)), {"ES" + n: hashes[n]})
        with self.operation("sign and verify, HMAC"):
            hmac = remote(CLIENT.create_oct_key(fresh("hmac"), size=256, key_operations=["sign", "verify"]))
            self.signed(hmac, {"HS256": "sha256", "HS512": "sha512"})
        with self.operation("sign and verify, P-256K"):
            self.signed(remote(CLIENT.create_ec_key(fresh("ec"), curve="P-256K")), {"ES256K": "sha256"})
