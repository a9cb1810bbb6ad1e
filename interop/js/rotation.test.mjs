import assert from "node:assert/strict";
import { KeyClient } from "@azure/keyvault-keys";
import { credential, fresh, operation, vault } from "./rig.mjs";

const client = new KeyClient(vault, credential);
const name = fresh("rotated");
const first = await client.createRsaKey(name, { keyOps: ["wrapKey", "unwrapKey"] });

await operation("key rotate", async () => {
  const next = await client.rotateKey(name);
  assert.notEqual(next.id, first.id);
  assert.notDeepEqual(next.key.n, first.key.n);
  assert.deepEqual(next.keyOperations, ["wrapKey", "unwrapKey"]);
});

await operation("key get rotation policy", async () => {
  const p = await client.getKeyRotationPolicy(name);
  assert.equal(p.lifetimeActions[0].action, "Notify");
});

await operation("key set rotation policy", async () => {
  await client.updateKeyRotationPolicy(name, { expiresIn: "P90D", lifetimeActions: [{ action: "Rotate", timeBeforeExpiry: "P30D" }] });
  const p = await client.getKeyRotationPolicy(name);
  assert.equal(p.expiresIn, "P90D");
  assert.ok(p.lifetimeActions.some((a) => a.action === "Rotate" && a.timeBeforeExpiry === "P30D"));
  await assert.rejects(client.updateKeyRotationPolicy(name, { expiresIn: "P1D", lifetimeActions: [] }), { statusCode: 400, code: "BadParameter" });
});
