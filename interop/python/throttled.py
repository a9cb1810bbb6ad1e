"""Against a broker with a small throttle, which answers 429 after some forty requests at once."""

import os

from azure.keyvault.keys import KeyClient

from rig import CREDENTIAL, VAULT, Case


class Throttled(Case):
    def test_throttled(self):
        client, name, refused = KeyClient(VAULT, CREDENTIAL), os.environ["OPENSKR_KEY"], []

        def seen(response):  # of every try
            if response.http_response.status_code == 429:
                refused.append(response.http_response.headers.get("Retry-After"))

        with self.operation("request beyond the rate"):
            for _ in range(200):
                self.assertEqual(client.get_key(name, raw_response_hook=seen).name, name)
                if refused:
                    break
            self.assertEqual(refused, ["1"])
