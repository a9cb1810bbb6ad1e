import base64
import json
import os

from azure.keyvault.keys import KeyClient

from rig import CREDENTIAL, VAULT, Case, fresh
from test_keys import release_policy

CLIENT = KeyClient(VAULT, CREDENTIAL)
TARGET = os.environ["OPENSKR_TARGET"]


def exportable(kind):
    return CLIENT.create_rsa_key(fresh("released"), exportable=True, hardware_protected=True, release_policy=release_policy(kind))


def document(text):
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


class Release(Case):
    def test_release(self):
        with self.operation("key release"):
            k = exportable("sevsnpvm")
            jws = CLIENT.release_key(k.name, TARGET, nonce="n", algorithm="RSA_AES_KEY_WRAP_256").value
            payload = document(jws.split(".")[1])
            self.assertEqual(payload["request"]["enc"], "RSA_AES_KEY_WRAP_256")
            key = payload["response"]["key"]["key"]
            self.assertEqual(key["kid"], k.id)
            self.assertEqual(document(key["key_hsm"])["header"]["enc"], "RSA_AES_KEY_WRAP_256")

    def test_refusal(self):
        with self.refusal("key release, policy not met"):
            with self.fails(403, "Forbidden"):
                CLIENT.release_key(exportable("sgx").name, TARGET)
