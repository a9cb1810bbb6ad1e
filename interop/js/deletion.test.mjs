import assert from "node:assert/strict";
import { KeyClient } from "@azure/keyvault-keys";
import { all, credential, fresh, operation, vault } from "./rig.mjs";

const client = new KeyClient(vault, credential);
const soon = { intervalInMs: 50 }; // of pollers: nothing here takes the usual two seconds

const name = fresh("deleted");
const first = await client.createEcKey(name);
await client.createEcKey(name);

await operation("key delete", async () => {
  const deleted = await (await client.beginDeleteKey(name, soon)).pollUntilDone();
  assert.ok(deleted.properties.recoveryId && deleted.properties.scheduledPurgeDate > deleted.properties.deletedOn);
  await assert.rejects(client.getKey(name), { statusCode: 404, code: "KeyNotFound" });
  await assert.rejects(client.createEcKey(name), { statusCode: 409, code: "Conflict" });
});

await operation("key get deleted", async () => {
  assert.equal((await client.getDeletedKey(name)).name, name);
});

await operation("key list deleted", async () => {
  assert.ok((await all(client.listDeletedKeys())).some((k) => k.name === name));
});

await operation("key recover", async () => {
  await client.getDeletedKey(name);
  await (await client.beginRecoverDeletedKey(name, soon)).pollUntilDone();
  assert.equal((await client.getKey(name, { version: first.properties.version })).id, first.id);
});

await operation("key purge", async () => {
  await (await client.beginDeleteKey(name, soon)).pollUntilDone();
  await client.purgeDeletedKey(name);
  await assert.rejects(client.getDeletedKey(name), { statusCode: 404, code: "KeyNotFound" });
});

const kept = fresh("backup");
const old = await client.createEcKey(kept);
await client.createEcKey(kept);
let backup;
await operation("key backup", async () => {
  backup = await client.backupKey(kept);
  assert.ok(backup.length > 0);
});

await operation("key restore", async () => {
  await assert.rejects(client.restoreKeyBackup(backup), { statusCode: 409, code: "Conflict" });
  await (await client.beginDeleteKey(kept, soon)).pollUntilDone();
  await client.purgeDeletedKey(kept);
  await client.restoreKeyBackup(backup);
  assert.deepEqual((await client.getKey(kept, { version: old.properties.version })).key.x, old.key.x);
});
