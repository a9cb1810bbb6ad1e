import assert from "node:assert/strict";
import { SecretClient } from "@azure/keyvault-secrets";
import { all, credential, fresh, operation, vault } from "./rig.mjs";

const client = new SecretClient(vault, credential);
const soon = { intervalInMs: 50 };
const name = fresh("secret");
let first;

await operation("secret set", async () => {
  const expiresOn = new Date(Math.floor(Date.now() / 1000) * 1000 + 3600_000);
  first = await client.setSecret(name, "päss", { contentType: "text/plain", tags: { a: "b" }, expiresOn });
  assert.equal(first.value, "päss");
  assert.equal(first.properties.contentType, "text/plain");
  assert.deepEqual(first.properties.expiresOn, expiresOn);
  await client.setSecret(name, "two");
  await assert.rejects(client.setSecret(fresh("big"), "a".repeat(25 * 1024 + 1)), { statusCode: 400, code: "BadParameter" });
});

await operation("secret get", async () => {
  assert.equal((await client.getSecret(name)).value, "two");
  assert.equal((await client.getSecret(name, { version: first.properties.version })).value, "päss");
  await assert.rejects(client.getSecret(fresh("nothing")), { statusCode: 404, code: "SecretNotFound" });
});

await operation("secret update", async () => {
  const u = await client.updateSecretProperties(name, first.properties.version, { enabled: false, contentType: "x" });
  assert.equal(u.enabled, false);
  assert.equal(u.contentType, "x");
  await assert.rejects(client.getSecret(name, { version: first.properties.version }), { statusCode: 403, code: "Forbidden" });
});

await operation("secret list versions", async () => {
  assert.equal((await all(client.listPropertiesOfSecretVersions(name))).length, 2);
});

await operation("secret list", async () => {
  assert.ok((await all(client.listPropertiesOfSecrets())).some((s) => s.name === name));
});

await operation("secret delete", async () => {
  const d = await (await client.beginDeleteSecret(name, soon)).pollUntilDone();
  assert.ok(d.properties.recoveryId && d.properties.scheduledPurgeDate > d.properties.deletedOn);
  await assert.rejects(client.getSecret(name), { statusCode: 404, code: "SecretNotFound" });
});

await operation("secret get deleted", async () => {
  assert.equal((await client.getDeletedSecret(name)).name, name);
});

await operation("secret list deleted", async () => {
  assert.ok((await all(client.listDeletedSecrets())).some((s) => s.name === name));
});

await operation("secret recover", async () => {
  await client.getDeletedSecret(name);
  await (await client.beginRecoverDeletedSecret(name, soon)).pollUntilDone();
  assert.equal((await client.getSecret(name)).value, "two");
});

const discard = async () => {
  await (await client.beginDeleteSecret(name, soon)).pollUntilDone();
  await client.purgeDeletedSecret(name);
};

let backup;
await operation("secret backup", async () => {
  backup = await client.backupSecret(name);
  assert.ok(backup.length > 0);
});

await operation("secret purge", async () => {
  await discard();
  await assert.rejects(client.getDeletedSecret(name), { statusCode: 404, code: "SecretNotFound" });
});

await operation("secret restore", async () => {
  await client.restoreSecretBackup(backup);
  assert.equal((await client.getSecret(name)).value, "two");
  await assert.rejects(client.restoreSecretBackup(backup), { statusCode: 409, code: "Conflict" });
});
