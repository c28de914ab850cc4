/**
 * The actions that are known here, by service: those that requests to the local stack ask for, and those of the templates' policies. A policy
 * that names another is an error, as one with a misspelt action would quietly allow nothing; a request that asks for another is denied.
 */
import { matches } from "./policy.ts";

const byService: Readonly<Record<string, readonly string[]>> = {
  bedrock: ["InvokeModel"],
  cloudformation: ["DescribeStacks"],
  cloudwatch: ["DescribeAlarms"],
  dynamodb: [
    ...["GetItem", "PutItem", "UpdateItem", "DeleteItem", "ConditionCheckItem", "Query", "Scan"],
    ...["BatchGetItem", "BatchWriteItem"],
    ...["CreateTable", "DeleteTable", "DescribeTable", "ListTables", "UpdateTable"],
    ...["DescribeTimeToLive", "UpdateTimeToLive", "DescribeContinuousBackups"],
  ],
  ec2: [
    ...["AssignPrivateIpAddresses", "CreateNetworkInterface", "DeleteNetworkInterface"],
    ...["DescribeNetworkInterfaces", "DescribeSubnets", "UnassignPrivateIpAddresses"],
  ],
  kms: [
    ...["CreateGrant", "Decrypt", "DescribeKey", "Encrypt", "GenerateDataKey"],
    ...["GenerateDataKeyWithoutPlaintext", "ReEncryptFrom", "ReEncryptTo"],
  ],
  lambda: [
    ...["GetFunction", "GetFunctionConfiguration", "InvokeFunction", "InvokeFunctionUrl", "ListFunctions"],
  ],
  logs: ["CreateLogGroup", "CreateLogStream", "FilterLogEvents", "PutLogEvents"],
  s3: [
    ...["AbortMultipartUpload", "CreateBucket", "DeleteBucket", "DeleteObject", "DeleteObjectVersion"],
    ...["GetBucketLocation", "GetBucketVersioning", "GetObject", "GetObjectVersion", "ListAllMyBuckets"],
    ...["ListBucket", "ListBucketMultipartUploads", "ListBucketVersions", "ListMultipartUploadParts"],
    ...["PutBucketVersioning", "PutObject"],
  ],
  secretsmanager: ["DescribeSecret", "GetSecretValue"],
  sqs: [
    ...["ChangeMessageVisibility", "CreateQueue", "DeleteMessage", "DeleteQueue", "GetQueueAttributes"],
    ...["GetQueueUrl", "ListDeadLetterSourceQueues", "ListQueues", "ListQueueTags", "PurgeQueue"],
    ...["ReceiveMessage", "SendMessage", "SetQueueAttributes", "TagQueue", "UntagQueue"],
  ],
  xray: ["PutTelemetryRecords", "PutTraceSegments"],
};
const all: readonly string[] = Object.entries(byService).flatMap(([service, names]) =>
  names.map((name) => `${service}:${name}`),
);
const known: ReadonlySet<string> = new Set(all);

export const isKnownAction = (action: string): boolean => known.has(action);

/** Whether a policy's pattern means any of them. */
export const isKnownPattern = (pattern: string): boolean =>
  all.some((action) => matches(pattern, action, true));
