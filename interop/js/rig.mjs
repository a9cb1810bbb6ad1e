// What every test here shares: the broker as its environment names it, and the notes
// that docs/compatibility.md is made of.
import { appendFileSync } from "node:fs";
import { test } from "node:test";
import { randomBytes } from "node:crypto";
import { ManagedIdentityCredential } from "@azure/identity";

const wanted = (name) => {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run this by \`make interop\``);
  return value;
};

export const vault = wanted("OPENSKR_VAULT");
export const authority = wanted("OPENSKR_AUTHORITY");
export const tenant = wanted("OPENSKR_TENANT");
export const principal = { id: wanted("OPENSKR_CLIENT_ID"), secret: wanted("OPENSKR_CLIENT_SECRET") };

// The harness answers at IDENTITY_ENDPOINT.
export const credential = new ManagedIdentityCredential();

const noted = (outcome) => (operation, ...subject) => {
  const [options, run] = subject.length > 1 ? subject : [{}, subject[0]];
  return test(operation, options, async (t) => {
    await run(t);
    appendFileSync(wanted("OPENSKR_NOTES"), `JavaScript\t${operation}\t${outcome}\n`);
  });
};

// operation proves one cell of the compatibility table; refusal one that is refused on
// purpose, difference one that works otherwise than at Azure.
export const operation = noted("works");
export const refusal = noted("refused");
export const difference = noted("differs");

export const fresh = (prefix) => `${prefix}-js-${randomBytes(5).toString("hex")}`;

export const all = async (pages) => {
  const out = [];
  for await (const item of pages) out.push(item);
  return out;
};
