from azure.keyvault.keys import KeyClient

from rig import CREDENTIAL, VAULT, Case, fresh

CLIENT = KeyClient(VAULT, CREDENTIAL)


def discard(name):
    CLIENT.begin_delete_key(name, _polling_interval=0.05).result()
    CLIENT.purge_deleted_key(name)


class Deletion(Case):
    def test_deletion(self):
        name = fresh("deleted")
        first = CLIENT.create_ec_key(name)
        CLIENT.create_ec_key(name)
        with self.operation("key delete"):
            d = CLIENT.begin_delete_key(name, _polling_interval=0.05).result()
            self.assertGreater(d.scheduled_purge_date, d.deleted_date)
            self.assertTrue(d.recovery_id)
            with self.fails(404, "KeyNotFound"):
                CLIENT.get_key(name)
            with self.fails(409, "Conflict"):
                CLIENT.create_ec_key(name)
        with self.operation("key get deleted"):
            self.assertEqual(CLIENT.get_deleted_key(name).name, name)
        with self.operation("key list deleted"):
            self.assertIn(name, [k.name for k in CLIENT.list_deleted_keys()])
        with self.operation("key recover"):
            CLIENT.begin_recover_deleted_key(name, _polling_interval=0.05).result()
            self.assertEqual(CLIENT.get_key(name, first.properties.version).key.x, first.key.x)
        with self.operation("key purge"):
            discard(name)
            with self.fails(404, "KeyNotFound"):
                CLIENT.get_deleted_key(name)

    def test_backup(self):
        name = fresh("backup")
        first = CLIENT.create_ec_key(name)
        CLIENT.create_ec_key(name)
        with self.operation("key backup"):
            blob = CLIENT.backup_key(name)
            self.assertTrue(blob)
        with self.operation("key restore"):
            with self.fails(409, "Conflict"):
                CLIENT.restore_key_backup(blob)
            discard(name)
            CLIENT.restore_key_backup(blob)
            self.assertEqual(CLIENT.get_key(name, first.properties.version).key.x, first.key.x)
