import os
import time

from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import CertificateCredential, ClientAssertionCredential, ClientSecretCredential, ManagedIdentityCredential
from azure.keyvault.keys import KeyClient

from rig import AUTHORITY, CLIENT_ID, CLIENT_SECRET, TENANT, VAULT, Case, fresh

# What every credential is told of a token service that is not Microsoft's.
HERE = {"authority": AUTHORITY, "disable_instance_discovery": True}


class Identity(Case):
    def works(self, credential, vault=VAULT, **options):
        client, name = KeyClient(vault, credential, **options), fresh("identity")
        client.create_ec_key(name)
        self.assertEqual(client.get_key(name).name, name)

    def test_secret(self):
        with self.operation("service principal with a secret"):
            self.works(ClientSecretCredential(TENANT, CLIENT_ID, CLIENT_SECRET, **HERE))
            with self.assertRaises(ClientAuthenticationError):
                self.works(ClientSecretCredential(TENANT, CLIENT_ID, "wrong", **HERE))

    def test_certificate(self):
        with self.operation("service principal with a certificate"):
            self.works(CertificateCredential(TENANT, os.environ["OPENSKR_CERTIFICATE_ID"], os.environ["OPENSKR_CERTIFICATE"], **HERE))

    def test_federation(self):
        with self.operation("workload federation"):
            assertion = os.environ["OPENSKR_ASSERTION"]
            self.works(ClientAssertionCredential(TENANT, os.environ["OPENSKR_FEDERATED_ID"], lambda: assertion, **HERE))

    def test_managed_identity(self):
        with self.operation("managed identity (IDENTITY_ENDPOINT)"):
            self.works(ManagedIdentityCredential())

    def test_token(self):
        class Elsewhere:
            def get_token(self, *scopes, **kwargs):
                return AccessToken(os.environ["OPENSKR_ACCESS_TOKEN"], int(time.time()) + 1800)

        with self.operation("access token from elsewhere"):
            self.works(Elsewhere())

    def test_default_vault(self):
        with self.operation("default vault, at a host without a vault's name"):
            self.works(ManagedIdentityCredential(), AUTHORITY, verify_challenge_resource=False)
            with self.assertRaises(ValueError):
                self.works(ManagedIdentityCredential(), AUTHORITY)

    def test_role(self):
        with self.refusal("request without a role"):
            reader = ClientSecretCredential(TENANT, os.environ["OPENSKR_READER_ID"], os.environ["OPENSKR_READER_SECRET"], **HERE)
            with self.fails(403, "Forbidden"):
                KeyClient(VAULT, reader).create_ec_key(fresh("role"))
