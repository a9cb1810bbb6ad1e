import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { CryptographyClient, KeyClient } from "@azure/keyvault-keys";
import { credential, fresh, operation, refusal, vault } from "./rig.mjs";

const client = new KeyClient(vault, credential);
const plain = randomBytes(32);

// The client encrypts, wraps and verifies by itself with public keys that it has read;
// given only the URL of a key it first reads the key.
const rsa = await client.createRsaKey(fresh("rsa"));
const byURL = new CryptographyClient(rsa.id, credential);
const oct = new CryptographyClient((await client.createOctKey(fresh("oct"), { keySize: 256 })).id, credential);

await operation("encrypt and decrypt, RSA-OAEP", async () => {
  for (const alg of ["RSA-OAEP", "RSA-OAEP-256"]) {
    const sealed = await byURL.encrypt(alg, plain);
    assert.deepEqual(Buffer.from((await byURL.decrypt(alg, sealed.result)).result), plain);
  }
});

await operation("encrypt and decrypt, AES-GCM", async () => {
  const additionalAuthenticatedData = Buffer.from("for whom");
  const s = await oct.encrypt({ algorithm: "A256GCM", plaintext: plain, additionalAuthenticatedData });
  const opened = await oct.decrypt({
    algorithm: "A256GCM", ciphertext: s.result, iv: s.iv, authenticationTag: s.authenticationTag, additionalAuthenticatedData,
  });
  assert.deepEqual(Buffer.from(opened.result), plain);
});

await refusal("weak algorithms", async () => {
  await assert.rejects(byURL.decrypt("RSA1_5", randomBytes(256)), { statusCode: 400, code: "BadParameter" });
  await assert.rejects(oct.decrypt({ algorithm: "A256CBC", ciphertext: randomBytes(32), iv: randomBytes(16) }), { statusCode: 400, code: "BadParameter" });
});

await operation("weak algorithms, where a vault allows them", async () => {
  const legacy = new KeyClient(process.env.OPENSKR_LEGACY_VAULT, credential);
  const weakRSA = new CryptographyClient((await legacy.createRsaKey(fresh("rsa"))).id, credential);
  const sealed = await weakRSA.encrypt("RSA1_5", plain);
  assert.deepEqual(Buffer.from((await weakRSA.decrypt("RSA1_5", sealed.result)).result), plain);
  const weakOct = new CryptographyClient((await legacy.createOctKey(fresh("oct"), { keySize: 256 })).id, credential);
  for (const algorithm of ["A256CBC", "A256CBCPAD"]) {
    const iv = randomBytes(16);
    const { result } = await weakOct.encrypt({ algorithm, plaintext: plain, iv });
    assert.deepEqual(Buffer.from((await weakOct.decrypt({ algorithm, ciphertext: result, iv })).result), plain);
  }
});

await operation("wrap and unwrap, RSA-OAEP", async () => {
  for (const alg of ["RSA-OAEP", "RSA-OAEP-256"]) {
    const w = await byURL.wrapKey(alg, plain);
    assert.deepEqual(Buffer.from((await byURL.unwrapKey(alg, w.result)).result), plain);
  }
});

await operation("wrap and unwrap, AES-KW", async () => {
  const w = await oct.wrapKey("A256KW", plain);
  assert.deepEqual(Buffer.from((await oct.unwrapKey("A256KW", w.result)).result), plain);
});

await operation("wrap and unwrap, CKM_AES_KEY_WRAP and _PAD", async () => {
  for (const alg of ["CKM_AES_KEY_WRAP", "CKM_AES_KEY_WRAP_PAD"]) {
    const w = await oct.wrapKey(alg, plain);
    assert.deepEqual(Buffer.from((await oct.unwrapKey(alg, w.result)).result), plain);
  }
});

const signed = async (key, algs) => {
  const c = new CryptographyClient(key.id, credential);
  for (const [alg, hash] of Object.entries(algs)) {
    const digest = createHash(hash).update("m").digest();
    const s = await c.sign(alg, digest);
    assert.equal((await c.verify(alg, digest, s.result)).result, true, alg);
    digest[0] ^= 1;
    assert.equal((await c.verify(alg, digest, s.result)).result, false, alg);
  }
};

await operation("sign and verify, RSA", async () => {
  await signed(rsa, { RS256: "sha256", RS384: "sha384", RS512: "sha512", PS256: "sha256", PS384: "sha384", PS512: "sha512" });
});

await operation("sign and verify, EC", async () => {
  await signed(await client.createEcKey(fresh("ec"), { curve: "P-256" }), { ES256: "sha256" });
  await signed(await client.createEcKey(fresh("ec"), { curve: "P-384" }), { ES384: "sha384" });
  await signed(await client.createEcKey(fresh("ec"), { curve: "P-521" }), { ES512: "sha512" });
});

await operation("sign and verify, P-256K", async () => {
  await signed(await client.createEcKey(fresh("ec"), { curve: "P-256K" }), { ES256K: "sha256" });
});
