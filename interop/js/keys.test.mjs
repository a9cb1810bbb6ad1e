import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { KeyClient } from "@azure/keyvault-keys";
import { releasePolicy } from "./policy.mjs";
import { all, credential, difference, fresh, operation, refusal, vault } from "./rig.mjs";

const client = new KeyClient(vault, credential);

await operation("key create RSA", async () => {
  const k = await client.createRsaKey(fresh("rsa"), { keySize: 3072, tags: { a: "b" } });
  assert.equal(k.keyType, "RSA");
  assert.equal(k.key.n.length, 384);
  assert.equal(k.key.d, undefined);
  assert.deepEqual(k.properties.tags, { a: "b" });
});

await operation("key create EC", async () => {
  for (const curve of ["P-256", "P-384", "P-521"]) {
    const k = await client.createEcKey(fresh("ec"), { curve });
    assert.equal(k.key.crv, curve);
  }
});

await operation("key create oct", async () => {
  const k = await client.createOctKey(fresh("oct"), { keySize: 256 });
  assert.equal(k.keyType, "oct");
  assert.equal(k.key.k, undefined);
});

await difference("key types ending in -HSM", async () => {
  assert.equal((await client.createRsaKey(fresh("hsm"), { hsm: true })).keyType, "RSA");
  assert.equal((await client.createEcKey(fresh("hsm"), { hsm: true })).keyType, "EC");
  assert.equal((await client.createOctKey(fresh("hsm"), { hsm: true })).keyType, "oct");
});

await operation("key create exportable with policy", async () => {
  const policy = releasePolicy("sevsnpvm");
  const k = await client.createRsaKey(fresh("exportable"), { exportable: true, releasePolicy: policy, hsm: true });
  assert.equal(k.properties.exportable, true);
  assert.deepEqual(Buffer.from(k.properties.releasePolicy.encodedPolicy), policy.encodedPolicy);
  assert.equal(k.properties.releasePolicy.immutable, false);
});

await refusal("key create exportable without policy", async () => {
  await assert.rejects(client.createRsaKey(fresh("x"), { exportable: true, hsm: true }), { statusCode: 400, code: "BadParameter" });
});

await operation("key import", async () => {
  const jwk = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ format: "jwk" });
  const bytes = Object.fromEntries(Object.entries(jwk).map(([k, v]) => [k, k === "kty" ? v : Buffer.from(v, "base64url")]));
  const k = await client.importKey(fresh("import"), bytes);
  assert.deepEqual(Buffer.from(k.key.n), bytes.n);
});

await operation("key get", async () => {
  const name = fresh("get");
  const first = await client.createEcKey(name);
  const second = await client.createEcKey(name);
  assert.equal((await client.getKey(name)).properties.version, second.properties.version);
  assert.equal((await client.getKey(name, { version: first.properties.version })).id, first.id);
  await assert.rejects(client.getKey(fresh("nothing")), { statusCode: 404, code: "KeyNotFound" });
});

await operation("key update", async () => {
  const name = fresh("update");
  const k = await client.createEcKey(name);
  const expiresOn = new Date(Math.floor(Date.now() / 1000) * 1000 + 3600_000);
  const u = await client.updateKeyProperties(name, k.properties.version, { enabled: false, expiresOn, tags: { v: "2" }, keyOps: ["verify"] });
  assert.equal(u.properties.enabled, false);
  assert.deepEqual(u.properties.expiresOn, expiresOn);
  assert.deepEqual(u.keyOperations, ["verify"]);
  assert.equal((await client.updateKeyProperties(name, { enabled: true })).properties.enabled, true);
});

const listed = fresh("listed");
await operation("key list versions", async () => {
  for (let i = 0; i < 27; i++) await client.createEcKey(listed);
  assert.equal(new Set((await all(client.listPropertiesOfKeyVersions(listed))).map((k) => k.version)).size, 27);
});

await operation("key list", async () => {
  assert.equal((await all(client.listPropertiesOfKeys())).filter((k) => k.name === listed).length, 1);
});

await operation("random bytes", async () => {
  assert.equal((await client.getRandomBytes(64)).length, 64);
});

await difference("key attestation", async () => {
  const name = fresh("attested");
  await client.createEcKey(name);
  const { attestation } = (await client.getKeyAttestation(name)).properties;
  assert.ok(attestation.certificatePemFile.length > 0 && attestation.publicKeyAttestation.length > 0);
  assert.equal(attestation.privateKeyAttestation, undefined);
});
