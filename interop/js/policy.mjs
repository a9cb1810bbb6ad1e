import { authority } from "./rig.mjs";

// releasePolicy wants a token of the broker's attestation service about hardware of this type.
export const releasePolicy = (type) => ({
  encodedPolicy: Buffer.from(
    JSON.stringify({ version: "1.0.0", anyOf: [{ authority, allOf: [{ claim: "x-ms-attestation-type", equals: type }] }] }),
  ),
});
