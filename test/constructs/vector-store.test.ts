/** What the VectorStore creates: SNP-8's bucket, the queues, the table, the functions, the schedules (ENV-1). */
import { App, Stack } from "aws-cdk-lib";
import { Match, Template } from "aws-cdk-lib/assertions";
import { type IVpc, SubnetType, Vpc } from "aws-cdk-lib/aws-ec2";
import { ManagedPolicy, Role, ServicePrincipal } from "aws-cdk-lib/aws-iam";
import { Key } from "aws-cdk-lib/aws-kms";
import { Architecture } from "aws-cdk-lib/aws-lambda";
import { Bucket } from "aws-cdk-lib/aws-s3";
import { Secret } from "aws-cdk-lib/aws-secretsmanager";
import { type NetworkOptions, VectorStore, type VectorStoreProps } from "../../lib/constructs/index.ts";
import { outputNames } from "../../lib/contract/functions.ts";
import { metricNamespace } from "../../lib/contract/metrics.ts";
import { env } from "../../lib/contract/names.ts";
import { cacheBytes, settings } from "../../lib/contract/settings.ts";
import { handlersFolder, statementsOf, storeStack, storeTemplate } from "./store-template.ts";

// Of the front only, and of stages with providers only.
const {
  groupFunctions: _front,
  providers: _providers,
  providerOverrides: _overrides,
  jobQueueUrls: _queues,
  jobDeadLetterQueueUrl: _dead,
  embedderFunction: _embedder,
  ...everyFunctionHas
} = env;
const variablesOfQuery = [
  ...Object.values(everyFunctionHas),
  settings["query.refreshSeconds"].variable,
  cacheBytes.variable,
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
    const everything = [{ "Fn::GetAtt": [expect.any(String), "Arn"] }, path("/*")];
    const denied = { Effect: "Deny", Principal: { AWS: "*" } };
    expect(Statement).toEqual([
      {
        Sid: "OverTls",
        ...{ ...denied, Action: "s3:*", Resource: everything },
        Condition: { Bool: { "aws:SecureTransport": "false" } },
      },
      {
        Sid: "OverNewTls",
        ...{ ...denied, Action: "s3:*", Resource: everything },
        Condition: { NumericLessThan: { "s3:TlsVersion": "1.2" } },
      },
      {
        Sid: "OfThisAccount",
        ...denied,
        Action: ["s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion"],
        Resource: everything,
        Condition: { StringNotEquals: { "aws:PrincipalAccount": { Ref: "AWS::AccountId" } } },
      },
      {
        Sid: "WrittenOnce",
        ...{ Effect: "Deny", Principal: { AWS: "*" }, Action: "s3:PutObject" },
        NotResource: [path("/*/pointer.json"), path("/*/alias.json"), path("/*/quarantine/*")],
        Condition: { Null: { "s3:if-none-match": "true" }, BoolIfExists: creates },
      },
      {
        Sid: "ReplacedAsKnown",
        ...{ Effect: "Deny", Principal: { AWS: "*" }, Action: "s3:PutObject" },
        Resource: [path("/*/pointer.json"), path("/*/alias.json"), path("/*/quarantine/*.json")],
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
        resources(storeTemplate({ stage, storage: { noncurrentVersionDays: 40 } }), "AWS::S3::Bucket"),
      );
      expect(text).not.toMatch(/"Expiration(InDays|Date)"/);
      expect(text).toContain('"NoncurrentDays":40');
    }
  });
});

test("queue: hides a message for longer than a run, and redrives only as a backstop", () => {
  dev.resourceCountIs("AWS::SQS::Queue", 3);
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
      producer: { memoryMiB: 1024, reservedConcurrency: 10 },
      compaction: { memoryMiB: 10_240, diskMiB: 10_240, reservedConcurrency: 2 },
      query: { memoryMiB: 2048, diskMiB: 1024, refreshSeconds: 0, reservedConcurrency: 50 },
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
          [settings["query.refreshSeconds"].variable]: "0",
          [cacheBytes.variable]: String(512 * 1024 * 1024),
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

describe("declared collections", () => {
  const declared = (add: (store: VectorStore) => void) => {
    const { stack, store } = storeStack();
    add(store);
    return Template.fromStack(stack);
  };

  test("are custom resources of the collections function, with their whole configuration", () => {
    const template = declared((store) => {
      store.addCollection("docs", { dims: 384, metric: "cosine", fields: { lang: "string" } });
      store.addCollection("notes", { dims: 8, metric: "l2", shards: 2 });
    });
    const [docs, notes, ...others] = resources(template, "Custom::SiltstoneCollection");
    expect(others).toEqual([]);
    expect(JSON.parse(String(docs!.Properties.Configuration))).toEqual({
      ...{ name: "docs", dims: 384, metric: "cosine", fields: { lang: "string" } },
    });
    expect(JSON.parse(String(notes!.Properties.Configuration)).shards).toBe(2);
    expect(JSON.stringify(docs!.Properties.ServiceToken)).toContain("StoreCollectionsFunction");
    // Its rights have to be there first.
    expect(JSON.stringify(docs)).toMatch(/"DependsOn":\[.*RoleDefaultPolicy/);
  });

  test.each([
    ["Docs", { dims: 8, metric: "l2" }, "not a collection name"],
    ["docs", { dims: 0, metric: "l2" }, "dims must be an integer from 1 to 4096, got 0"],
    ["docs", { dims: 8, metric: "hamming" }, 'metric must be one of cosine, l2, ip, got "hamming"'],
    ["docs", { dims: 8, metric: "l2", dim: 3 }, "dim"],
  ])("%s %j is refused at synthesis", (name, options, message) => {
    expect(() => declared((store) => store.addCollection(name, options as never))).toThrow(message);
  });

  test("the same twice is refused", () => {
    const twice = (store: VectorStore) => {
      for (const dims of [1, 2]) store.addCollection("docs", { dims, metric: "l2" });
    };
    expect(() => declared(twice)).toThrow("docs");
  });
});

describe("what a store can be given", () => {
  test("a bucket that is there: it is read and written, gets the policy, and no bucket is made", () => {
    const app = new App();
    const stack = new Stack(app, "Stack");
    const bucket = Bucket.fromBucketName(stack, "Kept", "kept-from-before");
    new VectorStore(stack, "Store", { handlersFolder, storage: { bucket } });
    const template = Template.fromStack(stack);
    template.resourceCountIs("AWS::S3::Bucket", 0);
    template.hasResourceProperties("AWS::S3::BucketPolicy", { Bucket: "kept-from-before" });
    template.hasOutput("BucketName", { Value: "kept-from-before" });
    expect(() => storeStack({ storage: { bucket, noncurrentVersionDays: 20 } })).toThrow(
      "storage.noncurrentVersionDays: the lifecycle rules of storage.bucket are its owner's",
    );
  });

  test("a key: of bucket, queues, table and logs, with the rights that follow, through each service alone", () => {
    const stack = new Stack(new App(), "Stack");
    const encryptionKey = new Key(stack, "Key");
    const store = new VectorStore(stack, "Store", { handlersFolder, storage: { encryptionKey } });
    const upstream = new Role(stack, "Upstream", { assumedBy: new ServicePrincipal("ecs.amazonaws.com") });
    store.grantProduce(upstream);
    const template = Template.fromStack(stack);
    const key = { "Fn::GetAtt": [expect.stringMatching(/^Key/), "Arn"] };
    const [bucket] = resources(template, "AWS::S3::Bucket");
    expect(bucket!.Properties.BucketEncryption).toEqual({
      ServerSideEncryptionConfiguration: [
        {
          BucketKeyEnabled: true,
          ServerSideEncryptionByDefault: { SSEAlgorithm: "aws:kms", KMSMasterKeyID: key },
        },
      ],
    });
    for (const { Properties } of resources(template, "AWS::SQS::Queue"))
      expect(Properties.KmsMasterKeyId).toEqual(key);
    for (const { Properties } of resources(template, "AWS::Logs::LogGroup"))
      expect(Properties.KmsKeyId).toEqual(key);
    const [table] = resources(template, "AWS::DynamoDB::Table");
    expect(table!.Properties.SSESpecification).toEqual({
      KMSMasterKeyId: key,
      SSEEnabled: true,
      SSEType: "KMS",
    });
    const uses = (role: string) =>
      resources(template, "AWS::IAM::Policy")
        .filter(({ Properties }) => JSON.stringify(Properties.Roles).includes(`"${role}`))
        .flatMap(({ Properties }) => (Properties.PolicyDocument as { Statement: object[] }).Statement)
        .map((statement) => statement as { Action: string | string[]; Condition?: object; Resource: unknown })
        .filter(({ Action }) => [Action].flat().some((action) => action.startsWith("kms:")))
        .map(({ Action, Condition, Resource }) => {
          expect(Resource).toEqual(key);
          const service = /"(s3|sqs|dynamodb)\./.exec(JSON.stringify(Condition))?.[1];
          return `${service} ${[Action].flat().join(" ")}`;
        });
    const producing = ["s3 kms:Decrypt kms:GenerateDataKey", "sqs kms:Decrypt kms:GenerateDataKey"];
    expect(uses("StoreIngestionProducerRole")).toEqual(producing);
    expect(uses("Upstream")).toEqual(producing);
    expect(uses("StoreQueryRole")).toEqual(["s3 kms:Decrypt"]);
    expect(uses("StoreCompactionCompactorRole")).toEqual([
      ...producing,
      "dynamodb kms:Decrypt kms:DescribeKey kms:Encrypt kms:GenerateDataKey kms:GenerateDataKeyWithoutPlaintext kms:ReEncryptFrom kms:ReEncryptTo",
    ]);
    template.hasResourceProperties("AWS::KMS::Key", {
      KeyPolicy: Match.objectLike({
        Statement: Match.arrayWith([
          Match.objectLike({
            Condition: { ArnLike: { "kms:EncryptionContext:aws:logs:arn": Match.anyValue() } },
          }),
        ]),
      }),
    });
  });

  test("a VPC, with endpoints to what the functions call, or without where it has them", () => {
    const inVpc = (network: Partial<NetworkOptions>, embeds = false) => {
      const stack = new Stack(new App(), "Stack");
      const secret = Secret.fromSecretNameV2(stack, "Key", "openai");
      const openai = { endpoint: "https://api.openai.com/v1", models: ["text-embedding-3-small"], secret };
      const bedrock = { models: ["amazon.titan-embed-text-v2:0"] };
      const embedding = embeds ? { embedding: { providers: { openai, bedrock } } } : {};
      const vpc = new Vpc(stack, "Vpc", { natGateways: 0 }) as IVpc;
      const subnets = { subnetType: SubnetType.PRIVATE_ISOLATED };
      new VectorStore(stack, "Store", {
        handlersFolder,
        network: { vpc, subnets, ...network },
        ...embedding,
      });
      return Template.fromStack(stack);
    };
    const template = inVpc({});
    const functionsOf = resources(template, "AWS::Lambda::Function").filter(({ Properties }) =>
      String(Properties.Description).startsWith("Siltstone"),
    );
    expect(functionsOf.length).toBeGreaterThanOrEqual(3);
    for (const { Properties } of functionsOf) expect(Properties.VpcConfig).toBeDefined();
    const services = (all: Template) =>
      resources(all, "AWS::EC2::VPCEndpoint")
        .map(
          ({ Properties }) =>
            /\.(s3|dynamodb|sqs|lambda|secretsmanager|bedrock-runtime)"?/.exec(
              JSON.stringify(Properties.ServiceName),
            )?.[1],
        )
        .sort();
    expect(services(template)).toEqual(["dynamodb", "lambda", "s3", "sqs"]);
    expect(services(inVpc({ endpoints: false }, true))).toEqual([]);
    const embedding = ["bedrock-runtime", "dynamodb", "lambda", "s3", "secretsmanager", "sqs"];
    expect(services(inVpc({}, true))).toEqual(embedding);
    expect(JSON.stringify(statementsOf(template, "StoreQueryRole"))).toContain("ec2:CreateNetworkInterface");
    expect(() => inVpc({ natGateways: 1 } as object)).toThrow("network.natGateways: no such prop");
  });

  test("intervals, tracing, a log level, tags and a permissions boundary", () => {
    const { stack } = storeStack({
      compaction: { intervalMinutes: 10, upkeepIntervalMinutes: 60 },
      functions: { tracing: true, logLevel: "WARN" },
      tags: { team: "search" },
      permissionsBoundary: ManagedPolicy.fromManagedPolicyName(new Stack(), "Bound", "bound"),
    });
    const template = Template.fromStack(stack);
    expect(
      resources(template, "AWS::Scheduler::Schedule").map(({ Properties }) => Properties.ScheduleExpression),
    ).toEqual(["rate(10 minutes)", "rate(60 minutes)"]);
    for (const name of ["producer", "compactor", "query"] as const) {
      const properties = functionOf(template, name);
      expect(properties.TracingConfig).toEqual({ Mode: "Active" });
      expect(properties.Environment).toMatchObject({ Variables: { POWERTOOLS_LOG_LEVEL: "WARN" } });
      expect(properties.Tags).toContainEqual({ Key: "team", Value: "search" });
    }
    const roles = resources(template, "AWS::IAM::Role");
    expect(roles.length).toBeGreaterThanOrEqual(4);
    for (const { Properties } of roles)
      expect(JSON.stringify(Properties.PermissionsBoundary)).toContain("policy/bound");
  });

  test("provisioned concurrency: it is an alias's, which callers invoke", () => {
    const { stack, store } = storeStack({ query: { provisionedConcurrency: 2, groups: 2 } });
    const caller = new Role(stack, "Caller", { assumedBy: new ServicePrincipal("ecs.amazonaws.com") });
    store.grantQuery(caller);
    const template = Template.fromStack(stack);
    const aliases = resources(template, "AWS::Lambda::Alias").map(({ Properties }) => Properties);
    expect(
      aliases.map(({ Name, ProvisionedConcurrencyConfig }) => [Name, ProvisionedConcurrencyConfig]),
    ).toEqual(Array(3).fill(["live", { ProvisionedConcurrentExecutions: 2 }]));
    const named = (value: unknown) => JSON.stringify(value).includes(":live");
    expect(named(template.toJSON().Outputs.QueryFunctionName)).toBe(true);
    expect(named(functionOf(template, "query").Environment)).toBe(true);
    expect(named(stack.resolve(store.queryEnvironment))).toBe(true);
    const rights = JSON.stringify(template.findResources("AWS::IAM::Policy"));
    expect(rights).toContain("StoreQueryLive");
    expect(rights).toContain("StoreQueryGroup1Live");
    template.hasResourceProperties("AWS::Lambda::Url", { Qualifier: "live" });
  });
});

describe("query groups", () => {
  const groupOf = (template: Template, group: number) =>
    resources(template, "AWS::Lambda::Function").find(({ Properties }) =>
      (Properties.Description as string).startsWith(`Siltstone query group ${group} of 2:`),
    )!.Properties;

  test("one is the default and changes nothing", () => {
    expect(storeTemplate({ query: { groups: 1 } }).toJSON()).toEqual(dev.toJSON());
    expect(storeStack().store.query.groupFunctions).toEqual([]);
  });

  test("two: each has the query function's limits, and the query function knows their names in order", () => {
    const template = storeTemplate({ query: { groups: 2, memoryMiB: 2048, reservedConcurrency: 7 } });
    template.resourceCountIs("AWS::Lambda::Function", 6);
    template.resourceCountIs("AWS::Lambda::Url", 2);
    for (const group of [0, 1]) {
      expect(groupOf(template, group)).toMatchObject({
        MemorySize: 2048,
        Timeout: 30,
        EphemeralStorage: { Size: 4096 },
        ReservedConcurrentExecutions: 7,
        Environment: { Variables: { [cacheBytes.variable]: String(1024 * 1024 * 1024) } },
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

  test.each([0, 49, 1.5, Number.NaN])("%p groups are refused", (groups) => {
    expect(() => storeTemplate({ query: { groups } })).toThrow(
      `query.groups: must be an integer from 1 to 48, got ${groups}`,
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
    expect(kept).toEqual(Array(6).fill(policy));
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

  test("has no function beside its own, and no custom resource of the CDK's", () => {
    dev.resourceCountIs("AWS::Lambda::Function", 4);
    expect(JSON.stringify(dev.toJSON())).not.toContain('"Custom::');
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
  expect(new Set(keys(dev)).size).toBe(4);
});

describe("bad props are refused by name", () => {
  test.each([
    ...["local", "Prod", "pr_1", "1", "a-", "", "a".repeat(33)].map((stage): [object, string] => [
      { stage },
      `stage: must be 1 to 32 of a-z 0-9 -, beginning with a letter, ending with a letter or digit, and not local, got "${stage}"`,
    ]),
    [
      { storage: { noncurrentVersionDays: 13 } },
      "storage.noncurrentVersionDays: must be an integer from 14 to 36500, got 13",
    ],
    [{ query: { refreshSeconds: 301 } }, "query.refreshSeconds: must be an integer from 0 to 300, got 301"],
    [
      { compaction: { intervalMinutes: 0 } },
      "compaction.intervalMinutes: must be an integer from 1 to 60, got 0",
    ],
    [
      { query: { provisionedConcurrency: 5, reservedConcurrency: 4 } },
      "query.provisionedConcurrency: must be at most query.reservedConcurrency, 4, got 5",
    ],
    [
      { functions: { logLevel: "LOUD" } },
      'functions.logLevel: must be one of DEBUG, INFO, WARN, ERROR, got "LOUD"',
    ],
    [{ queryMemoryMiB: 2048 }, "queryMemoryMiB: no such prop; the store has stage, architecture, "],
    [
      { query: { memoryMib: 2048, disk: 1 } },
      "query.memoryMib, query.disk: no such prop; query has memoryMiB, diskMiB, ",
    ],
    [
      { compaction: { interval: 1 } },
      "compaction.interval: no such prop; compaction has memoryMiB, diskMiB, reservedConcurrency, intervalMinutes, ",
    ],
    [
      { query: { cacheMiB: 5000 } },
      "query.cacheMiB: must be at most 2048, half of the function's local disk of 4096 MiB, got 5000",
    ],
    [{ handlersFolder: "/nowhere" }, "handlersFolder: /nowhere/producer has no handler.js"],
  ])("%p", (props, message) => {
    expect(() => storeStack(props as VectorStoreProps)).toThrow(message);
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
  expect(told.sort()).toEqual([...Array(4).fill("Stack/Second"), ...Array(4).fill("Stack/Store")]);
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
