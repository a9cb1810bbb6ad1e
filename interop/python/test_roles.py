import os
import uuid

from azure.keyvault.administration import KeyVaultAccessControlClient, KeyVaultRoleScope

from rig import CREDENTIAL, VAULT, Case

CLIENT = KeyVaultAccessControlClient(VAULT, CREDENTIAL)
READER = os.environ["OPENSKR_READER_ID"]


class Roles(Case):
    def test_roles(self):
        name = str(uuid.uuid4())
        with self.operation("role definition list"):
            definitions = {d.role_name: d for d in CLIENT.list_role_definitions(KeyVaultRoleScope.GLOBAL)}
            auditor = definitions["Managed HSM Crypto Auditor"]
            self.assertEqual(auditor.name, "2c18b078-7c48-4d3a-af88-5a3a1b3f82b3")
        with self.operation("role assignment create"):
            a = CLIENT.create_role_assignment("/keys", auditor.id, READER, name=name)
            self.assertEqual((a.name, a.properties.principal_id, a.properties.scope), (name, READER, "/keys"))
        with self.operation("role assignment list"):
            self.assertIn(name, [a.name for a in CLIENT.list_role_assignments("/keys")])
        with self.operation("role assignment delete"):
            CLIENT.delete_role_assignment("/keys", name)
            self.assertNotIn(name, [a.name for a in CLIENT.list_role_assignments("/keys")])
