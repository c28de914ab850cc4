/**
 * Findings of cdk-nag that follow from what a store is, each with its reason: whoever checks an app with it is not asked about them
 * again. What depends on the account (a VPC, keys, access logs for an auditor) is not among them: that is the app's to answer.
 */
import { type CfnElement, Stack, Validations } from "aws-cdk-lib";
import type { IBucket } from "aws-cdk-lib/aws-s3";
import type { Construct } from "constructs";

const everyCollection =
  "The collection is the first part of every key: what a function may do below a folder, it may do for each of them.";
const wildcards: Readonly<Record<string, string>> = {
  "/*": "The compactor and the query function read any collection of this bucket, which holds nothing else.",
  "/*/name.json": everyCollection,
  "/*/alias.json": everyCollection,
  "/*/collection.json": everyCollection,
  "/*/texts/*": everyCollection,
  "/*/*/deltas/*": everyCollection,
  "/*/*/segments/*": everyCollection,
  "/*/*/manifests/*": everyCollection,
  "/*/*/quarantine/*": everyCollection,
  "/*/*/pointer.json": everyCollection,
  "/snapshot/*/run/*":
    "An exported snapshot may lie in any folder below snapshot/; how far the compactor is with it lies below that.",
};

export function acknowledgeFindings(store: Construct, bucket: IBucket): void {
  const acknowledge = (id: string, reason: string) =>
    Validations.of(store).acknowledge({ id: `AwsSolutions::AwsSolutions-${id}`, reason });
  acknowledge(
    "S1",
    "Every commit is in the versioned pointer and in manifests that name their run; access logs would multiply the requests' cost. An account that wants them turns on CloudTrail data events.",
  );
  acknowledge(
    "SQS3",
    "The queue of failed events is where they end: for an hour, since the next run does their work. All other queues have a dead-letter queue, or are one.",
  );
  acknowledge(
    "IAM5[Resource::*]",
    "The actions on network interfaces and on traces know no narrower resource; the functions have them in a VPC, and with tracing.",
  );
  const own = bucket.node.defaultChild as CfnElement | undefined;
  // A bucket of another stack, or an imported one, has the findings of its own.
  if (own === undefined || own.stack !== Stack.of(store)) return;
  for (const [path, reason] of Object.entries(wildcards))
    acknowledge(`IAM5[Resource::<${Stack.of(store).getLogicalId(own)}.Arn>${path}]`, reason);
}
