/**
 * What a request to one of the services asks for, in IAM's terms (AWS's service authorization reference): actions,
 * resources, what condition keys say of it, and what the service asks of the KMS key by which that is encrypted (each service's
 * documentation of encryption at rest). An operation that is not listed is an error, never an allow.
 */
import type { Asked, KeyAction } from "./access.ts";

export interface S3Operation {
  readonly operation: string;
  readonly bucket: string;
  /** Empty for operations on the bucket. */
  readonly key: string;
  readonly query: URLSearchParams;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  /** "bucket/key" that is copied from, decoded. */
  readonly copySource?: { readonly bucket: string; readonly key: string };
}

const bucketArn = (bucket: string): string => `arn:aws:s3:::${bucket}`;
const objectArn = (bucket: string, key: string): string => `arn:aws:s3:::${bucket}/${key}`;

export function askedOfS3(request: S3Operation): Asked[] {
  const { operation, bucket, key, query, headers } = request;
  const ofBucket = (action: string, context = {}): Asked => ({
    action,
    resource: bucketArn(bucket),
    context,
  });
  const ofObject = (action: string, context = {}): Asked => {
    return { action, resource: objectArn(bucket, key), context };
  };
  const read: readonly KeyAction[] = ["kms:Decrypt"];
  const versioned = (action: string): string => (query.has("versionId") ? `${action}Version` : action);
  switch (operation) {
    case "GetObject":
      return [{ ...ofObject(versioned("s3:GetObject")), ofKey: read }];
    // Its checksum is encrypted with the object; the rest of what a HEAD answers is not.
    case "HeadObject":
      return [
        {
          ...ofObject(versioned("s3:GetObject")),
          ...(headers["x-amz-checksum-mode"] === undefined ? {} : { ofKey: read }),
        },
      ];
    case "PutObject":
    case "CompleteMultipartUpload":
    case "CopyObject":
    case "CreateMultipartUpload":
    case "UploadPart":
    case "UploadPartCopy":
      return [...readSource(request), ...writing(request)];
    case "DeleteObject":
      return [ofObject(versioned("s3:DeleteObject"))];
    // Each object that it names is judged by itself.
    case "DeleteObjects":
      return [];
    case "AbortMultipartUpload":
      return [ofObject("s3:AbortMultipartUpload")];
    case "ListParts":
      return [ofObject("s3:ListMultipartUploadParts")];
    case "ListObjects":
      return [ofBucket("s3:ListBucket", listContext(query))];
    case "ListObjectVersions":
      return [ofBucket("s3:ListBucketVersions", listContext(query))];
    case "ListMultipartUploads":
      return [ofBucket("s3:ListBucketMultipartUploads")];
    case "HeadBucket":
      return [ofBucket("s3:ListBucket")];
    // Rights of their own names.
    case "GetBucketLocation":
    case "GetBucketVersioning":
    case "PutBucketVersioning":
    case "CreateBucket":
    case "DeleteBucket":
      return [ofBucket(`s3:${operation}`)];
    case "ListBuckets":
      return [{ action: "s3:ListAllMyBuckets", resource: "arn:aws:s3:::*" }];
    default:
      throw new Error(`S3 ${operation}: which rights it needs is not known here`);
  }

  function writing({ operation }: S3Operation): Asked[] {
    const condition = (name: string): Record<string, string> => {
      const value = headers[name];
      return value === undefined ? {} : { [`s3:${name}`]: String(value) };
    };
    // What makes an object, rather than a part of one.
    const creates = operation !== "CreateMultipartUpload" && !operation.startsWith("UploadPart");
    const context = {
      ...condition("if-match"),
      ...condition("if-none-match"),
      "s3:ObjectCreationOperation": String(creates),
    };
    // S3 compares the ETag of what is there, for which it asks the right to read it.
    const compares = headers["if-match"] !== undefined;
    // An upload gets its data key when it begins: parts, and what joins them, have that one decrypted.
    const begins = !operation.startsWith("UploadPart") && operation !== "CompleteMultipartUpload";
    const ofKey: readonly KeyAction[] = begins ? ["kms:GenerateDataKey"] : read;
    return [{ ...ofObject("s3:PutObject", context), ofKey }, ...(compares ? [ofObject("s3:GetObject")] : [])];
  }
}

const readSource = ({ copySource }: S3Operation): Asked[] =>
  copySource === undefined
    ? []
    : [
        {
          action: "s3:GetObject",
          resource: objectArn(copySource.bucket, copySource.key),
          ofKey: ["kms:Decrypt"],
        },
      ];

function listContext(query: URLSearchParams): Record<string, string> {
  const given = ["prefix", "delimiter", "max-keys"].filter((name) => query.has(name));
  return Object.fromEntries(given.map((name) => [`s3:${name}`, query.get(name)!]));
}

export const askedOfDelete = (bucket: string, key: string, versionId: string | undefined): Asked => ({
  action: versionId === undefined ? "s3:DeleteObject" : "s3:DeleteObjectVersion",
  resource: objectArn(bucket, key),
});

/** What S3 needs to say that an object is not there; without it, absent is as forbidden as present. */
export const askedToMiss = (bucket: string): Asked => ({
  action: "s3:ListBucket",
  resource: `arn:aws:s3:::${bucket}`,
});

/** Queue operations that are their own action; batches are judged as what they are made of. */
const queueActions: Readonly<Record<string, string>> = {
  ChangeMessageVisibilityBatch: "ChangeMessageVisibility",
  DeleteMessageBatch: "DeleteMessage",
  SendMessageBatch: "SendMessage",
};

/** A sender's data key is decrypted again, to see that it is whole. */
const ofQueueKey: Readonly<Record<string, readonly KeyAction[]>> = {
  SendMessage: ["kms:GenerateDataKey", "kms:Decrypt"],
  ReceiveMessage: ["kms:Decrypt"],
};

/** What DynamoDB documents as the least that whoever uses a table may do with its key. */
const ofTableKey: readonly KeyAction[] = [
  "kms:Decrypt",
  "kms:DescribeKey",
  "kms:Encrypt",
  "kms:GenerateDataKey",
  "kms:GenerateDataKeyWithoutPlaintext",
  "kms:ReEncryptFrom",
  "kms:ReEncryptTo",
];

/** What CloudWatch Logs does as itself with the key of a log group. */
export const askedByLogs = (keyArn: string, logGroupArn: string): Asked[] =>
  [
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:Encrypt",
    "kms:GenerateDataKey",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
  ].map((action) => ({
    action,
    resource: keyArn,
    context: { "kms:EncryptionContext:aws:logs:arn": logGroupArn.replace(/:\*$/, "") },
  }));

/** Whether a body is an operation's of SQS or DynamoDB. */
export const isOperation = (body: unknown): body is Readonly<Record<string, unknown>> =>
  typeof body === "object" && body !== null && !Array.isArray(body);

/** `target` is the x-amz-target header: "AmazonSQS.SendMessage". */
export function askedOfSqs(target: string, body: Readonly<Record<string, unknown>>, region: string): Asked[] {
  const operation = target.replace(/^AmazonSQS\./, "");
  const [, account = "*", name = "*"] =
    /\/(\d{12})\/([^/]+)$/.exec(String(body.QueueUrl ?? "")) ??
    (body.QueueName ? ["", "000000000000", String(body.QueueName)] : []);
  const action = queueActions[operation] ?? operation;
  const ofKey = ofQueueKey[action];
  return [
    {
      action: `sqs:${action}`,
      resource: `arn:aws:sqs:${region}:${account}:${name}`,
      ...(ofKey === undefined ? {} : { ofKey }),
    },
  ];
}

/** What is known of tables, by their names. */
export interface Tables {
  readonly arn: (table: string) => string;
  readonly partitionKey: (table: string) => string | undefined;
}

type Item = Readonly<Record<string, Readonly<Record<string, unknown>>>>;
interface ItemOperation {
  readonly TableName: string;
  readonly Key?: Item;
  readonly Item?: Item;
}
/** As they stand in a transaction. */
const itemActions: Readonly<Record<string, string>> = {
  Put: "PutItem",
  Update: "UpdateItem",
  Delete: "DeleteItem",
  Get: "GetItem",
  ConditionCheck: "ConditionCheckItem",
};

/** `target` is the x-amz-target header: "DynamoDB_20120810.GetItem". */
export function askedOfDynamoDb(
  target: string,
  body: Readonly<Record<string, unknown>>,
  { arn, partitionKey }: Tables,
): Asked[] {
  const operation = target.replace(/^DynamoDB_\d+\./, "");
  const on = (action: string, table: unknown): Asked => ({
    action: `dynamodb:${action}`,
    resource: arn(String(table)),
  });
  /** Of one item: its partition key is a condition key. */
  const onItem = (action: string, { TableName, Key, Item = Key ?? {} }: ItemOperation): Asked => {
    const leading = Item[partitionKey(String(TableName)) ?? ""];
    const value = leading === undefined ? undefined : Object.values(leading)[0];
    return {
      ...{ ...on(action, TableName), ofKey: ofTableKey },
      ...(value === undefined ? {} : { context: { "dynamodb:LeadingKeys": String(value) } }),
    };
  };
  const named = (kind: string): string => {
    const action = itemActions[kind];
    if (action === undefined) throw new Error(`DynamoDB ${operation}: ${kind} is not known here`);
    return action;
  };
  switch (operation) {
    case "GetItem":
    case "PutItem":
    case "UpdateItem":
    case "DeleteItem":
      return [onItem(operation, body as unknown as ItemOperation)];
    case "BatchGetItem":
      return Object.entries(body.RequestItems as Record<string, { Keys: Item[] }>).flatMap(
        ([TableName, { Keys }]) => Keys.map((Key) => onItem(operation, { TableName, Key })),
      );
    case "BatchWriteItem":
      return Object.entries(body.RequestItems as Record<string, Record<string, ItemOperation>[]>).flatMap(
        ([TableName, requests]) =>
          requests
            .flatMap((request) => Object.entries(request))
            .map(([, item]) => onItem(operation, { ...item, TableName })),
      );
    case "TransactWriteItems":
    case "TransactGetItems":
      return (body.TransactItems as readonly Readonly<Record<string, ItemOperation>>[]).flatMap((item) =>
        Object.entries(item).map(([kind, one]) => onItem(named(kind), one)),
      );
    case "Query":
    case "Scan": {
      const { TableName, IndexName } = body;
      const place = IndexName === undefined ? TableName : `${String(TableName)}/index/${String(IndexName)}`;
      return [{ ...on(operation, place), ofKey: ofTableKey }];
    }
    default:
      return [on(operation, operation === "ListTables" ? "*" : body.TableName)];
  }
}

export const askedOfInvoke = (functionArn: string): Asked[] => [
  { action: "lambda:InvokeFunction", resource: functionArn },
];
/** Function URLs need both since October 2025. */
export const askedOfUrl = (functionArn: string): Asked[] => [
  { action: "lambda:InvokeFunctionUrl", resource: functionArn },
  { action: "lambda:InvokeFunction", resource: functionArn },
];
