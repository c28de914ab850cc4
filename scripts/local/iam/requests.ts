/**
 * What a request to one of the services asks for, in IAM's terms (AWS's service authorization reference): actions,
 * resources, and what condition keys say of it. An operation that is not listed is an error, never an allow.
 */
import type { Asked } from "./access.ts";

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
  const versioned = (action: string): string => (query.has("versionId") ? `${action}Version` : action);
  switch (operation) {
    case "GetObject":
    case "HeadObject":
      return [ofObject(versioned("s3:GetObject"))];
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
    return [ofObject("s3:PutObject", context), ...(compares ? [ofObject("s3:GetObject")] : [])];
  }
}

const readSource = ({ copySource }: S3Operation): Asked[] =>
  copySource === undefined
    ? []
    : [{ action: "s3:GetObject", resource: objectArn(copySource.bucket, copySource.key) }];

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

/** Whether a body is an operation's of SQS or DynamoDB. */
export const isOperation = (body: unknown): body is Readonly<Record<string, unknown>> =>
  typeof body === "object" && body !== null && !Array.isArray(body);

/** `target` is the x-amz-target header: "AmazonSQS.SendMessage". */
export function askedOfSqs(target: string, body: Readonly<Record<string, unknown>>, region: string): Asked[] {
  const operation = target.replace(/^AmazonSQS\./, "");
  const [, account = "*", name = "*"] =
    /\/(\d{12})\/([^/]+)$/.exec(String(body.QueueUrl ?? "")) ??
    (body.QueueName ? ["", "000000000000", String(body.QueueName)] : []);
  return [
    {
      action: `sqs:${queueActions[operation] ?? operation}`,
      resource: `arn:aws:sqs:${region}:${account}:${name}`,
    },
  ];
}

/** What is known of tables, by their names. */
export interface Tables {
  readonly arn: (table: string) => string;
  readonly partitionKey: (table: string) => string | undefined;
}

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
  const onItem = (): Asked => {
    const item = (body.Key ?? body.Item ?? {}) as Readonly<Record<string, Readonly<Record<string, unknown>>>>;
    const leading = item[partitionKey(String(body.TableName)) ?? ""];
    const value = leading === undefined ? undefined : Object.values(leading)[0];
    return {
      ...on(operation, body.TableName),
      ...(value === undefined ? {} : { context: { "dynamodb:LeadingKeys": String(value) } }),
    };
  };
  switch (operation) {
    case "ListTables":
      return [on(operation, "*")];
    case "BatchGetItem":
    case "BatchWriteItem":
      return Object.keys(body.RequestItems as object).map((table) => on(operation, table));
    case "TransactWriteItems":
    case "TransactGetItems": {
      const items = body.TransactItems as readonly Readonly<Record<string, { readonly TableName: string }>>[];
      const actions: Readonly<Record<string, string>> = {
        Put: "PutItem",
        Update: "UpdateItem",
        Delete: "DeleteItem",
        Get: "GetItem",
        ConditionCheck: "ConditionCheckItem",
      };
      return items.flatMap((item) =>
        Object.entries(item).map(([kind, { TableName }]) => {
          const action = actions[kind];
          if (action === undefined) throw new Error(`DynamoDB ${operation}: ${kind} is not known here`);
          return on(action, TableName);
        }),
      );
    }
    case "Query":
    case "Scan":
      return [
        body.IndexName === undefined
          ? on(operation, body.TableName)
          : on(operation, `${String(body.TableName)}/index/${String(body.IndexName)}`),
      ];
    default:
      return [onItem()];
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
