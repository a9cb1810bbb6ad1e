import datetime

from azure.keyvault.secrets import SecretClient

from rig import CREDENTIAL, VAULT, Case, fresh

CLIENT = SecretClient(VAULT, CREDENTIAL)


def discard(name):
    CLIENT.begin_delete_secret(name, _polling_interval=0.05).result()
    CLIENT.purge_deleted_secret(name)


class Secrets(Case):
    def test_set_get_update(self):
        name = fresh("secret")
        with self.operation("secret set"):
            end = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0) + datetime.timedelta(hours=1)
            first = CLIENT.set_secret(name, "päss", content_type="text/plain", tags={"a": "b"}, expires_on=end)
            got = first.properties
            self.assertEqual((first.value, got.content_type, got.tags, got.expires_on), ("päss", "text/plain", {"a": "b"}, end))
            CLIENT.set_secret(name, "two")
            with self.fails(400, "BadParameter"):
                CLIENT.set_secret(fresh("big"), "a" * (25 * 1024 + 1))
        version = first.properties.version
        with self.operation("secret get"):
            self.assertEqual(CLIENT.get_secret(name).value, "two")
            self.assertEqual(CLIENT.get_secret(name, version).value, "päss")
            with self.fails(404, "SecretNotFound"):
                CLIENT.get_secret(fresh("nothing"))
        with self.operation("secret update"):
            u = CLIENT.update_secret_properties(name, version, enabled=False, content_type="x")
            self.assertEqual((u.enabled, u.content_type), (False, "x"))
            with self.fails(403, "Forbidden"):
                CLIENT.get_secret(name, version)
        with self.operation("secret list versions"):
            self.assertEqual(len(list(CLIENT.list_properties_of_secret_versions(name))), 2)
        with self.operation("secret list"):
            self.assertIn(name, [s.name for s in CLIENT.list_properties_of_secrets()])

    def test_deletion(self):
        name = fresh("deleted")
        CLIENT.set_secret(name, "v")
        with self.operation("secret delete"):
            d = CLIENT.begin_delete_secret(name, _polling_interval=0.05).result()
            self.assertGreater(d.scheduled_purge_date, d.deleted_date)
            with self.fails(404, "SecretNotFound"):
                CLIENT.get_secret(name)
            with self.fails(409, "Conflict"):
                CLIENT.set_secret(name, "w")
        with self.operation("secret get deleted"):
            self.assertEqual(CLIENT.get_deleted_secret(name).name, name)
        with self.operation("secret list deleted"):
            self.assertIn(name, [s.name for s in CLIENT.list_deleted_secrets()])
        with self.operation("secret recover"):
            CLIENT.begin_recover_deleted_secret(name, _polling_interval=0.05).result()
            self.assertEqual(CLIENT.get_secret(name).value, "v")
        with self.operation("secret backup"):
            blob = CLIENT.backup_secret(name)
            self.assertTrue(blob)
        with self.operation("secret purge"):
            discard(name)
            with self.fails(404, "SecretNotFound"):
                CLIENT.get_deleted_secret(name)
        with self.operation("secret restore"):
            CLIENT.restore_secret_backup(blob)
            self.assertEqual(CLIENT.get_secret(name).value, "v")
            with self.fails(409, "Conflict"):
                CLIENT.restore_secret_backup(blob)
