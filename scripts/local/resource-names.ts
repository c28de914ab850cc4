/**
 * Physical names, from the stack's name and the logical id alone: the same at every start, so that the state of the
 * last run is found again, and known before anything is made.
 */
import { createHash } from "node:crypto";
import type { ResourceNames, Template, TemplateResource } from "./template.ts";

export const accountId = "000000000000";

export interface NamingOptions {
  readonly stackName: string;
  readonly template: Template;
  readonly region: string;
  readonly sqsEndpoint: string;
  /** URL that each function URL resource will answer at, by logical id. */
  readonly functionUrls: Readonly<Record<string, string>>;
}

/** Resource types that mean nothing on a laptop: permissions, logs, alarms, and what only CloudFormation runs. */
const ignoredTypes =
  /^(AWS::(IAM|Logs|CloudWatch|SNS|Budgets|CDK|CloudFormation)::|Custom::|AWS::(KMS::Alias|S3::BucketPolicy|SQS::QueuePolicy|Lambda::Permission|Lambda::EventInvokeConfig|Scheduler::ScheduleGroup)$)/;

/** Names of every resource and parameter. Throws for a resource that the local stack cannot run. */
export function nameResources(options: NamingOptions): Map<string, ResourceNames> {
  const names = new Map<string, ResourceNames>();
  for (const [name, { Default }] of Object.entries(options.template.Parameters ?? {})) {
    if (Default !== undefined) names.set(name, { ref: String(Default), attributes: {} });
  }
  for (const [logicalId, resource] of Object.entries(options.template.Resources)) {
    names.set(logicalId, nameResource(logicalId, resource, options));
  }
  return names;
}

/** The names by which the rest of the template, and the SDK, know a resource. */
function nameResource(logicalId: string, resource: TemplateResource, options: NamingOptions): ResourceNames {
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
    case "AWS::Lambda::Version": {
      // The code that is deployed is the only one that there is.
      const { arn: functionArn } = namedFunction(logicalId, properties.FunctionName, options);
      return { ref: `${functionArn}:1`, attributes: { FunctionArn: `${functionArn}:1`, Version: "1" } };
    }
    case "AWS::Lambda::Alias": {
      const { arn: functionArn } = namedFunction(logicalId, properties.FunctionName, options);
      const ref = `${functionArn}:${String(properties.Name)}`;
      return { ref, attributes: { Arn: ref, AliasArn: ref } };
    }
    case "AWS::Lambda::Url": {
      const url = options.functionUrls[logicalId];
      if (url === undefined) throw new Error(`${logicalId}: no port was given to this function URL`);
      return { ref: logicalId, attributes: { FunctionUrl: url } };
    }
    case "AWS::IAM::Role": {
      const ref = named("RoleName", 64);
      return { ref, attributes: { Arn: `arn:aws:iam::${accountId}:role/${ref}`, RoleId: ref } };
    }
    case "AWS::IAM::ManagedPolicy": {
      const ref = `arn:aws:iam::${accountId}:policy/${named("ManagedPolicyName", 128)}`;
      return { ref, attributes: { PolicyArn: ref } };
    }
    case "AWS::KMS::Key": {
      const ref = physicalName(stackName, logicalId, 64);
      return { ref, attributes: { Arn: arn("kms", `key/${ref}`), KeyId: ref } };
    }
    case "AWS::Logs::LogGroup": {
      const ref = named("LogGroupName", 512);
      return { ref, attributes: { Arn: arn("logs", `log-group:${ref}:*`) } };
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

/** A version and an alias name their function by a reference. */
function namedFunction(logicalId: string, name: unknown, options: NamingOptions): { arn: string } {
  const { Ref } = (name ?? {}) as { Ref?: string };
  const found = options.template.Resources[Ref ?? ""];
  if (found?.Type !== "AWS::Lambda::Function")
    throw new Error(`${logicalId}: no function of this template is ${JSON.stringify(name)}`);
  return { arn: nameResource(Ref!, found, options).attributes.Arn! };
}

/** `<stack>-<logical id>`, cut and told apart by a hash where that is too long. */
function physicalName(stackName: string, logicalId: string, charactersMax: number): string {
  const name = `${stackName}-${logicalId}`;
  if (name.length <= charactersMax) return name;
  const hash = createHash("sha256").update(name).digest("hex").slice(0, 8);
  return `${name.slice(0, charactersMax - 9)}-${hash}`;
}
