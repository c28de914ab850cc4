/**
 * What a template asks for, as a plan: pure, no server is touched. Physical names follow from the stack's name and the
 * logical id, so that the state of the last run is found again.
 */
import { createHash } from "node:crypto";
import type { EventSourceDefinition } from "./lambda/event-sources.ts";
import type { FunctionDefinition } from "./lambda/function.ts";
import type { UrlAuth } from "./lambda/function-url.ts";
import { rateMs, type ScheduleDefinition } from "./lambda/schedules.ts";
import { type ResourceNames, type Template, TemplateResolver, type TemplateResource } from "./template.ts";

export interface StackPlanOptions {
  readonly stackName: string;
  readonly template: Template;
  /** Absolute path of each function's code, by the function's logical id. */
  readonly codeFolders: Readonly<Record<string, string>>;
  readonly region: string;
  readonly sqsEndpoint: string;
  /** URL that each function URL resource will answer at, by logical id. */
  readonly functionUrls: Readonly<Record<string, string>>;
}
export interface StackPlan {
  readonly buckets: readonly { name: string; isVersioned: boolean }[];
  /** Dead-letter queues come before the queues that name them. */
  readonly queues: readonly { name: string; url: string; attributes: Record<string, string> }[];
  readonly tables: readonly { name: string; properties: Readonly<Record<string, unknown>> }[];
  readonly functions: readonly FunctionDefinition[];
  readonly urls: readonly { functionName: string; auth: UrlAuth; url: string }[];
  readonly schedules: readonly ScheduleDefinition[];
  readonly eventSources: readonly EventSourceDefinition[];
  readonly outputs: Readonly<Record<string, string>>;
}

const accountId = "000000000000";

/** Resource types that mean nothing on a laptop: permissions, logs, alarms, and what only CloudFormation runs. */
const ignoredTypes =
  /^(AWS::(IAM|Logs|CloudWatch|SNS|Budgets|CDK|CloudFormation)::|Custom::|AWS::(S3::BucketPolicy|SQS::QueuePolicy|Lambda::Permission|Lambda::EventInvokeConfig|Scheduler::ScheduleGroup)$)/;

export function functionUrlIds(template: Template): string[] {
  return Object.entries(template.Resources).flatMap(([id, { Type }]) =>
    Type === "AWS::Lambda::Url" ? [id] : [],
  );
}

/** Throws an error that names the resource when the template cannot be run. */
export function planStack(options: StackPlanOptions): StackPlan {
  const { template, region, stackName } = options;
  const names = new Map<string, ResourceNames>();
  for (const [name, { Default }] of Object.entries(template.Parameters ?? {})) {
    if (Default !== undefined) names.set(name, { ref: String(Default), attributes: {} });
  }
  // A URL's attributes lead to its function's, so functions are named first.
  const resources = Object.entries(template.Resources);
  const urlsLast = [...resources].sort(([, a], [, b]) => Number(isUrl(a)) - Number(isUrl(b)));
  for (const [logicalId, resource] of urlsLast)
    names.set(logicalId, nameResource(logicalId, resource, options));

  const resolver = new TemplateResolver(names, { name: stackName, region, accountId });
  const of = (type: string) =>
    resources.flatMap(([logicalId, { Type, Properties }]) => {
      if (Type !== type) return [];
      const properties = resolver.resolve(Properties ?? {}, logicalId) as Properties;
      return [
        { logicalId, properties, ref: names.get(logicalId)!.ref, arn: names.get(logicalId)!.attributes.Arn! },
      ];
    });
  const functionName = (logicalId: string, reference: unknown): string => {
    const found = resolver.findByValue(reference);
    if (found === undefined || template.Resources[found]?.Type !== "AWS::Lambda::Function") {
      throw new Error(`${logicalId}: no function of this template is ${JSON.stringify(reference)}`);
    }
    return names.get(found)!.ref;
  };
  return {
    buckets: of("AWS::S3::Bucket").map(({ ref, properties }) => ({
      name: ref,
      isVersioned: (properties.VersioningConfiguration as Properties | undefined)?.Status === "Enabled",
    })),
    queues: of("AWS::SQS::Queue")
      .map(({ ref, logicalId, properties }) => ({
        name: ref.slice(ref.lastIndexOf("/") + 1),
        url: ref,
        attributes: queueAttributes(logicalId, properties, resolver),
      }))
      .sort((a, b) => Number("RedrivePolicy" in a.attributes) - Number("RedrivePolicy" in b.attributes)),
    tables: ["AWS::DynamoDB::Table", "AWS::DynamoDB::GlobalTable"]
      .flatMap(of)
      .map(({ ref, properties }) => ({ name: ref, properties })),
    functions: of("AWS::Lambda::Function").map((found) => toFunction(found, options.codeFolders)),
    urls: of("AWS::Lambda::Url").map(({ logicalId, properties }) => ({
      functionName: functionName(logicalId, properties.TargetFunctionArn),
      auth: properties.AuthType === "NONE" ? ("NONE" as const) : ("AWS_IAM" as const),
      url: options.functionUrls[logicalId]!,
    })),
    schedules: of("AWS::Scheduler::Schedule").flatMap(({ logicalId, ref, properties }) => {
      if (properties.State === "DISABLED") return [];
      const target = properties.Target as Properties;
      const expression = String(properties.ScheduleExpression);
      rateMs(expression);
      const input = String(target.Input ?? "{}");
      return [{ name: ref, expression, functionName: functionName(logicalId, target.Arn), input }];
    }),
    eventSources: of("AWS::Lambda::EventSourceMapping").flatMap(({ logicalId, properties }) => {
      if (properties.Enabled === false) return [];
      const queue = resolver.findByValue(properties.EventSourceArn);
      if (queue === undefined || template.Resources[queue]?.Type !== "AWS::SQS::Queue") {
        throw new Error(
          `${logicalId}: no queue of this template is ${JSON.stringify(properties.EventSourceArn)}`,
        );
      }
      const responseTypes = (properties.FunctionResponseTypes ?? []) as readonly string[];
      return [
        {
          functionName: functionName(logicalId, properties.FunctionName),
          queueUrl: names.get(queue)!.ref,
          queueArn: String(properties.EventSourceArn),
          batchSize: Math.min(Number(properties.BatchSize ?? 10), 10),
          reportsItemFailures: responseTypes.includes("ReportBatchItemFailures"),
        },
      ];
    }),
    outputs: Object.fromEntries(
      Object.entries(template.Outputs ?? {}).map(([name, { Value }]) => [
        name,
        String(resolver.resolve(Value, `Outputs.${name}`)),
      ]),
    ),
  };
}

type Properties = Readonly<Record<string, unknown>>;

const isUrl = ({ Type }: TemplateResource): boolean => Type === "AWS::Lambda::Url";

/** The names by which the rest of the template, and the SDK, know a resource. */
function nameResource(
  logicalId: string,
  resource: TemplateResource,
  options: StackPlanOptions,
): ResourceNames {
  const { stackName, region } = options;
  const properties = resource.Properties ?? {};
  const named = (property: string, charactersMax: number) =>
    typeof properties[property] === "string"
      ? (properties[property] as string)
      : physicalName(stackName, logicalId, charactersMax);
  const arn = (service: string, rest: string) => `arn:aws:${service}:${region}:${accountId}:${rest}`;
  switch (resource.Type) {
    case "AWS::S3::Bucket": {
      const ref = named("BucketName", 63).toLowerCase();
      return { ref, attributes: { Arn: `arn:aws:s3:::${ref}` } };
    }
    case "AWS::SQS::Queue": {
      const name = named("QueueName", 80);
      const ref = `${options.sqsEndpoint}/${accountId}/${name}`;
      return { ref, attributes: { Arn: arn("sqs", name), QueueName: name, QueueUrl: ref } };
    }
    case "AWS::DynamoDB::Table":
    case "AWS::DynamoDB::GlobalTable": {
      const ref = named("TableName", 255);
      return { ref, attributes: { Arn: arn("dynamodb", `table/${ref}`) } };
    }
    case "AWS::Lambda::Function": {
      const ref = named("FunctionName", 64);
      return { ref, attributes: { Arn: arn("lambda", `function:${ref}`) } };
    }
    case "AWS::Lambda::Url": {
      const url = options.functionUrls[logicalId];
      if (url === undefined) throw new Error(`${logicalId}: no port was given to this function URL`);
      return { ref: logicalId, attributes: { FunctionUrl: url } };
    }
    case "AWS::Lambda::EventSourceMapping":
      return { ref: logicalId, attributes: { Id: logicalId } };
    case "AWS::Scheduler::Schedule": {
      const ref = named("Name", 64);
      return { ref, attributes: { Arn: arn("scheduler", `schedule/default/${ref}`) } };
    }
    default: {
      if (!ignoredTypes.test(resource.Type)) {
        throw new Error(`${logicalId}: ${resource.Type} is not a resource that the local stack can run`);
      }
      const ref = physicalName(stackName, logicalId, 64);
      return { ref, attributes: { Arn: arn("local", ref) } };
    }
  }
}

/** `<stack>-<logical id>`, cut and told apart by a hash where that is too long. */
function physicalName(stackName: string, logicalId: string, charactersMax: number): string {
  const name = `${stackName}-${logicalId}`;
  if (name.length <= charactersMax) return name;
  const hash = createHash("sha256").update(name).digest("hex").slice(0, 8);
  return `${name.slice(0, charactersMax - 9)}-${hash}`;
}

const queueAttributeNames = [
  "VisibilityTimeout",
  "MessageRetentionPeriod",
  "DelaySeconds",
  "ReceiveMessageWaitTimeSeconds",
  "MaximumMessageSize",
] as const;

function queueAttributes(
  logicalId: string,
  properties: Properties,
  resolver: TemplateResolver,
): Record<string, string> {
  if (properties.FifoQueue !== undefined) throw new Error(`${logicalId}: FIFO queues do not run locally`);
  const attributes: Record<string, string> = {};
  for (const name of queueAttributeNames) {
    if (properties[name] !== undefined) attributes[name] = String(properties[name]);
  }
  const redrive = properties.RedrivePolicy as Properties | undefined;
  if (redrive !== undefined) {
    const target = redrive.deadLetterTargetArn;
    if (resolver.findByValue(target) === undefined) {
      throw new Error(
        `${logicalId}: no queue of this template is the dead-letter queue ${JSON.stringify(target)}`,
      );
    }
    attributes.RedrivePolicy = JSON.stringify(redrive);
  }
  return attributes;
}

function toFunction(
  found: { logicalId: string; ref: string; arn: string; properties: Properties },
  codeFolders: StackPlanOptions["codeFolders"],
): FunctionDefinition {
  const { logicalId, properties } = found;
  const codeFolder = codeFolders[logicalId];
  if (codeFolder === undefined) throw new Error(`${logicalId}: no folder holds this function's code`);
  const runtime = String(properties.Runtime);
  if (!runtime.startsWith("nodejs"))
    throw new Error(`${logicalId}: only Node.js functions run locally, not ${runtime}`);
  const variables = (properties.Environment as Properties | undefined)?.Variables ?? {};
  const reserved = properties.ReservedConcurrentExecutions;
  return {
    name: found.ref,
    arn: found.arn,
    codeFolder,
    runtime,
    handler: String(properties.Handler),
    memoryMegabytes: Number(properties.MemorySize ?? 128),
    timeoutMs: Number(properties.Timeout ?? 3) * 1000,
    environment: Object.fromEntries(Object.entries(variables).map(([name, value]) => [name, String(value)])),
    ...(reserved === undefined ? {} : { reservedConcurrency: Number(reserved) }),
  };
}
