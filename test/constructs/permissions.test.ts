/** The roles' exact rights, and what the grants give a user's own function. A new action has to be argued for here. */
import { Stack } from "aws-cdk-lib";
import { Template } from "aws-cdk-lib/assertions";
import { Compatibility, TaskDefinition } from "aws-cdk-lib/aws-ecs";
import { Role, ServicePrincipal } from "aws-cdk-lib/aws-iam";
import { Code, Function as LambdaFunction, Runtime } from "aws-cdk-lib/aws-lambda";
import { callerEnv, env } from "../../lib/contract/names.ts";
import { type Statement, statementsOf, storeStack, storeTemplate } from "./store-template.ts";

const bucket = "StorageBucket";
const logs = (name: string): Statement => ({
  actions: ["logs:CreateLogStream", "logs:PutLogEvents"],
  resources: [`${name}Logs`],
});
const produce: Statement[] = [
  { actions: ["s3:PutObject"], resources: [`${bucket}/*/*/deltas/*`] },
  {
    actions: ["s3:GetObject"],
    resources: [`${bucket}/*/collection.json`, `${bucket}/*/alias.json`, `${bucket}/*/*/deltas/*`],
  },
  { actions: ["sqs:SendMessage"], resources: ["IngestionQueue"] },
];

const template = storeTemplate();

test("the producer creates deltas, reads configurations and what it can name, lists nothing, and notifies the queue", () => {
  expect(statementsOf(template, "StoreIngestionProducerRole")).toEqual([
    logs("IngestionProducer"),
    ...produce,
  ]);
});

test("the query function reads the bucket and writes nothing", () => {
  expect(statementsOf(template, "StoreQueryRole")).toEqual([
    logs("Query"),
    { actions: ["s3:GetObject"], resources: [`${bucket}/*`] },
    { actions: ["s3:ListBucket"], resources: [bucket] },
  ]);
});

test("query groups read the bucket; the query function before them invokes them and reads configurations", () => {
  const grouped = storeTemplate({ query: { groups: 3 } });
  for (const group of [0, 1, 2])
    expect(statementsOf(grouped, `StoreQueryGroup${group}Role`)).toEqual([
      logs(`QueryGroup${group}`),
      { actions: ["s3:GetObject"], resources: [`${bucket}/*`] },
      { actions: ["s3:ListBucket"], resources: [bucket] },
    ]);
  expect(statementsOf(grouped, "StoreQueryRole")).toEqual([
    logs("Query"),
    { actions: ["s3:GetObject"], resources: [`${bucket}/*/collection.json`, `${bucket}/*/alias.json`] },
    { actions: ["s3:ListBucket"], resources: [bucket] },
    {
      actions: ["lambda:InvokeFunction"],
      resources: ["QueryGroup0Function", "QueryGroup1Function", "QueryGroup2Function"],
    },
  ]);
  grouped.resourceCountIs("AWS::IAM::Role", 8);
  expect(JSON.stringify(grouped.findResources("AWS::IAM::Policy"))).not.toMatch(/"[a-z0-9]+:[A-Za-z]*\*"/);
});

test("the compactor has what its protocol needs: it writes no configuration, and deletes no pointer", () => {
  const below = (...folders: string[]) => folders.map((folder) => `${bucket}/*/*/${folder}/*`);
  expect(statementsOf(template, "StoreCompactionCompactorRole")).toEqual([
    logs("CompactionCompactor"),
    { actions: ["s3:ListBucket"], resources: [bucket] },
    { actions: ["s3:GetObject"], resources: [`${bucket}/*`] },
    {
      actions: ["s3:PutObject"],
      resources: [
        ...below("segments", "manifests", "quarantine"),
        `${bucket}/*/*/pointer.json`,
        `${bucket}/*/alias.json`,
      ],
    },
    { actions: ["s3:PutObject"], resources: [...below("deltas"), `${bucket}/snapshot/*/run/*`] },
    { actions: ["s3:AbortMultipartUpload"], resources: below("segments", "quarantine") },
    { actions: ["s3:DeleteObject"], resources: below("deltas", "segments", "manifests") },
    { actions: ["sqs:ReceiveMessage", "sqs:DeleteMessage"], resources: ["IngestionQueue"] },
    { actions: ["sqs:SendMessage"], resources: ["IngestionDeadLetterQueue"] },
    {
      actions: ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"],
      resources: ["StorageTable"],
    },
    { actions: ["sqs:SendMessage"], resources: ["CompactionFailedEvents"] },
  ]);
});

test("the collections function claims names, makes configurations and first pointers, and replaces none", () => {
  const objects = [`${bucket}/*/name.json`, `${bucket}/*/collection.json`, `${bucket}/*/*/pointer.json`];
  expect(statementsOf(template, "StoreCollectionsRole")).toEqual([
    logs("Collections"),
    { actions: ["s3:ListBucket"], resources: [bucket] },
    { actions: ["s3:GetObject"], resources: objects },
    { actions: ["s3:PutObject"], resources: objects },
  ]);
  const policies = JSON.stringify(template.findResources("AWS::IAM::Policy"));
  expect(policies).toContain('"Condition":{"StringEquals":{"s3:if-none-match":"*"}}');
});

test("the scheduler invokes the compactor, for this account only", () => {
  expect(statementsOf(template, "StoreCompactionScheduleRole")).toEqual([
    { actions: ["lambda:InvokeFunction"], resources: ["CompactionCompactorFunction"] },
    { actions: ["sqs:SendMessage"], resources: ["CompactionFailedEvents"] },
  ]);
  const roles = Object.values(template.findResources("AWS::IAM::Role"));
  const trust = roles.find((role) => JSON.stringify(role).includes("scheduler.amazonaws.com"));
  expect(JSON.stringify(trust)).toContain('"aws:SourceAccount":{"Ref":"AWS::AccountId"}');
});

test("there is no other role, no managed policy and no wildcard action", () => {
  template.resourceCountIs("AWS::IAM::Role", 5);
  template.resourceCountIs("AWS::IAM::Policy", 5);
  for (const role of Object.values(template.findResources("AWS::IAM::Role"))) {
    expect((role as { Properties: object }).Properties).not.toHaveProperty("ManagedPolicyArns");
  }
  expect(JSON.stringify(template.findResources("AWS::IAM::Policy"))).not.toMatch(/"[a-z0-9]+:[A-Za-z]*\*"/);
});

describe("grants", () => {
  const withCaller = () => {
    const { stack, store } = storeStack();
    const caller = new LambdaFunction(stack, "Upstream", {
      runtime: Runtime.NODEJS_24_X,
      handler: "index.handler",
      code: Code.fromInline("exports.handler = async () => 1;"),
    });
    return { stack, store, caller };
  };
  const variablesOf = (stack: Stack): Record<string, unknown> => {
    const [upstream] = Object.values(
      Template.fromStack(stack).findResources("AWS::Lambda::Function", {
        Properties: { Handler: "index.handler" },
      }),
    ) as { Properties: { Environment: { Variables: Record<string, unknown> } } }[];
    return upstream!.Properties.Environment.Variables;
  };

  test("grantProduce gives the producer's rights and the variables that the library reads", () => {
    const { stack, store, caller } = withCaller();
    store.grantProduce(caller);
    expect(statementsOf(Template.fromStack(stack), "UpstreamServiceRole")).toEqual(produce);
    expect(Object.keys(variablesOf(stack)).sort()).toEqual(
      [env.stage, env.store, env.bucket, env.table, env.queueUrl, env.deadLetterQueueUrl].sort(),
    );
  });

  test("grantProduce of collections gives those, and no other", () => {
    const { stack, store, caller } = withCaller();
    store.grantProduce(caller, { collections: ["docs", "notes_v2"] });
    const deltas = [`${bucket}/docs/*/deltas/*`, `${bucket}/notes_v2/*/deltas/*`];
    const configurations = [`${bucket}/docs/collection.json`, `${bucket}/notes_v2/collection.json`];
    expect(statementsOf(Template.fromStack(stack), "UpstreamServiceRole")).toEqual([
      { actions: ["s3:PutObject"], resources: deltas },
      { actions: ["s3:GetObject"], resources: [...configurations, ...deltas] },
      { actions: ["sqs:SendMessage"], resources: ["IngestionQueue"] },
    ]);
  });

  test("grantProduce of aliases gives what leads them and their sides by name, beside collections that are named, and no other", () => {
    const { stack, store, caller } = withCaller();
    store.grantProduce(caller, { collections: ["docs"], aliases: ["notes"] });
    const deltas = [`${bucket}/docs/*/deltas/*`, `${bucket}/notes_v*/*/deltas/*`];
    const configurations = [`${bucket}/docs/collection.json`, `${bucket}/notes_v*/collection.json`];
    expect(statementsOf(Template.fromStack(stack), "UpstreamServiceRole")).toEqual([
      { actions: ["s3:PutObject"], resources: deltas },
      { actions: ["s3:GetObject"], resources: [...configurations, `${bucket}/notes/alias.json`, ...deltas] },
      { actions: ["sqs:SendMessage"], resources: ["IngestionQueue"] },
    ]);
    expect(() => store.grantProduce(caller, { aliases: [] })).toThrow(/aliases: must name at least one/);
    expect(() => store.grantProduce(caller, { aliases: ["*"] })).toThrow(/not a collection name/);
  });

  test.each([[[]], [["*"]], [["docs", "a/b"]], [[""]], [["docs?"]]])(
    "grantProduce of %j is refused",
    (collections) => {
      const { store, caller } = withCaller();
      expect(() => store.grantProduce(caller, { collections })).toThrow(/collection/);
    },
  );

  test("grantQuery lets it invoke the query function, directly and by URL, and no other", () => {
    const { stack, store, caller } = withCaller();
    store.grantQuery(caller);
    expect(statementsOf(Template.fromStack(stack), "UpstreamServiceRole")).toEqual([
      { actions: ["lambda:InvokeFunction", "lambda:InvokeFunctionUrl"], resources: ["QueryFunction"] },
    ]);
    expect(Object.keys(variablesOf(stack))).toEqual([callerEnv.queryFunction]);
  });

  test("a role, a task and an imported role take rights; who has no variables gets them as a map", () => {
    const { stack, store } = storeStack();
    const task = new TaskDefinition(stack, "Task", {
      compatibility: Compatibility.FARGATE,
      cpu: "256",
      memoryMiB: "512",
    });
    const role = new Role(stack, "Upstream", { assumedBy: new ServicePrincipal("ecs.amazonaws.com") });
    const imported = Role.fromRoleArn(stack, "Imported", "arn:aws:iam::123456789012:role/theirs");
    for (const grantee of [task.taskRole, role, imported]) {
      store.grantProduce(grantee);
      store.grantQuery(grantee);
    }
    const asks = {
      actions: ["lambda:InvokeFunction", "lambda:InvokeFunctionUrl"],
      resources: ["QueryFunction"],
    };
    const template = Template.fromStack(stack);
    for (const id of ["TaskTaskRole", "Upstream"])
      expect(statementsOf(template, id)).toEqual([...produce, asks]);
    const policies = Object.values(template.findResources("AWS::IAM::Policy"));
    expect(
      policies.filter(({ Properties }) => JSON.stringify(Properties.Roles) === '["theirs"]'),
    ).toHaveLength(1);
    const names = [env.stage, env.store, env.bucket, env.table, env.queueUrl, env.deadLetterQueueUrl];
    expect(Object.keys(store.produceEnvironment).sort()).toEqual(names.sort());
    expect(Object.keys(store.queryEnvironment)).toEqual([callerEnv.queryFunction]);
  });

  test("grantCreateCollections lets it invoke the collections function, and tells it the name", () => {
    const { stack, store, caller } = withCaller();
    store.grantCreateCollections(caller);
    expect(statementsOf(Template.fromStack(stack), "UpstreamServiceRole")).toEqual([
      { actions: ["lambda:InvokeFunction"], resources: ["CollectionsFunction"] },
    ]);
    expect(Object.keys(variablesOf(stack))).toEqual([callerEnv.collectionsFunction]);
  });

  test("who takes no rights is refused", () => {
    const { stack, store } = storeStack();
    const arn = "arn:aws:lambda:eu-central-1:123456789012:function:theirs";
    const imported = LambdaFunction.fromFunctionArn(stack, "Imported", arn);
    expect(() => store.grantQuery(imported)).toThrow("the grantee takes no rights; give its role instead");
  });

  test("a caller may live in another stack of the app", () => {
    const { app, store } = storeStack();
    const other = new Stack(app, "Other");
    const caller = new LambdaFunction(other, "Upstream", {
      runtime: Runtime.NODEJS_24_X,
      handler: "index.handler",
      code: Code.fromInline("exports.handler = async () => 1;"),
    });
    store.grantProduce(caller);
    store.grantQuery(caller);
    const actions = statementsOf(Template.fromStack(other), "UpstreamServiceRole").flatMap((s) => s.actions);
    expect(actions).toEqual(
      expect.arrayContaining(["s3:PutObject", "sqs:SendMessage", "lambda:InvokeFunctionUrl"]),
    );
  });
});
