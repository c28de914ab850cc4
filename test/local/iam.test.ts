/**
 * IAM as the local stack judges it: a decision table after AWS's "Policy evaluation logic" and "IAM JSON policy elements",
 * and policies that are not understood.
 */
import { AccessControl, type AccessRules, type Asked, accessKeyOf } from "../../scripts/local/iam/access.ts";
import {
  askedByLogs,
  askedOfDynamoDb,
  askedOfS3,
  askedOfSqs,
  type S3Operation,
} from "../../scripts/local/iam/requests.ts";

const account = "000000000000";
const role = `arn:aws:sts::${account}:assumed-role/Role/fn`;
const bucket = "arn:aws:s3:::b";
const object = `${bucket}/docs/0/deltas/1.arrow`;

type Part = Record<string, unknown>;
const statement = (Effect: string, Action: unknown, Resource: unknown, more: Part = {}): Part => ({
  Effect,
  Action,
  Resource,
  ...more,
});
const allow = (action: unknown, resource: unknown, more: Part = {}) =>
  statement("Allow", action, resource, more);
const deny = (action: unknown, resource: unknown, more: Part = {}) =>
  statement("Deny", action, resource, more);
const document = (...Statement: Part[]) => ({ Version: "2012-10-17", Statement });

interface Given {
  readonly identity?: Part[];
  readonly resource?: Part[];
  readonly boundary?: Part[];
}
function control({ identity = [], resource, boundary }: Given): AccessControl {
  const rules: AccessRules = {
    callers: {
      fn: {
        arn: role,
        policies: [{ name: "role", document: document(...identity) }],
        boundary: boundary === undefined ? null : { name: "boundary", document: document(...boundary) },
      },
    },
    resources:
      resource === undefined ? {} : { [bucket]: { name: "bucket", document: document(...resource) } },
  };
  return new AccessControl(rules, account);
}
const put: Asked = { action: "s3:PutObject", resource: object };
const ask = (
  given: Given,
  asked: Asked = put,
  key = "fn",
): "allowed" | "denied" | "explicitly denied" | "unknown" => {
  const denial = control(given).denialOf(key, [asked]);
  if (denial === null) return "allowed";
  if (denial.kind === "unknownKey") return "unknown";
  return denial.message.includes("explicit deny") ? "explicitly denied" : "denied";
};
const anyone = { Principal: { AWS: "*" } };
const wholeAccount = { Principal: { AWS: `arn:aws:iam::${account}:root` } };
const thisRole = { Principal: { AWS: role } };
const withContext = (context: Record<string, string>): Asked => ({ ...put, context });
const condition = (operator: string, key: string, value: unknown) => ({
  Condition: { [operator]: { [key]: value } },
});

test.each<[string, Given, string, Asked?]>([
  ["nothing allows it", {}, "denied"],
  ["the role allows it", { identity: [allow("s3:PutObject", object)] }, "allowed"],
  [
    "an allow and a deny of the role",
    { identity: [allow("s3:*", "*"), deny("s3:PutObject", object)] },
    "explicitly denied",
  ],
  ["a deny alone", { identity: [deny("s3:PutObject", object)] }, "explicitly denied"],
  ["another action", { identity: [allow("s3:GetObject", object)] }, "denied"],
  ["another resource", { identity: [allow("s3:PutObject", `${bucket}/other`)] }, "denied"],
  ["the bucket is not its objects", { identity: [allow("s3:PutObject", bucket)] }, "denied"],
  ["a pattern of resources", { identity: [allow("s3:PutObject", `${bucket}/*/deltas/*`)] }, "allowed"],
  ["? is one character", { identity: [allow("s3:PutObject", `${bucket}/docs/?/deltas/?.arrow`)] }, "allowed"],
  ["? is not two", { identity: [allow("s3:PutObject", `${bucket}/doc?/deltas/1.arrow`)] }, "denied"],
  ["a dot is no pattern", { identity: [allow("s3:PutObject", `${bucket}/docs/0/deltas/1xarrow`)] }, "denied"],
  ["actions whatever their case", { identity: [allow("S3:putobject", object)] }, "allowed"],
  ["resources in their case only", { identity: [allow("s3:PutObject", object.toUpperCase())] }, "denied"],
  [
    "NotAction",
    { identity: [statement("Allow", undefined, "*", { NotAction: ["s3:DeleteObject"] })] },
    "allowed",
  ],
  [
    "NotAction that names it",
    { identity: [statement("Allow", undefined, "*", { NotAction: ["s3:Put*"] })] },
    "denied",
  ],
  [
    "NotResource",
    { identity: [allow("s3:*", "*"), statement("Deny", "s3:*", undefined, { NotResource: [bucket] })] },
    "explicitly denied",
  ],
  ["the bucket's policy allows the role", { resource: [allow("s3:PutObject", object, thisRole)] }, "allowed"],
  ["the bucket's policy allows anyone", { resource: [allow("s3:PutObject", object, anyone)] }, "allowed"],
  [
    "the bucket's policy allows the account: the role decides",
    { resource: [allow("s3:PutObject", object, wholeAccount)] },
    "denied",
  ],
  [
    "the bucket's policy denies anyone",
    { identity: [allow("s3:*", "*")], resource: [deny("s3:PutObject", object, anyone)] },
    "explicitly denied",
  ],
  [
    "the bucket's policy denies the account",
    { identity: [allow("s3:*", "*")], resource: [deny("s3:*", "*", wholeAccount)] },
    "explicitly denied",
  ],
  [
    "the bucket's policy denies another role",
    { identity: [allow("s3:*", "*")], resource: [deny("s3:*", "*", { Principal: { AWS: `${role}2` } })] },
    "allowed",
  ],
  [
    "the bucket's policy denies a service",
    {
      identity: [allow("s3:*", "*")],
      resource: [deny("s3:*", "*", { Principal: { Service: "logs.amazonaws.com" } })],
    },
    "allowed",
  ],
  [
    "the boundary allows less",
    { identity: [allow("s3:*", "*")], boundary: [allow("s3:GetObject", "*")] },
    "denied",
  ],
  ["the boundary alone allows", { boundary: [allow("s3:*", "*")] }, "denied"],
  ["role and boundary allow", { identity: [allow("s3:*", "*")], boundary: [allow("s3:*", "*")] }, "allowed"],
  [
    "the boundary denies",
    { identity: [allow("s3:*", "*")], boundary: [allow("s3:*", "*"), deny("s3:Put*", "*")] },
    "explicitly denied",
  ],
  [
    "StringEquals holds",
    { identity: [allow("s3:*", "*", condition("StringEquals", "s3:prefix", ["a/", "b/"]))] },
    "allowed",
    withContext({ "s3:prefix": "b/" }),
  ],
  [
    "StringEquals does not hold",
    { identity: [allow("s3:*", "*", condition("StringEquals", "s3:prefix", "a/"))] },
    "denied",
    withContext({ "s3:prefix": "b/" }),
  ],
  [
    "a key that the request lacks does not hold",
    { identity: [allow("s3:*", "*", condition("StringEquals", "s3:prefix", "a/"))] },
    "denied",
  ],
  [
    "…IfExists does",
    { identity: [allow("s3:*", "*", condition("StringEqualsIfExists", "s3:prefix", "a/"))] },
    "allowed",
  ],
  [
    "StringLike",
    { identity: [allow("s3:*", "*", condition("StringLike", "s3:prefix", "docs/*"))] },
    "allowed",
    withContext({ "s3:prefix": "docs/0/" }),
  ],
  [
    "StringNotEquals holds without the key",
    { identity: [allow("s3:*", "*", condition("StringNotEquals", "s3:prefix", "a/"))] },
    "allowed",
  ],
  [
    "StringNotLike: none of the values may match",
    { identity: [allow("s3:*", "*", condition("StringNotLike", "s3:prefix", ["x", "d*"]))] },
    "denied",
    withContext({ "s3:prefix": "docs/" }),
  ],
  [
    "keys whatever their case",
    { identity: [allow("s3:*", "*", condition("StringEquals", "S3:PREFIX", "a/"))] },
    "allowed",
    withContext({ "s3:prefix": "a/" }),
  ],
  [
    "Null true: the key must be absent",
    {
      identity: [
        allow("s3:*", "*"),
        deny("s3:PutObject", "*", condition("Null", "s3:if-none-match", "true")),
      ],
    },
    "explicitly denied",
  ],
  [
    "Null true, with the key",
    {
      identity: [
        allow("s3:*", "*"),
        deny("s3:PutObject", "*", condition("Null", "s3:if-none-match", "true")),
      ],
    },
    "allowed",
    withContext({ "s3:if-none-match": "*" }),
  ],
  [
    "Null false: the key must be there",
    { identity: [allow("s3:*", "*", condition("Null", "s3:if-none-match", "false"))] },
    "denied",
  ],
  [
    "Bool",
    { identity: [allow("s3:*", "*"), deny("s3:*", "*", condition("Bool", "aws:SecureTransport", "false"))] },
    "allowed",
  ],
  [
    "NumericLessThan",
    {
      identity: [allow("s3:*", "*"), deny("s3:*", "*", condition("NumericLessThan", "s3:TlsVersion", "1.2"))],
    },
    "allowed",
  ],
  [
    "NumericLessThan holds",
    { identity: [allow("s3:*", "*"), deny("s3:*", "*", condition("NumericLessThan", "s3:TlsVersion", 1.4))] },
    "explicitly denied",
  ],
  [
    "ForAllValues: a value that fits",
    {
      identity: [allow("s3:*", "*", condition("ForAllValues:StringLike", "dynamodb:LeadingKeys", "limit#*"))],
    },
    "allowed",
    withContext({ "dynamodb:LeadingKeys": "limit#openai" }),
  ],
  [
    "ForAllValues: one that does not",
    {
      identity: [allow("s3:*", "*", condition("ForAllValues:StringLike", "dynamodb:LeadingKeys", "limit#*"))],
    },
    "denied",
    withContext({ "dynamodb:LeadingKeys": "ingest/docs/0" }),
  ],
  [
    "ForAllValues: none at all fits",
    {
      identity: [allow("s3:*", "*", condition("ForAllValues:StringLike", "dynamodb:LeadingKeys", "limit#*"))],
    },
    "allowed",
  ],
  [
    "two conditions: both must hold",
    {
      identity: [
        allow("s3:*", "*", {
          Condition: { StringEquals: { "s3:prefix": "a/" }, Bool: { "aws:SecureTransport": "false" } },
        }),
      ],
    },
    "denied",
    withContext({ "s3:prefix": "a/" }),
  ],
])("%s", (_, given, expected, ...asked) => {
  expect(ask(given, asked[0])).toBe(expected);
});

test("an unknown key is told so; the owner of the account may do all but what is denied", () => {
  expect(ask({ identity: [allow("s3:*", "*")] }, put, "stranger")).toBe("unknown");
  expect(control({}).denialOf(null, [put])).toMatchObject({ kind: "unknownKey" });
  expect(ask({}, put, "local")).toBe("allowed");
  expect(ask({ resource: [deny("s3:*", "*", anyone)] }, put, "local")).toBe("explicitly denied");
});

describe("what is encrypted by a KMS key", () => {
  const key = `arn:aws:kms:us-east-1:${account}:key/k`;
  const accountDecides = allow("kms:*", "*", wholeAccount);
  const viaS3 = condition("StringEquals", "kms:ViaService", "s3.us-east-1.amazonaws.com");
  const encrypted = (identity: Part[], keyPolicy: Part[], boundary?: Part[]): AccessControl =>
    new AccessControl(
      {
        callers: {
          fn: {
            arn: role,
            policies: [{ name: "role", document: document(...identity) }],
            boundary: boundary === undefined ? null : { name: "boundary", document: document(...boundary) },
          },
        },
        resources: { [key]: { name: "key", document: document(...keyPolicy) } },
        keys: { [bucket]: key, [`arn:aws:dynamodb:us-east-1:${account}:table/t`]: key },
      },
      account,
    );
  const get: Asked = { action: "s3:GetObject", resource: object, ofKey: ["kms:Decrypt"] };
  const s3 = allow("s3:*", "*");

  test.each<[string, Part[], Part[], "kms:Decrypt" | null]>([
    ["the role has no right to the key", [s3], [accountDecides], "kms:Decrypt"],
    [
      "it has, and the key's policy lets the account decide",
      [s3, allow("kms:Decrypt", key)],
      [accountDecides],
      null,
    ],
    ["it has, through S3", [s3, allow("kms:Decrypt", key, viaS3)], [accountDecides], null],
    [
      "it has, through another service",
      [
        s3,
        allow("kms:Decrypt", key, condition("StringEquals", "kms:ViaService", "sqs.us-east-1.amazonaws.com")),
      ],
      [accountDecides],
      "kms:Decrypt",
    ],
    [
      "it has, through S3 of another region",
      [
        s3,
        allow("kms:Decrypt", key, condition("StringEquals", "kms:ViaService", "s3.eu-west-1.amazonaws.com")),
      ],
      [accountDecides],
      "kms:Decrypt",
    ],
    ["it has, to another action", [s3, allow("kms:GenerateDataKey", key)], [accountDecides], "kms:Decrypt"],
    ["it has, to another key", [s3, allow("kms:Decrypt", `${key}2`)], [accountDecides], "kms:Decrypt"],
    ["it has all rights, and the key's policy says nothing", [s3, allow("kms:*", "*")], [], "kms:Decrypt"],
    [
      "it has all rights, and the key's policy lets the account decide another action",
      [s3, allow("kms:*", "*")],
      [allow("kms:DescribeKey", "*", wholeAccount)],
      "kms:Decrypt",
    ],
    [
      "it has all rights, and the key's policy lets a service alone",
      [s3, allow("kms:*", "*")],
      [allow("kms:*", "*", { Principal: { Service: "logs.us-east-1.amazonaws.com" } })],
      "kms:Decrypt",
    ],
    ["the key's policy names the role", [s3], [allow("kms:Decrypt", "*", thisRole)], null],
    [
      "the key's policy denies",
      [s3, allow("kms:Decrypt", key)],
      [accountDecides, deny("kms:Decrypt", "*", anyone)],
      "kms:Decrypt",
    ],
  ])("%s", (_, identity, keyPolicy, refused) => {
    expect(encrypted(identity, keyPolicy).denialOf("fn", [get])?.asked?.action ?? null).toBe(refused);
  });

  test("the owner of the account is under the key's policy as well; a boundary bounds the key's use", () => {
    expect(encrypted([], [accountDecides]).denialOf("local", [get])).toBeNull();
    expect(encrypted([], []).denialOf("local", [get])?.message).toContain("kms:Decrypt");
    const bounded = encrypted([s3, allow("kms:*", "*")], [accountDecides], [s3]);
    expect(bounded.denialOf("fn", [get])?.message).toContain("kms:Decrypt");
  });

  test("what is not encrypted by it, and a request that reads nothing of it, ask nothing of the key", () => {
    const control = encrypted([s3, allow("dynamodb:Query", "*")], [accountDecides]);
    expect(control.denialOf("fn", [{ ...get, resource: "arn:aws:s3:::other/k" }])).toBeNull();
    expect(control.denialOf("fn", [{ action: "s3:DeleteObject", resource: object }])).toBeNull();
    // A table's key is its indexes'.
    const index = `arn:aws:dynamodb:us-east-1:${account}:table/t/index/i`;
    const query: Asked = { action: "dynamodb:Query", resource: index, ofKey: ["kms:Decrypt"] };
    expect(control.denialOf("fn", [query])?.message).toContain(`kms:Decrypt on resource: "${key}"`);
  });

  test("CloudWatch Logs uses a key as itself, where the key's policy lets it", () => {
    const logs = { Principal: { Service: "logs.us-east-1.amazonaws.com" } };
    const ofLogs = condition(
      "ArnLike",
      "kms:EncryptionContext:aws:logs:arn",
      `arn:aws:logs:us-east-1:${account}:*`,
    );
    const group = `arn:aws:logs:us-east-1:${account}:log-group:g:*`;
    const may = (...keyPolicy: Part[]) =>
      askedByLogs(key, group).every(
        (asked) => encrypted([], keyPolicy).denialOfService("logs.us-east-1.amazonaws.com", asked) === null,
      );
    const actions = [
      "kms:Decrypt",
      "kms:DescribeKey",
      "kms:Encrypt",
      "kms:GenerateDataKey*",
      "kms:ReEncrypt*",
    ];
    expect(may(accountDecides)).toBe(false);
    expect(may(accountDecides, allow(actions, "*", { ...logs, ...ofLogs }))).toBe(true);
    expect(may(accountDecides, allow(actions.slice(1), "*", { ...logs, ...ofLogs }))).toBe(false);
    const elsewhere = condition("ArnLike", "kms:EncryptionContext:aws:logs:arn", "arn:aws:logs:eu-west-1:*");
    expect(may(accountDecides, allow(actions, "*", { ...logs, ...elsewhere }))).toBe(false);
  });
});

test("an action that is not known here is denied to everybody", () => {
  const asked: Asked = { action: "s3:PutObjectRetention", resource: object };
  expect(ask({ identity: [allow("s3:*", "*")] }, asked)).toBe("denied");
  expect(ask({}, asked, "local")).toBe("denied");
});

test.each<[string, unknown]>([
  ["Version", { Version: "2008-10-17", Statement: [] }],
  ["element", document(allow("s3:*", "*", { Resources: "*" }))],
  ["Effect", document(statement("allow", "s3:*", "*"))],
  ["exactly one of Action", document(statement("Allow", undefined, "*"))],
  ["exactly one of Resource", document(allow("s3:*", "*", { NotResource: "*" }))],
  ["Principal", document(allow("s3:*", "*", anyone))],
  ["action s3:PutObjct is not known", document(allow(["s3:GetObject", "s3:PutObjct"], "*"))],
  ["action kms:Decrypts is not known", document(allow("kms:Decrypts", "*"))],
  [
    "condition key kms:GrantIsForAWSResource",
    document(allow("kms:CreateGrant", "*", condition("Bool", "kms:GrantIsForAWSResource", "true"))),
  ],
  [
    "condition operator StringEqual",
    document(allow("s3:*", "*", condition("StringEqual", "s3:prefix", "a"))),
  ],
  [
    "condition operator ForAnyValue:StringLike",
    document(allow("s3:*", "*", condition("ForAnyValue:StringLike", "s3:prefix", "a"))),
  ],
  [
    "condition operator DateLessThan",
    document(allow("s3:*", "*", condition("DateLessThan", "aws:CurrentTime", "2030-01-01"))),
  ],
  [
    "condition key s3:x-amz-acl",
    document(allow("s3:*", "*", condition("StringEquals", "s3:x-amz-acl", "private"))),
  ],
])("a policy that is not understood is an error, never an allow: %s", (said, policy) => {
  const rules = {
    callers: { fn: { arn: role, policies: [{ name: "role", document: policy }], boundary: null } },
    resources: {},
  };
  expect(() => new AccessControl(rules, account)).toThrow(said);
});

describe("what a request asks for", () => {
  const s3 = (operation: string, more: Partial<S3Operation> & { search?: string } = {}) =>
    askedOfS3({
      operation,
      bucket: "b",
      key: "k",
      query: new URLSearchParams(more.search),
      headers: {},
      ...more,
    });

  test("of S3", () => {
    expect(s3("GetObject")).toEqual([
      { action: "s3:GetObject", resource: "arn:aws:s3:::b/k", context: {}, ofKey: ["kms:Decrypt"] },
    ]);
    expect(s3("HeadObject")[0]!.ofKey).toBeUndefined();
    expect(s3("HeadObject", { headers: { "x-amz-checksum-mode": "ENABLED" } })[0]!.ofKey).toEqual([
      "kms:Decrypt",
    ]);
    expect(["PutObject", "CreateMultipartUpload"].map((one) => s3(one)[0]!.ofKey)).toEqual([
      ["kms:GenerateDataKey"],
      ["kms:GenerateDataKey"],
    ]);
    expect(["UploadPart", "CompleteMultipartUpload"].map((one) => s3(one)[0]!.ofKey)).toEqual([
      ["kms:Decrypt"],
      ["kms:Decrypt"],
    ]);
    expect(s3("HeadObject", { search: "versionId=1" })).toMatchObject([{ action: "s3:GetObjectVersion" }]);
    expect(s3("ListObjects", { search: "prefix=a/&max-keys=5" })).toMatchObject([
      {
        action: "s3:ListBucket",
        resource: "arn:aws:s3:::b",
        context: { "s3:prefix": "a/", "s3:max-keys": "5" },
      },
    ]);
    expect(s3("PutObject", { headers: { "if-none-match": "*" } })).toMatchObject([
      { action: "s3:PutObject", context: { "s3:if-none-match": "*", "s3:ObjectCreationOperation": "true" } },
    ]);
    // Comparing an ETag needs the right to read.
    expect(s3("PutObject", { headers: { "if-match": "e" } }).map(({ action }) => action)).toEqual([
      "s3:PutObject",
      "s3:GetObject",
    ]);
    expect(s3("UploadPart")).toMatchObject([
      { action: "s3:PutObject", context: { "s3:ObjectCreationOperation": "false" } },
    ]);
    expect(s3("CopyObject", { copySource: { bucket: "c", key: "from" } })).toMatchObject([
      { action: "s3:GetObject", resource: "arn:aws:s3:::c/from" },
      { action: "s3:PutObject", resource: "arn:aws:s3:::b/k" },
    ]);
    expect(() => s3("PutObjectAcl")).toThrow("not known here");
  });

  test("of SQS", () => {
    const QueueUrl = "http://127.0.0.1:4567/000000000000/q";
    expect(askedOfSqs("AmazonSQS.SendMessageBatch", { QueueUrl }, "us-east-1")[0]!.ofKey).toEqual([
      "kms:GenerateDataKey",
      "kms:Decrypt",
    ]);
    expect(askedOfSqs("AmazonSQS.DeleteMessageBatch", { QueueUrl }, "us-east-1")).toEqual([
      { action: "sqs:DeleteMessage", resource: "arn:aws:sqs:us-east-1:000000000000:q" },
    ]);
  });

  test("of DynamoDB", () => {
    const tables = { arn: (table: string) => `table/${table}`, partitionKey: () => "pk" };
    const Item = { pk: { S: "limit#a" }, sk: { S: "1" } };
    expect(askedOfDynamoDb("DynamoDB_20120810.PutItem", { TableName: "t", Item }, tables)).toEqual([
      {
        ...{
          action: "dynamodb:PutItem",
          resource: "table/t",
          context: { "dynamodb:LeadingKeys": "limit#a" },
        },
        ofKey: expect.arrayContaining(["kms:Decrypt", "kms:Encrypt", "kms:ReEncryptTo"]),
      },
    ]);
    expect(askedOfDynamoDb("DynamoDB_20120810.DescribeTable", { TableName: "t" }, tables)).toEqual([
      { action: "dynamodb:DescribeTable", resource: "table/t" },
    ]);
    const Key = { pk: { S: "limit#b" } };
    const TransactItems = [{ Put: { TableName: "a", Item } }, { ConditionCheck: { TableName: "b", Key } }];
    // Each of its items is judged as by itself.
    expect(askedOfDynamoDb("DynamoDB_20120810.TransactWriteItems", { TransactItems }, tables)).toMatchObject([
      { action: "dynamodb:PutItem", resource: "table/a", context: { "dynamodb:LeadingKeys": "limit#a" } },
      {
        ...{ action: "dynamodb:ConditionCheckItem", resource: "table/b" },
        context: { "dynamodb:LeadingKeys": "limit#b" },
      },
    ]);
    const RequestItems = { t: [{ PutRequest: { Item } }, { DeleteRequest: { Key } }] };
    expect(askedOfDynamoDb("DynamoDB_20120810.BatchWriteItem", { RequestItems }, tables)).toMatchObject([
      { action: "dynamodb:BatchWriteItem", context: { "dynamodb:LeadingKeys": "limit#a" } },
      { action: "dynamodb:BatchWriteItem", context: { "dynamodb:LeadingKeys": "limit#b" } },
    ]);
  });
});

test("the access key of a signed request", () => {
  expect(
    accessKeyOf(
      "AWS4-HMAC-SHA256 Credential=function.Siltstone-dev/20261126/us-east-1/s3/aws4_request, Signed",
    ),
  ).toBe("function.Siltstone-dev");
  expect(accessKeyOf(undefined, new URLSearchParams("X-Amz-Credential=key/2026/x"))).toBe("key");
  expect(accessKeyOf(undefined)).toBeNull();
});
