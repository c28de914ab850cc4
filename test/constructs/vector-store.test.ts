/** What the VectorStore creates: SNP-8's bucket, the queues, the table, the functions, the schedules (ENV-1). */
import { Stack } from "aws-cdk-lib";
import { Match, Template } from "aws-cdk-lib/assertions";
import { Architecture } from "aws-cdk-lib/aws-lambda";
import { VectorStore } from "../../lib/constructs/index.ts";
import { outputNames } from "../../lib/contract/functions.ts";
import { metricNamespace } from "../../lib/contract/metrics.ts";
import { env } from "../../lib/contract/names.ts";
import { settings } from "../../lib/contract/settings.ts";
import { handlersFolder, storeStack, storeTemplate } from "./store-template.ts";

const { groupFunctions: _ofTheFrontOnly, ...everyFunctionHas } = env;
const variablesOfQuery = [
  ...Object.values(everyFunctionHas),
  settings.refreshSeconds.variable,
  settings.cacheBytesMax.variable,
].sort();

interface Resource {
  readonly Properties: Record<string, unknown>;
  readonly DeletionPolicy?: string;
}
const resources = (template: Template, type: string): Resource[] =>
  Object.values(template.findResources(type)) as unknown as Resource[];
const functionOf = (template: Template, name: "producer" | "compactor" | "query"): Record<string, unknown> =>
  resources(template, "AWS::Lambda::Function").find(({ Properties }) =>
    (Properties.Description as string).startsWith(`Siltstone ${name}:`),
  )!.Properties;
const variables = (properties: Record<string, unknown>): string[] =>
  Object.keys((properties.Environment as { Variables: object }).Variables).sort();

let dev: Template;
beforeAll(() => {
  dev = storeTemplate();
});

describe("bucket", () => {
  test("is versioned, encrypted and private", () => {
    dev.resourceCountIs("AWS::S3::Bucket", 1);
    dev.hasResourceProperties("AWS::S3::Bucket", {
      VersioningConfiguration: { Status: "Enabled" },
      BucketEncryption: {
        ServerSideEncryptionConfiguration: [{ ServerSideEncryptionByDefault: { SSEAlgorithm: "AES256" } }],
      },
      PublicAccessBlockConfiguration: {
        BlockPublicAcls: true,
        BlockPublicPolicy: true,
        IgnorePublicAcls: true,
        RestrictPublicBuckets: true,
      },
      OwnershipControls: { Rules: [{ ObjectOwnership: "BucketOwnerEnforced" }] },
    });
  });

  test("refuses what does not come over TLS", () => {
    dev.hasResourceProperties("AWS::S3::BucketPolicy", {
      PolicyDocument: Match.objectLike({
        Statement: Match.arrayWith([
          Match.objectLike({ Effect: "Deny", Condition: { Bool: { "aws:SecureTransport": "false" } } }),
        ]),
      }),
    });
  });

  test("lets no principal write over what is there, but for what is known by its ETag and the compactor's copies", () => {
    const [policy] = resources(dev, "AWS::S3::BucketPolicy");
    const { Statement } = policy!.Properties.PolicyDocument as {
      Statement: { Action: unknown; Sid?: string }[];
    };
    const path = (pattern: string) => ({
      "Fn::Join": ["", [{ "Fn::GetAtt": [expect.stringMatching(/^StoreStorageBucket/), "Arn"] }, pattern]],
    });
    const creates = { "s3:ObjectCreationOperation": "true" };
    expect(Statement.filter(({ Action }) => Action !== "s3:*")).toEqual([
      {
        Sid: "WrittenOnce",
        ...{ Effect: "Deny", Principal: { AWS: "*" }, Action: "s3:PutObject" },
        NotResource: [path("/*/pointer.json"), path("/*/quarantine/*")],
        Condition: { Null: { "s3:if-none-match": "true" }, BoolIfExists: creates },
      },
      {
        Sid: "ReplacedAsKnown",
        ...{ Effect: "Deny", Principal: { AWS: "*" }, Action: "s3:PutObject" },
        Resource: [path("/*/pointer.json"), path("/*/quarantine/*.json")],
        Condition: { Null: { "s3:if-match": "true", "s3:if-none-match": "true" }, BoolIfExists: creates },
      },
    ]);
  });

  test("has exactly the two lifecycle rules", () => {
    const { Rules } = resources(dev, "AWS::S3::Bucket")[0]!.Properties.LifecycleConfiguration as {
      Rules: unknown[];
    };
    expect(Rules).toEqual([
      {
        Id: "tier-segments",
        Status: "Enabled",
        ObjectSizeGreaterThan: 131072,
        Transitions: [{ StorageClass: "INTELLIGENT_TIERING", TransitionInDays: 1 }],
      },
      {
        Id: "remove-superseded",
        Status: "Enabled",
        NoncurrentVersionExpiration: { NoncurrentDays: 14 },
        ExpiredObjectDeleteMarker: true,
        AbortIncompleteMultipartUpload: { DaysAfterInitiation: 1 },
      },
    ]);
  });

  test("no rule ever expires a current object, whatever the props", () => {
    for (const stage of ["dev", "staging", "prod"]) {
      const text = JSON.stringify(
        resources(storeTemplate({ stage, noncurrentVersionDays: 40 }), "AWS::S3::Bucket"),
      );
      expect(text).not.toMatch(/"Expiration(InDays|Date)"/);
      expect(text).toContain('"NoncurrentDays":40');
    }
  });
});

test("queue: hides a message for longer than a run, and redrives only as a backstop", () => {
  dev.resourceCountIs("AWS::SQS::Queue", 2);
  dev.hasResourceProperties("AWS::SQS::Queue", {
    VisibilityTimeout: 960,
    SqsManagedSseEnabled: true,
    RedrivePolicy: Match.objectLike({ maxReceiveCount: 100 }),
  });
  dev.hasResourceProperties("AWS::SQS::Queue", {
    MessageRetentionPeriod: 1_209_600,
    SqsManagedSseEnabled: true,
  });
  expect(functionOf(dev, "compactor").Timeout).toBeLessThan(960);
});

test("table: on demand, recoverable, with the contract's keys", () => {
  dev.hasResourceProperties("AWS::DynamoDB::Table", {
    BillingMode: "PAY_PER_REQUEST",
    PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true },
    KeySchema: [
      { AttributeName: "pk", KeyType: "HASH" },
      { AttributeName: "sk", KeyType: "RANGE" },
    ],
    AttributeDefinitions: [
      { AttributeName: "pk", AttributeType: "S" },
      { AttributeName: "sk", AttributeType: "S" },
    ],
    TimeToLiveSpecification: { AttributeName: "expiresAtSeconds", Enabled: true },
  });
});

describe("functions", () => {
  test.each([
    ["producer", 512, 30, undefined],
    ["compactor", 3008, 900, 4096],
    ["query", 3008, 30, 4096],
  ] as const)("%s has its limits", (name, memory, timeout, storage) => {
    const properties = functionOf(dev, name);
    expect(properties).toMatchObject({
      Runtime: "nodejs24.x",
      Handler: "handler.handler",
      Architectures: ["x86_64"],
      MemorySize: memory,
      Timeout: timeout,
    });
    expect(properties.EphemeralStorage).toEqual(storage === undefined ? undefined : { Size: storage });
    expect(properties.ReservedConcurrentExecutions).toBeUndefined();
    expect(properties.TracingConfig).toBeUndefined();
  });

  test("get exactly the contract's environment variables", () => {
    const shared = [env.stage, env.store, env.bucket, env.table, env.queueUrl, env.deadLetterQueueUrl];
    expect(variables(functionOf(dev, "producer"))).toEqual([...shared].sort());
    expect(variables(functionOf(dev, "compactor"))).toEqual([...shared].sort());
    expect(variables(functionOf(dev, "query"))).toEqual(variablesOfQuery);
  });

  test("take the props", () => {
    const template = storeTemplate({
      architecture: Architecture.ARM_64,
      producerMemoryMiB: 1024,
      compactorMemoryMiB: 10_240,
      queryMemoryMiB: 2048,
      compactorStorageMiB: 10_240,
      queryStorageMiB: 1024,
      refreshSeconds: 0,
      producerReservedConcurrency: 10,
      compactorReservedConcurrency: 2,
      queryReservedConcurrency: 50,
    });
    expect(functionOf(template, "producer")).toMatchObject({
      Architectures: ["arm64"],
      MemorySize: 1024,
      ReservedConcurrentExecutions: 10,
    });
    expect(functionOf(template, "compactor")).toMatchObject({
      Architectures: ["arm64"],
      MemorySize: 10_240,
      EphemeralStorage: { Size: 10_240 },
      ReservedConcurrentExecutions: 2,
    });
    expect(functionOf(template, "query")).toMatchObject({
      MemorySize: 2048,
      EphemeralStorage: { Size: 1024 },
      ReservedConcurrentExecutions: 50,
      Environment: {
        Variables: {
          [settings.refreshSeconds.variable]: "0",
          [settings.cacheBytesMax.variable]: String(512 * 1024 * 1024),
        },
      },
    });
  });

  test("producer and query have a URL with IAM authorisation; the compactor has no URL", () => {
    const urls = resources(dev, "AWS::Lambda::Url").map(({ Properties }) => Properties);
    expect(urls).toHaveLength(2);
    for (const url of urls) expect(url.AuthType).toBe("AWS_IAM");
    expect(JSON.stringify(urls)).not.toContain("Compactor");
  });
});

describe("query groups", () => {
  const groupOf = (template: Template, group: number) =>
    resources(template, "AWS::Lambda::Function").find(({ Properties }) =>
      (Properties.Description as string).startsWith(`Siltstone query group ${group} of 2:`),
    )!.Properties;

  test("one is the default and changes nothing", () => {
    expect(storeTemplate({ queryGroups: 1 }).toJSON()).toEqual(dev.toJSON());
    expect(storeStack().store.query.groupFunctions).toEqual([]);
  });

  test("two: each has the query function's limits, and the query function knows their names in order", () => {
    const template = storeTemplate({ queryGroups: 2, queryMemoryMiB: 2048, queryReservedConcurrency: 7 });
    template.resourceCountIs("AWS::Lambda::Function", 5);
    template.resourceCountIs("AWS::Lambda::Url", 2);
    for (const group of [0, 1]) {
      expect(groupOf(template, group)).toMatchObject({
        MemorySize: 2048,
        Timeout: 30,
        EphemeralStorage: { Size: 4096 },
        ReservedConcurrentExecutions: 7,
        Environment: { Variables: { [settings.cacheBytesMax.variable]: String(1024 * 1024 * 1024) } },
      });
      expect(variables(groupOf(template, group))).toEqual(variablesOfQuery);
    }
    const front = functionOf(template, "query");
    expect(front).toMatchObject({ MemorySize: 1769, Timeout: 30, ReservedConcurrentExecutions: 7 });
    const names = (front.Environment as { Variables: Record<string, unknown> }).Variables[env.groupFunctions];
    expect(JSON.stringify(names)).toMatch(
      /"StoreQueryGroup0Function\w+"\},",",\{"Ref":"StoreQueryGroup1Function/,
    );
    const shown = (all: Template) =>
      Object.keys(all.findResources("AWS::Lambda::Function")).find((id) =>
        id.startsWith("StoreQueryFunction"),
      );
    expect(shown(template)).toBe(shown(dev));
    expect(template.findOutputs("*")).toEqual(dev.findOutputs("*"));
  });

  test.each([0, 49, 1.5, Number.NaN])("%p groups are refused", (queryGroups) => {
    expect(() => storeTemplate({ queryGroups })).toThrow(
      `queryGroups: must be an integer from 1 to 48, got ${queryGroups}`,
    );
  });
});

test("schedules: ingestion every minute, upkeep every five, nothing repeated", () => {
  const schedules = resources(dev, "AWS::Scheduler::Schedule").map(({ Properties }) => Properties);
  const seen = schedules.map(({ ScheduleExpression, Target, FlexibleTimeWindow }) => {
    const { Input, RetryPolicy } = Target as { Input: string; RetryPolicy: unknown };
    return { ScheduleExpression, FlexibleTimeWindow, input: JSON.parse(Input), RetryPolicy };
  });
  const common = {
    FlexibleTimeWindow: { Mode: "OFF" },
    RetryPolicy: { MaximumRetryAttempts: 0, MaximumEventAgeInSeconds: 60 },
  };
  expect(seen).toEqual([
    { ...common, ScheduleExpression: "rate(1 minute)", input: { source: "scheduled" } },
    { ...common, ScheduleExpression: "rate(5 minutes)", input: { source: "upkeep" } },
  ]);
  // The scheduler invokes asynchronously: Lambda would repeat a failed run by itself.
  dev.hasResourceProperties("AWS::Lambda::EventInvokeConfig", {
    MaximumRetryAttempts: 0,
    MaximumEventAgeInSeconds: 60,
  });
});

describe("stages", () => {
  test.each([
    ["dev", "Delete", 7],
    ["staging", "Retain", 30],
    ["prod", "Retain", 90],
    ["pr-123", "Delete", 7],
    ["customer-a", "Retain", 90],
  ] as const)("%s: data is %sed with the stack, logs stay %d days", (stage, policy, days) => {
    const template = storeTemplate({ stage });
    const kept = ["AWS::S3::Bucket", "AWS::DynamoDB::Table", "AWS::Logs::LogGroup"].flatMap((type) =>
      resources(template, type).map(({ DeletionPolicy }) => DeletionPolicy),
    );
    expect(kept).toEqual(Array(5).fill(policy));
    for (const { Properties } of resources(template, "AWS::Logs::LogGroup")) {
      expect(Properties.RetentionInDays).toBe(days);
    }
    template.allResourcesProperties("AWS::S3::Bucket", {
      Tags: Match.arrayWith([
        { Key: "application", Value: "siltstone" },
        { Key: "stage", Value: stage },
      ]),
    });
  });

  test("needs no custom resource", () => {
    dev.resourceCountIs("AWS::Lambda::Function", 3);
  });
});

test("outputs are the contract's, unless they are not wanted", () => {
  expect(Object.keys(dev.toJSON().Outputs).sort()).toEqual([...outputNames].sort());
  const { stack } = storeStack();
  expect(() => new VectorStore(stack, "Second", { handlersFolder, outputs: false })).not.toThrow();
  expect(storeTemplate({ outputs: false }).toJSON().Outputs).toBeUndefined();
});

test("the same handlers give the same assets", () => {
  const keys = (template: Template) =>
    resources(template, "AWS::Lambda::Function").map(
      ({ Properties }) => (Properties.Code as { S3Key: string }).S3Key,
    );
  expect(keys(storeTemplate({ stage: "prod" }))).toEqual(keys(dev));
  expect(new Set(keys(dev)).size).toBe(3);
});

describe("bad props are refused by name", () => {
  test.each([
    ...["local", "Prod", "pr_1", "1", "a-", "", "a".repeat(33)].map((stage): [object, string] => [
      { stage },
      `stage: must be 1 to 32 of a-z 0-9 -, beginning with a letter, ending with a letter or digit, and not local, got "${stage}"`,
    ]),
    [{ noncurrentVersionDays: 13 }, "noncurrentVersionDays: must be an integer from 14 to 36500, got 13"],
    [{ refreshSeconds: 301 }, "refreshSeconds: must be an integer from 0 to 300, got 301"],
    [
      { queryCacheMiB: 5000 },
      "queryCacheMiB: must be at most 2048, half of the function's local disk of 4096 MiB, got 5000",
    ],
    [{ handlersFolder: "/nowhere" }, "handlersFolder: /nowhere/producer has no handler.js"],
  ])("%p", (props, message) => {
    expect(() => storeStack(props)).toThrow(message);
  });
});

test("two stores share no metric: each has a name of its own, which its functions are told", () => {
  const { app, stack, store } = storeStack();
  const second = new VectorStore(stack, "Second", { handlersFolder, outputs: false });
  const third = new VectorStore(new Stack(app, "Other"), "Store", { handlersFolder });
  const names = [store, second, third].map(({ storeName }) => storeName);
  expect(names).toEqual(["Stack/Store", "Stack/Second", "Other/Store"]);
  const told = resources(Template.fromStack(stack), "AWS::Lambda::Function").map(
    ({ Properties }) =>
      (Properties.Environment as { Variables: Record<string, string> }).Variables[env.store],
  );
  expect(told.sort()).toEqual([...Array(3).fill("Stack/Second"), ...Array(3).fill("Stack/Store")]);
  const dimensions = [store, second, third].map(
    (one) => one.metric("QueryErrors").toMetricConfig().metricStat?.dimensions,
  );
  expect(dimensions).toEqual(names.map((value) => [{ name: "store", value }]));
});

test("metrics name the contract's namespace, names and dimensions", () => {
  const { store } = storeStack({ stage: "staging" });
  expect(store.metric("OldestUnmergedDeltaAge").toMetricConfig().metricStat).toMatchObject({
    namespace: metricNamespace,
    metricName: "OldestUnmergedDeltaAge",
    statistic: "Maximum",
    dimensions: [{ name: "store", value: "Stack/Store" }],
  });
  expect(store.metric("QueryLatency", { statistic: "p50" }).statistic).toBe("p50");
  expect(
    store.metric("QueryLatency", { collection: "docs" }).toMetricConfig().metricStat?.dimensions,
  ).toEqual([
    { name: "collection", value: "docs" },
    { name: "store", value: "Stack/Store" },
  ]);
  expect(() => store.metric("QueryErrors", { collection: "docs" })).toThrow(
    "metric QueryErrors: is of the whole store, not of a collection; got docs",
  );
});
