// Against a broker with a small throttle, which answers 429 after some forty requests at once.
import assert from "node:assert/strict";
import { KeyClient } from "@azure/keyvault-keys";
import { credential, operation, vault } from "./rig.mjs";

await operation("request beyond the rate", async () => {
  const refused = [];
  const seen = {
    name: "seen",
    sendRequest: async (request, next) => {
      const response = await next(request);
      if (response.status === 429) refused.push(response.headers.get("retry-after"));
      return response;
    },
  };
  const client = new KeyClient(vault, credential, { additionalPolicies: [{ policy: seen, position: "perRetry" }] });
  for (let i = 0; i < 200 && refused.length === 0; i++) {
    assert.equal((await client.getKey(process.env.OPENSKR_KEY)).name, process.env.OPENSKR_KEY);
  }
  assert.deepEqual(refused, ["1"]);
});
