import assert from "node:assert/strict";
import { ClientAssertionCredential, ClientCertificateCredential, ClientSecretCredential, ManagedIdentityCredential } from "@azure/identity";
import { KeyClient } from "@azure/keyvault-keys";
import { authority, credential, fresh, operation, principal, refusal, tenant, vault } from "./rig.mjs";

// What every credential is told of a token service that is not Microsoft's.
const here = { authorityHost: authority, disableInstanceDiscovery: true };

const works = async (c, url = vault, options = {}) => {
  const client = new KeyClient(url, c, options);
  const name = fresh("identity");
  await client.createEcKey(name);
  assert.equal((await client.getKey(name)).name, name);
};

await operation("service principal with a secret", async () => {
  await works(new ClientSecretCredential(tenant, principal.id, principal.secret, here));
  await assert.rejects(works(new ClientSecretCredential(tenant, principal.id, "wrong", here)), /invalid_client/);
});

await operation("service principal with a certificate", async () => {
  await works(new ClientCertificateCredential(tenant, process.env.OPENSKR_CERTIFICATE_ID, process.env.OPENSKR_CERTIFICATE, here));
});

await operation("workload federation", async () => {
  const assertion = () => process.env.OPENSKR_ASSERTION;
  await works(new ClientAssertionCredential(tenant, process.env.OPENSKR_FEDERATED_ID, assertion, here));
});

await operation("managed identity (IDENTITY_ENDPOINT)", async () => {
  await works(new ManagedIdentityCredential());
});

await operation("default vault, at a host without a vault's name", async () => {
  await works(new ManagedIdentityCredential(), authority, { disableChallengeResourceVerification: true });
  await assert.rejects(works(new ManagedIdentityCredential(), authority), /does not match/);
});

await refusal("request without a role", async () => {
  const reader = new KeyClient(vault, new ClientSecretCredential(tenant, process.env.OPENSKR_READER_ID, process.env.OPENSKR_READER_SECRET, here));
  for (const name of ["role", "nothing"]) await assert.rejects(reader.createEcKey(fresh(name)), { statusCode: 403, code: "Forbidden" });
});

await operation("access token from elsewhere", async () => {
  await works({ getToken: async () => ({ token: process.env.OPENSKR_ACCESS_TOKEN, expiresOnTimestamp: Date.now() + 1800_000 }) });
});
