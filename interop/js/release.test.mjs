import assert from "node:assert/strict";
import { KeyClient } from "@azure/keyvault-keys";
import { releasePolicy } from "./policy.mjs";
import { credential, fresh, operation, refusal, vault } from "./rig.mjs";

const client = new KeyClient(vault, credential);
const target = process.env.OPENSKR_TARGET;
const exportable = (type) => client.createRsaKey(fresh("released"), { exportable: true, hsm: true, releasePolicy: releasePolicy(type) });
const payload = (jws) => JSON.parse(Buffer.from(jws.split(".")[1], "base64url"));

await operation("key release", async () => {
  const k = await exportable("sevsnpvm");
  const { value } = await client.releaseKey(k.name, target, { nonce: "n", algorithm: "RSA_AES_KEY_WRAP_256" });
  const { request, response } = payload(value);
  assert.equal(request.enc, "RSA_AES_KEY_WRAP_256");
  assert.equal(response.key.key.kid, k.id);
  const wrapped = JSON.parse(Buffer.from(response.key.key.key_hsm, "base64url"));
  assert.equal(wrapped.header.enc, "RSA_AES_KEY_WRAP_256");
});

await refusal("key release, policy not met", async () => {
  const k = await exportable("sgx");
  await assert.rejects(client.releaseKey(k.name, target), { statusCode: 403, code: "Forbidden" });
});
