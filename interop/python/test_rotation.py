from azure.keyvault.keys import KeyClient, KeyRotationLifetimeAction, KeyRotationPolicy, KeyRotationPolicyAction

from rig import CREDENTIAL, VAULT, Case, fresh

CLIENT = KeyClient(VAULT, CREDENTIAL)


class Rotation(Case):
    def test_rotation(self):
        name = fresh("rotated")
        first = CLIENT.create_rsa_key(name, key_operations=["wrapKey", "unwrapKey"])
        with self.operation("key rotate"):
            k = CLIENT.rotate_key(name)
            self.assertNotEqual((k.id, k.key.n), (first.id, first.key.n))
            self.assertEqual(k.key_operations, ["wrapKey", "unwrapKey"])
        with self.operation("key get rotation policy"):
            actions = CLIENT.get_key_rotation_policy(name).lifetime_actions
            self.assertEqual([a.action for a in actions], [KeyRotationPolicyAction.notify])
        with self.operation("key set rotation policy"):
            rotate = KeyRotationLifetimeAction(KeyRotationPolicyAction.rotate, time_before_expiry="P30D")
            CLIENT.update_key_rotation_policy(name, KeyRotationPolicy(), expires_in="P90D", lifetime_actions=[rotate])
            p = CLIENT.get_key_rotation_policy(name)
            self.assertEqual(p.expires_in, "P90D")
            self.assertIn(("Rotate", "P30D"), [(str(getattr(a.action, "value", a.action)), a.time_before_expiry) for a in p.lifetime_actions])
            with self.fails(400, "BadParameter"):
                CLIENT.update_key_rotation_policy(name, KeyRotationPolicy(), expires_in="P1D", lifetime_actions=[])
