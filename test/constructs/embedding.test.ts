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

test("the query function and the embedder alone reach providers: their secret, their models, the counters", () => {
  const template = templateOf((stack) => ({
    providers: { openai: { ...openai, secret: new Secret(stack, "Key") }, bedrock },
  }));
  expect(withProviders(template).sort()).toEqual(["Siltstone embedder", "Siltstone query"]);
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

test("with query groups the one that is asked embeds queries, and the groups do not", () => {
  const template = templateOf(() => ({ providers: { openai } }), { query: { groups: 2 } });
  expect(withProviders(template).sort()).toEqual(["Siltstone embedder", "Siltstone query"]);
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

test("a store that embeds has queues, a schedule, an index and exact rights for it; one that does not has nothing of it", () => {
  const template = templateOf(() => ({}));
  template.resourceCountIs("AWS::Lambda::EventSourceMapping", 3);
  template.hasResourceProperties("AWS::Lambda::EventSourceMapping", {
    FunctionResponseTypes: ["ReportBatchItemFailures"],
    ScalingConfig: { MaximumConcurrency: 8 },
  });
  template.hasResourceProperties("AWS::Scheduler::Schedule", {
    ScheduleExpression: "rate(1 minute)",
    Target: { Input: '{"source":"sweep"}' },
  });
  template.hasResourceProperties("AWS::DynamoDB::Table", {
    GlobalSecondaryIndexes: [{ IndexName: "work", Projection: { ProjectionType: "KEYS_ONLY" } }],
  });
  const actions = statementsOf(template, "StoreJobsEmbedderRole").flatMap((one) => one.actions);
  expect([...new Set(actions)].sort()).toEqual([
    ...["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query", "dynamodb:UpdateItem"],
    ...["logs:CreateLogStream", "logs:PutLogEvents"],
    ...["s3:GetObject", "s3:ListBucket", "s3:PutObject"],
    ...["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:GetQueueUrl"],
    ...["sqs:ReceiveMessage", "sqs:SendMessage"],
  ]);
  const without = storeTemplate();
  without.resourceCountIs("AWS::Lambda::EventSourceMapping", 0);
  expect(JSON.stringify(without.toJSON())).not.toMatch(/Embedder|workKey|JOB_QUEUE/);
  expect(() => new VectorStore(new Stack(), "Store", { handlersFolder }).grantSaveItems({} as never)).toThrow(
    "the store embeds no items",
  );
});

test.each<[string, unknown, string]>([
  [
    "more workers than Lambda takes",
    { workersMax: 1_001 },
    "embedding.workersMax: must be an integer from 2 to 1000",
  ],
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
