/**
 * The rights by which texts are embedded: the embedder for items and the query function for queries read the key of a provider from Secrets
 * Manager and invoke the models of Bedrock under the template's roles, and no other function may.
 */
import { type FakeProvider, startFakeProvider } from "../../lib/clients/fake-provider.ts";
import { completeProfile } from "../../lib/core/model/embedding-profile.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { AccessControl } from "../../scripts/local/iam/access.ts";
import { accountId } from "../../scripts/local/resource-names.ts";
import { EmbeddingServices } from "../support/embedding-services.ts";
import { Deployed, eventually } from "./deployed.ts";
import { rightsOf, unneeded } from "./needed-rights.ts";

jest.setTimeout(120_000);
const deployed = new Deployed();
const services = new EmbeddingServices("us-east-1", () => deployed.stack.access);
const secretArn = `arn:aws:secretsmanager:us-east-1:${accountId}:secret:openai-AbCdEf`;
const key = "sk-of-the-stage";
const titan = "amazon.titan-embed-text-v2:0";
const cohere = "us.cohere.embed-v4:0";
const openai = "text-embedding-3-small";
let provider: FakeProvider;
let keyed: FakeProvider;

beforeAll(async () => {
  [provider, keyed] = await Promise.all([
    startFakeProvider({ dims: 256 }),
    startFakeProvider({ dims: 256, key }),
  ]);
  await services.start();
  services.bedrockUrl = provider.url;
  services.secrets.set(secretArn, JSON.stringify({ key }));
  await deployed.start(1_000, {
    providers: {
      openai: { endpoint: `${keyed.url}/v1`, models: [openai], secretArn },
      bedrock: { models: [titan, cohere] },
    },
    services: {
      AWS_ENDPOINT_URL_SECRETS_MANAGER: services.endpoint,
      AWS_ENDPOINT_URL_BEDROCK_RUNTIME: services.endpoint,
    },
  });
});
afterAll(async () => {
  await deployed.stop();
  deployed.remove();
  services.stop();
  await Promise.all([provider?.close(), keyed?.close()]);
});

test.each([
  ["openai", openai],
  ["bedrock", titan],
  ["bedrock", cohere],
] as const)("items and queries are embedded by %s, %s", async (name, model) => {
  const collection = `by-${model.replaceAll(/[^a-z0-9]/g, "-")}`;
  const embedder = completeProfile({ provider: name, model });
  await createCollection(deployed.world, { name: collection, dims: 256, metric: "cosine", embedder });
  const items = [{ id: "a", text: "a stone of silt" }];
  await deployed.answer("producer", { collection, items });
  const found = await eventually(async () => {
    const query = { collection, text: "silt", topK: 1, consistency: "strong", include: ["metadata"] };
    const { value, failed } = await deployed.invoke("query", query);
    if (failed) throw new Error(JSON.stringify(value));
    return value.results.length > 0 ? value.results : undefined;
  });
  expect(found[0].metadata).toMatchObject({ item: "a" });
});

test("each of these rights is needed by both, and no other role has one", () => {
  const { rules } = deployed.stack.access;
  const isOfEmbedding = ({ action, resource }: { action: string; resource: string }) =>
    action === "secretsmanager:GetSecretValue" || (action === "bedrock:InvokeModel" && resource !== "");
  const rights = rightsOf(rules).filter(isOfEmbedding);
  const callers = [...new Set(rights.map(({ caller }) => caller))];
  expect(callers).toHaveLength(2);
  for (const part of ["Embedder", "Query"])
    expect(callers.some((caller) => caller.startsWith("function.") && caller.includes(part))).toBe(true);
  expect(rights).toHaveLength(8);
  expect(unneeded(rules, rights, services.allowed)).toEqual([]);
  const control = new AccessControl(rules, accountId);
  const producer = Object.keys(rules.callers).find((one) => one.includes("Producer"))!;
  for (const { accessKey: _, ...asked } of services.allowed)
    expect(control.denialOf(producer, [asked])).toMatchObject({ kind: "denied" });
});
