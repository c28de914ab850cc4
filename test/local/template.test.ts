/** What the local stack makes of a template, and what it says when it cannot. */
import { functionUrlIds, planStack } from "../../scripts/local/stack-plan.ts";
import type { Template } from "../../scripts/local/template.ts";
import { codeFolders, template } from "./stack-template.ts";

const plan = (changed: Template, folders: Readonly<Record<string, string>> = codeFolders) =>
  planStack({
    stackName: "Test",
    template: changed,
    codeFolders: folders,
    region: "us-east-1",
    sqsEndpoint: "http://127.0.0.1:1",
    functionUrls: { WebUrl: "http://127.0.0.1:2/", LiveUrl: "http://127.0.0.1:3/" },
  });
const withResource = (name: string, resource: Template["Resources"][string]): Template => ({
  ...template,
  Resources: { ...template.Resources, [name]: resource },
});
const environment = (Variables: object) =>
  withResource("Worker", {
    Type: "AWS::Lambda::Function",
    Properties: { ...template.Resources.Worker!.Properties, Environment: { Variables } },
  });

test("a template becomes buckets, queues, tables, functions, URLs, schedules and outputs", () => {
  const { buckets, queues, tables, functions, urls, schedules, eventSources, outputs } = plan(template);
  expect(buckets).toEqual([{ name: "test-store", isVersioned: true }]);
  const deadArn = "arn:aws:sqs:us-east-1:000000000000:Test-Dead";
  const redrive = JSON.stringify({ deadLetterTargetArn: deadArn, maxReceiveCount: 2 });
  expect(queues.map(({ name, attributes }) => [name, attributes])).toEqual([
    ["Test-Dead", {}],
    ["Test-Sealed", {}],
    ["Test-Mail", { VisibilityTimeout: "1" }],
    ["Test-Work", { VisibilityTimeout: "1", RedrivePolicy: redrive }],
  ]);
  expect(tables.map(({ name }) => name)).toEqual(["Test-Table"]);
  expect(functions[0]).toMatchObject({
    name: "Test-Worker",
    memoryMegabytes: 256,
    timeoutMs: 10_000,
    reservedConcurrency: 2,
    codeFolder: codeFolders.Worker,
  });
  expect(functions[1]).toMatchObject({ name: "Test-Web", timeoutMs: 3000 });
  expect(functions[1]).not.toHaveProperty("reservedConcurrency");
  expect(functions[0]).not.toHaveProperty("aliases");
  expect(functions[1]).toMatchObject({ aliases: ["live"], provisionedConcurrency: 2 });
  expect(urls).toEqual([
    { functionName: "Test-Web", alias: "live", auth: "AWS_IAM", url: "http://127.0.0.1:3/" },
    { functionName: "Test-Web", auth: "AWS_IAM", url: "http://127.0.0.1:2/" },
  ]);
  expect(schedules).toMatchObject([{ functionName: "Test-Worker", input: '{"do":"log","text":"tick"}' }]);
  expect(eventSources).toMatchObject([
    {
      functionName: "Test-Consumer",
      queueUrl: "http://127.0.0.1:1/000000000000/Test-Mail",
      reportsItemFailures: true,
    },
  ]);
  expect(outputs).toMatchObject({ BucketName: "test-store", WebUrl: "http://127.0.0.1:2/" });
  expect(functionUrlIds(template)).toEqual(["LiveUrl", "WebUrl"]);
});

test("every intrinsic function is worked out", () => {
  expect(plan(template).functions[0]!.environment).toEqual({
    BUCKET: "test-store",
    QUEUE: "http://127.0.0.1:1/000000000000/Test-Work",
    QUEUE_ARN: "arn:aws:sqs:us-east-1:000000000000:Test-Work",
    TABLE: "table:Test-Table",
    // biome-ignore lint/suspicious/noTemplateCurlyInString: this is how CloudFormation writes it
    PLACE: "us-east-1/test-store/${literal}",
    LAST: "two",
  });
});

test.each([
  ["Ref", { X: { Ref: "Gone" } }],
  ["Fn::GetAtt", { X: { "Fn::GetAtt": ["Gone", "Arn"] } }],
  // biome-ignore lint/suspicious/noTemplateCurlyInString: this is how CloudFormation writes it
  ["Fn::Sub", { X: { "Fn::Sub": "${Gone}/x" } }],
  ["Fn::Join", { X: { "Fn::Join": ["", ["a", { Ref: "Gone" }]] } }],
])("an undefined %s names the resource that is missing and the place that asks", (_name, variables) => {
  expect(() => plan(environment(variables))).toThrow(/^Worker\.Environment\.Variables\.X.* refers to "Gone"/);
});

test("a resource that the stack cannot run is an error that names it", () => {
  const unknown = withResource("Cache", { Type: "AWS::ElastiCache::CacheCluster" });
  expect(() => plan(unknown)).toThrow("Cache: AWS::ElastiCache::CacheCluster");
  expect(() => plan(template, { Web: "/x" })).toThrow("Worker: no folder");
  expect(() => plan(environment({ X: { "Fn::GetAtt": ["Store", "Colour"] } }))).toThrow(
    "no attribute Colour",
  );
  expect(() => plan(environment({ X: { "Fn::Cidr": [] } }))).toThrow("Fn::Cidr");
  const elsewhere = { KmsMasterKeyId: "arn:aws:kms:us-east-1:000000000000:key/theirs" };
  expect(() => plan(withResource("Mail", { Type: "AWS::SQS::Queue", Properties: elsewhere }))).toThrow(
    "Mail: the key arn:aws:kms:us-east-1:000000000000:key/theirs is not in this template",
  );
  const ofNothing = {
    Type: "AWS::Lambda::Alias",
    Properties: { FunctionName: { Ref: "Store" }, Name: "live" },
  };
  expect(() => plan(withResource("Live", ofNothing))).toThrow("Live: no function of this template");
  const cron = { ...template.Resources.Tick!.Properties, ScheduleExpression: "cron(0 1 * * ? *)" };
  expect(() => plan(withResource("Tick", { Type: "AWS::Scheduler::Schedule", Properties: cron }))).toThrow(
    "cron",
  );
});

test("long names are cut, and stay different", () => {
  const long = (tail: string) => `Store${"x".repeat(80)}${tail}`;
  const both = withResource(long("a"), { Type: "AWS::S3::Bucket" });
  const { buckets } = plan({
    ...both,
    Resources: { ...both.Resources, [long("b")]: { Type: "AWS::S3::Bucket" } },
  });
  const names = buckets.map(({ name }) => name);
  expect(new Set(names).size).toBe(3);
  for (const name of names) expect(name).toMatch(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/);
});
