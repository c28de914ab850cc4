/**
 * What a person needs who operates a store by the command line, and nothing else: every command of `silt --stage` works under
 * it, but an import, or a promotion without vectors, that embeds by a provider, whose key no operator needs to see otherwise. Attach it to a role, a group or a permission set:
 *
 *     role.addManagedPolicy(new OperatorPolicy(stack, "Operator", { store }));
 *
 * It may change and delete whatever the store holds; it may not change the store itself: no function, policy or setting.
 */
import { Stack } from "aws-cdk-lib";
import type { Table } from "aws-cdk-lib/aws-dynamodb";
import { Effect, ManagedPolicy, PolicyStatement } from "aws-cdk-lib/aws-iam";
import type { Construct } from "constructs";
import { jobIndex, jobPrefix } from "../contract/names.ts";
import { allowKey } from "./encryption.ts";
import { allowing } from "./handler-function.ts";
import type { Jobs } from "./jobs.ts";
import type { VectorStore } from "./vector-store.ts";

export interface OperatorPolicyProps {
  readonly store: VectorStore;
}

export class OperatorPolicy extends ManagedPolicy {
  constructor(scope: Construct, id: string, { store }: OperatorPolicyProps) {
    super(scope, id, {
      description: `Operates the Siltstone store ${store.node.path} by its command line`,
      statements: statementsFor(store),
    });
    const { bucketKey, encryptionKey } = store.storage;
    allowKey(this, bucketKey, "writeObjects");
    allowKey(this, encryptionKey, "sendMessages");
    allowKey(this, encryptionKey, "useTable");
  }
}

/** Of the table the items, jobs and settings, and no lease. */
const onJobs = (actions: string[], resources: string[]): PolicyStatement =>
  new PolicyStatement({
    ...{ effect: Effect.ALLOW, actions, resources },
    conditions: { "ForAllValues:StringLike": { "dynamodb:LeadingKeys": [`${jobPrefix}*`] } },
  });

const forJobs = ({ queues, deadLetterQueue }: Jobs, table: Table): PolicyStatement[] => [
  onJobs(["dynamodb:PutItem", "dynamodb:DeleteItem"], [table.tableArn]),
  onJobs(["dynamodb:Query"], [table.tableArn, `${table.tableArn}/index/${jobIndex.name}`]),
  allowing(
    ["sqs:SendMessage"],
    queues.map(({ queueArn }) => queueArn),
  ),
  allowing(
    [
      "sqs:ReceiveMessage",
      "sqs:DeleteMessage",
      "sqs:ChangeMessageVisibility",
      "sqs:GetQueueAttributes",
      "sqs:PurgeQueue",
    ],
    [deadLetterQueue.queueArn],
  ),
];

function statementsFor({
  storage,
  ingestion,
  compaction,
  query,
  collections,
  jobs,
}: VectorStore): PolicyStatement[] {
  const { bucket, table } = storage;
  const functions = [
    ingestion.function,
    compaction.function,
    query.function,
    ...query.groupFunctions,
    collections.function,
    ...(jobs === undefined ? [] : [jobs.function]),
  ];
  const arnsOf = (all: readonly { readonly functionArn: string }[]): string[] => [
    ...new Set(all.map(({ functionArn }) => functionArn)),
  ];
  return [
    allowing(["cloudformation:DescribeStacks"], [Stack.of(compaction).stackId]),
    allowing(["s3:ListBucket", "s3:ListBucketVersions"], [bucket.bucketArn]),
    allowing(
      ["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
      [bucket.arnForObjects("*")],
    ),
    allowing(["dynamodb:GetItem", "dynamodb:UpdateItem"], [table.tableArn]),
    allowing(["sqs:SendMessage"], [ingestion.queue.queueArn]),
    allowing(
      [
        "sqs:ReceiveMessage",
        "sqs:DeleteMessage",
        "sqs:ChangeMessageVisibility",
        "sqs:GetQueueAttributes",
        "sqs:PurgeQueue",
      ],
      [ingestion.deadLetterQueue.queueArn, compaction.failedEventsQueue.queueArn],
    ),
    allowing(["lambda:InvokeFunction"], arnsOf([ingestion.function, compaction.function, query.callee])),
    allowing(["lambda:GetFunctionConfiguration"], arnsOf([...functions, query.callee])),
    ...(jobs === undefined ? [] : forJobs(jobs, table)),
    // Which alarms there are is a question about all of them.
    allowing(["cloudwatch:DescribeAlarms"], ["*"]),
    allowing(
      ["logs:FilterLogEvents"],
      functions.map(({ logGroup }) => logGroup.logGroupArn),
    ),
  ];
}
