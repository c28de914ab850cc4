/**
 * The access rules of a template: each function's role with its policies, under an access key that names the function,
 * and the policies of buckets, queues, functions and keys. What cannot be judged here is an error that names the resource.
 */
import type { AccessRules, CallerRules, NamedPolicy } from "./access.ts";
import { listOf } from "./policy.ts";

/** A resource of the template with its names, everything in it resolved. */
export interface ResolvedResource {
  readonly logicalId: string;
  readonly type: (typeof judgedTypes)[number];
  readonly ref: string;
  readonly arn: string;
  readonly properties: Readonly<Record<string, unknown>>;
}

/** The access keys that a function's sandboxes are given, and that who works by another role has: a service, or a person. */
export const accessKeyOfFunction = (functionName: string): string => `function.${functionName}`;
export const accessKeyOfRole = (arn: string): string => `role.${arn.slice(arn.lastIndexOf("/") + 1)}`;

/** Resources that rights follow from. */
export const judgedTypes = [
  "AWS::IAM::Role",
  "AWS::IAM::Policy",
  "AWS::IAM::ManagedPolicy",
  "AWS::DynamoDB::GlobalTable",
  "AWS::DynamoDB::Table",
  "AWS::KMS::Key",
  "AWS::Lambda::Function",
  "AWS::Lambda::Permission",
  "AWS::Logs::LogGroup",
  "AWS::S3::Bucket",
  "AWS::S3::BucketPolicy",
  "AWS::Scheduler::Schedule",
  "AWS::SQS::Queue",
  "AWS::SQS::QueuePolicy",
] as const;

export function accessRules(resources: readonly ResolvedResource[], account: string): AccessRules {
  const of = (type: ResolvedResource["type"]) => resources.filter((resource) => resource.type === type);
  const caller = (logicalId: string, roleArn: unknown, session: string): CallerRules => {
    const role = of("AWS::IAM::Role").find(({ arn }) => arn === roleArn);
    if (role === undefined) throw new Error(`${logicalId}: its role is not in this template`);
    return callerOf(role, session, resources, account);
  };
  const functions = of("AWS::Lambda::Function").map(
    ({ logicalId, ref, properties }) =>
      [accessKeyOfFunction(ref), caller(logicalId, properties.Role, ref)] as const,
  );
  const schedules = of("AWS::Scheduler::Schedule").map(({ logicalId, ref, properties }) => {
    const { RoleArn } = properties.Target as { RoleArn?: unknown };
    return [accessKeyOfRole(String(RoleArn)), caller(logicalId, RoleArn, ref)] as const;
  });
  // What people of the account may assume: an operator's.
  const people = of("AWS::IAM::Role")
    .filter(({ properties }) => isForTheAccount(properties, account))
    .map((role) => [accessKeyOfRole(role.arn), callerOf(role, "person", resources, account)] as const);
  return {
    callers: Object.fromEntries([...functions, ...schedules, ...people]),
    resources: Object.fromEntries(resourcePolicies(resources, account)),
    keys: Object.fromEntries(keysOf(resources)),
  };
}

/** By what is encrypted. The policy of a key of another template is not known: nobody could say who may use it. */
function keysOf(resources: readonly ResolvedResource[]): [string, string][] {
  return resources.flatMap((resource): [string, string][] => {
    const keyId = keyIdOf(resource);
    if (keyId === undefined) return [];
    const key = resources.find(
      ({ type, ref, arn }) => type === "AWS::KMS::Key" && (arn === keyId || ref === keyId),
    );
    if (key === undefined)
      throw new Error(
        `${resource.logicalId}: the key ${keyId} is not in this template: its policy is not known here`,
      );
    return [[resource.arn, key.arn]];
  });
}

interface BucketRule {
  readonly ServerSideEncryptionByDefault?: { readonly KMSMasterKeyID?: string };
}
function keyIdOf({ type, properties }: ResolvedResource): string | undefined {
  switch (type) {
    case "AWS::S3::Bucket": {
      const { ServerSideEncryptionConfiguration: rules = [] } = (properties.BucketEncryption ?? {}) as {
        ServerSideEncryptionConfiguration?: readonly BucketRule[];
      };
      return rules[0]?.ServerSideEncryptionByDefault?.KMSMasterKeyID;
    }
    case "AWS::SQS::Queue":
      return properties.KmsMasterKeyId as string | undefined;
    case "AWS::DynamoDB::Table":
    case "AWS::DynamoDB::GlobalTable":
      return (properties.SSESpecification as { KMSMasterKeyId?: string } | undefined)?.KMSMasterKeyId;
    case "AWS::Logs::LogGroup":
      return properties.KmsKeyId as string | undefined;
    default:
      return undefined;
  }
}

function isForTheAccount({ AssumeRolePolicyDocument }: ResolvedResource["properties"], account: string) {
  const { Statement } = (AssumeRolePolicyDocument ?? {}) as { Statement?: unknown };
  return listOf(Statement ?? []).some((statement) => {
    const { Effect, Principal } = statement as { Effect: string; Principal?: { AWS?: unknown } };
    return Effect === "Allow" && Principal?.AWS === `arn:aws:iam::${account}:root`;
  });
}

function callerOf(
  role: ResolvedResource,
  session: string,
  resources: readonly ResolvedResource[],
  account: string,
): CallerRules {
  const { properties, logicalId, ref } = role;
  const inline = listOf(properties.Policies ?? []).map((policy): NamedPolicy => {
    const { PolicyName, PolicyDocument } = policy as { PolicyName: string; PolicyDocument: unknown };
    return { name: `${logicalId}.${PolicyName}`, document: PolicyDocument };
  });
  const attached = resources
    .filter(({ type }) => type === "AWS::IAM::Policy")
    .filter((policy) => listOf(policy.properties.Roles ?? []).includes(ref))
    .map((policy): NamedPolicy => ({ name: policy.logicalId, document: policy.properties.PolicyDocument }));
  const managed = listOf(properties.ManagedPolicyArns ?? []).map((arn) =>
    managedPolicy(String(arn), logicalId, resources),
  );
  const boundary = properties.PermissionsBoundary;
  return {
    arn: `arn:aws:sts::${account}:assumed-role/${ref}/${session}`,
    policies: [...inline, ...attached, ...managed],
    boundary: boundary === undefined ? null : managedPolicy(String(boundary), logicalId, resources),
  };
}

/** AWS's own policies that a function of the CDK's gets where its role is not said, as AWS documents them. */
const managedByAws: Readonly<Record<string, unknown>> = {
  "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole": {
    Version: "2012-10-17",
    Statement: {
      Effect: "Allow",
      Action: ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"],
      Resource: "*",
    },
  },
};

/** One of the template's own, or of those above: what others say is not known here. */
function managedPolicy(arn: string, logicalId: string, resources: readonly ResolvedResource[]): NamedPolicy {
  if (Object.hasOwn(managedByAws, arn)) return { name: arn, document: managedByAws[arn] };
  const found = resources.find((one) => one.type === "AWS::IAM::ManagedPolicy" && one.ref === arn);
  if (found === undefined) throw new Error(`${logicalId}: the managed policy ${arn} is not in this template`);
  return { name: found.logicalId, document: found.properties.PolicyDocument };
}

function resourcePolicies(resources: readonly ResolvedResource[], account: string): [string, NamedPolicy][] {
  return resources.flatMap(({ type, logicalId, arn, properties }): [string, NamedPolicy][] => {
    const named = { name: logicalId, document: properties.PolicyDocument };
    switch (type) {
      case "AWS::S3::BucketPolicy":
        return [[`arn:aws:s3:::${properties.Bucket}`, named]];
      case "AWS::KMS::Key":
        return [[arn, { name: logicalId, document: properties.KeyPolicy }]];
      case "AWS::SQS::QueuePolicy":
        return listOf(properties.Queues).map((url) => {
          const queue = resources.find((one) => one.type === "AWS::SQS::Queue" && one.ref === url);
          if (queue === undefined) throw new Error(`${logicalId}: the queue ${url} is not in this template`);
          return [queue.arn, named];
        });
      case "AWS::Lambda::Permission":
        return [
          [
            String(properties.FunctionName),
            { name: logicalId, document: permission(properties, logicalId, account) },
          ],
        ];
      default:
        return [];
    }
  });
}

function permission(properties: ResolvedResource["properties"], logicalId: string, account: string): unknown {
  const { Action, Principal, FunctionName, SourceArn, SourceAccount } = properties;
  const known = ["Action", "Principal", "FunctionName", "SourceArn", "SourceAccount"];
  const odd = Object.keys(properties).find((name) => !known.includes(name));
  if (odd !== undefined) throw new Error(`${logicalId}: ${odd} of a Lambda permission is not known here`);
  const isService = String(Principal).endsWith(".amazonaws.com");
  return {
    Version: "2012-10-17",
    Statement: {
      Effect: "Allow",
      Action,
      Principal: isService
        ? { Service: Principal }
        : { AWS: Principal === "*" ? "*" : (Principal ?? account) },
      Resource: FunctionName,
      Condition: {
        ...(SourceArn === undefined ? {} : { ArnLike: { "aws:SourceArn": SourceArn } }),
        ...(SourceAccount === undefined ? {} : { StringEquals: { "aws:SourceAccount": SourceAccount } }),
      },
    },
  };
}
