import datetime
import json

from azure.keyvault.keys import ApiVersion, JsonWebKey, KeyClient, KeyReleasePolicy
from cryptography.hazmat.primitives.asymmetric import rsa

from rig import AUTHORITY, CREDENTIAL, VAULT, Case, fresh

CLIENT = KeyClient(VAULT, CREDENTIAL)


def release_policy(kind):
    condition = {"claim": "x-ms-attestation-type", "equals": kind}
    return KeyReleasePolicy(json.dumps({"version": "1.0.0", "anyOf": [{"authority": AUTHORITY, "allOf": [condition]}]}).encode())


def octets(n):
    return n.to_bytes((n.bit_length() + 7) // 8, "big")


class Create(Case):
    def test_create(self):
        with self.operation("key create RSA"):
            k = CLIENT.create_rsa_key(fresh("rsa"), size=3072, tags={"a": "b"})
            self.assertEqual((k.key_type, len(k.key.n), k.key.d, k.properties.tags), ("RSA", 384, None, {"a": "b"}))
        with self.operation("key create EC"):
            for curve in ("P-256", "P-384", "P-521"):
                self.assertEqual(CLIENT.create_ec_key(fresh("ec"), curve=curve).key.crv, curve)
        with self.operation("key create oct"):
            k = CLIENT.create_oct_key(fresh("oct"), size=256)
            self.assertEqual((k.key_type, k.key.k), ("oct", None))
        with self.difference("key types ending in -HSM"):
            self.assertEqual(CLIENT.create_rsa_key(fresh("hsm"), hardware_protected=True).key_type, "RSA")
            self.assertEqual(CLIENT.create_ec_key(fresh("hsm"), hardware_protected=True).key_type, "EC")
            self.assertEqual(CLIENT.create_oct_key(fresh("hsm"), hardware_protected=True).key_type, "oct")

    def test_exportable(self):
        with self.operation("key create exportable with policy"):
            policy = release_policy("sevsnpvm")
            k = CLIENT.create_rsa_key(fresh("exportable"), exportable=True, release_policy=policy, hardware_protected=True)
            self.assertTrue(k.properties.exportable)
            self.assertEqual(k.properties.release_policy.encoded_policy, policy.encoded_policy)
            self.assertFalse(k.properties.release_policy.immutable)
        with self.refusal("key create exportable without policy"):
            with self.fails(400, "BadParameter"):
                CLIENT.create_rsa_key(fresh("x"), exportable=True, hardware_protected=True)

    def test_import(self):
        with self.operation("key import"):
            own = rsa.generate_private_key(65537, 2048).private_numbers()
            public = own.public_numbers
            jwk = JsonWebKey(
                kty="RSA", n=octets(public.n), e=octets(public.e), d=octets(own.d), p=octets(own.p), q=octets(own.q),
                dp=octets(own.dmp1), dq=octets(own.dmq1), qi=octets(own.iqmp), key_ops=["sign", "verify"],
            )
            k = CLIENT.import_key(fresh("import"), jwk)
            self.assertEqual((k.key.n, k.key_operations), (octets(public.n), ["sign", "verify"]))


class Read(Case):
    def test_get_and_update(self):
        name = fresh("get")
        first, second = CLIENT.create_ec_key(name), CLIENT.create_ec_key(name)
        with self.operation("key get"):
            self.assertEqual(CLIENT.get_key(name).id, second.id)
            self.assertEqual(CLIENT.get_key(name, first.properties.version).id, first.id)
            with self.fails(404, "KeyNotFound"):
                CLIENT.get_key(fresh("nothing"))
        with self.operation("key update"):
            end = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0) + datetime.timedelta(hours=1)
            u = CLIENT.update_key_properties(
                name, first.properties.version, enabled=False, expires_on=end, tags={"v": "2"}, key_operations=["verify"]
            )
            self.assertEqual(
                (u.properties.enabled, u.properties.expires_on, u.properties.tags, u.key_operations), (False, end, {"v": "2"}, ["verify"])
            )

    def test_lists(self):
        name = fresh("listed")
        for _ in range(27):  # more than a page
            CLIENT.create_ec_key(name)
        with self.operation("key list versions"):
            self.assertEqual(len({k.version for k in CLIENT.list_properties_of_key_versions(name)}), 27)
        with self.operation("key list"):
            self.assertEqual([k.name for k in CLIENT.list_properties_of_keys()].count(name), 1)

    def test_random(self):
        with self.operation("random bytes"):
            self.assertEqual(len(CLIENT.get_random_bytes(64)), 64)

    def test_attestation(self):
        name = fresh("attested")
        CLIENT.create_ec_key(name)
        with self.difference("key attestation"):
            a = CLIENT.get_key_attestation(name).properties.attestation
            self.assertTrue(a.certificate_pem_file and a.public_key_attestation)
            self.assertIsNone(a.private_key_attestation)

    def test_older_versions(self):
        # What older programs send: the answers are the same.
        for version in ApiVersion:
            name = fresh("old")
            client = KeyClient(VAULT, CREDENTIAL, api_version=version)
            client.create_ec_key(name)
            self.assertEqual(client.get_key(name).name, name, version)
