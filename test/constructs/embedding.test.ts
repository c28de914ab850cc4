/** Providers of embeddings: the variable of the function that embeds, its rights, and what fails at synthesis. */
import { App, Stack } from "aws-cdk-lib";
import { Template } from "aws-cdk-lib/assertions";
import { Secret } from "aws-cdk-lib/aws-secretsmanager";
import { type EmbeddingOptions, VectorStore, type VectorStoreProps } from "../../lib/constructs/index.ts";
import { env } from "../../lib/contract/names.ts";
import { handlersFolder, statementsOf, storeTemplate } from "./store-template.ts";

const openai = { endpoint: "https://api.openai.com/v1", models: ["text-embedding-3-small"] };
const bedrock = { models: ["amazon.titan-embed-text-v2:0", "eu.cohere.embed-v4:0"] };

function templateOf(embedding: (stack: Stack) => EmbeddingOptions, props: VectorStoreProps = {}): Template {
  const stack = new Stack(new App({ analyticsReporting: false }), "Stack");
  new VectorStore(stack, "Store", { handlersFolder, ...props, embedding: embedding(stack) });
  return Template.fromStack(stack);
}

const withProviders = (template: Template): string[] =>
  Object.values(template.findResources("AWS::Lambda::Function"))
    .filter(({ Properties }) => env.providers in Properties.Environment.Variables)
    .map(({ Properties }) => (Properties.Description as string).split(":")[0]!);

test("the query function alone reaches providers: its secret, its models, the counters", () => {
  const template = templateOf((stack) => ({
    providers: { openai: { ...openai, secret: new Secret(stack, "Key") }, bedrock },
  }));
  expect(withProviders(template)).toEqual(["Siltstone query"]);
  const rights = JSON.stringify(
    Object.values(template.findResources("AWS::IAM::Policy"))
      .filter(({ Properties }) => JSON.stringify(Properties.Roles).includes("StoreQueryRole"))
      .map(({ Properties }) => Properties.PolicyDocument),
  );
  for (const action of ["secretsmanager:GetSecretValue", "bedrock:InvokeModel", "dynamodb:UpdateItem"])
    expect(rights).toContain(`"${action}"`);
  // Of the table the counters alone, and no lease.
  expect(rights).toContain('"ForAllValues:StringLike":{"dynamodb:LeadingKeys":["limit#*"]}');
  const text = JSON.stringify(template.toJSON());
  expect(text).toContain("foundation-model/amazon.titan-embed-text-v2:0");
  expect(text).toContain("inference-profile/eu.cohere.embed-v4:0");
  expect(text).toContain(":bedrock:*::foundation-model/cohere.embed-v4:0");
});

test("with query groups the one that is asked embeds, and the groups do not", () => {
  const template = templateOf(() => ({ providers: { openai } }), { query: { groups: 2 } });
  expect(withProviders(template)).toEqual(["Siltstone query"]);
  expect(statementsOf(template, "StoreQueryGroup0Role").flatMap(({ actions }) => actions)).not.toContain(
    "dynamodb:UpdateItem",
  );
});

test("without providers no function has the variable or the rights", () => {
  const template = storeTemplate();
  expect(withProviders(template)).toEqual([]);
  expect(statementsOf(template, "StoreQueryRole").flatMap(({ actions }) => actions)).not.toContain(
    "dynamodb:UpdateItem",
  );
});

test.each<[string, unknown, string]>([
  ["an unknown prop", { provider: {} }, "embedding.provider: no such prop"],
  ["an unknown provider", { providers: { acme: openai } }, "SILTSTONE_PROVIDERS.acme is no provider"],
  [
    "no models",
    { providers: { openai: { endpoint: openai.endpoint, models: [] } } },
    "openai.models must be a list of 1 to 32",
  ],
  [
    "more than a function's variables hold",
    {
      providers: {
        openai: { ...openai, models: Array.from({ length: 32 }, (_, i) => `model-${i}`.padEnd(200, "x")) },
      },
    },
    "embedding.providers: takes",
  ],
  [
    "a rate of nothing",
    { providers: { openai: { ...openai, requestsPerMinute: 0 } } },
    "requestsPerMinute must be an integer from 1",
  ],
])("%s fails at synthesis", (_, embedding, message) => {
  expect(() => templateOf(() => embedding as EmbeddingOptions)).toThrow(message);
});
